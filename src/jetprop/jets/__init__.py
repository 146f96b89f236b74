"""The engine: jets, their rules, and what makes them fast."""

from jetprop.jets import rules as _rules  # noqa: F401 - registers every rule
from jetprop.jets.basis import Basis, Index, Label, Term, Trace
from jetprop.jets.directions import along, partials, polarising
from jetprop.jets.dispatch import RULES, MissingRuleError, Rule, attach_methods, rule
from jetprop.jets.functional import functional_call
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import compilation, compile_kernels
from jetprop.jets.memory import keep_freed_memory
from jetprop.jets.recompute import recomputed_activations
from jetprop.jets.reference import push
from jetprop.jets.rules.elementwise import KinkWarning, elementwise
from jetprop.jets.rules.products import bilinear

attach_methods(Jet)

__all__ = [
    "RULES",
    "Basis",
    "Index",
    "Jet",
    "KinkWarning",
    "Label",
    "MissingRuleError",
    "Rule",
    "Term",
    "Trace",
    "along",
    "bilinear",
    "compilation",
    "compile_kernels",
    "elementwise",
    "functional_call",
    "keep_freed_memory",
    "partials",
    "polarising",
    "push",
    "recomputed_activations",
    "rule",
]

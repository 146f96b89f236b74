"""What a case of a rule is, and the jets that the laws try it on."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jetprop.jets import RULES, Basis, Jet
from jetprop.jets.dispatch import SPELLING_NAMES
from jets.tolerances import ENGINE, EXACT, ROUNDING, Tolerance

DTYPE = torch.float64
HIGHEST = Basis.full(2, 4)

OF_DOCTESTS = {"doubled", "cube"}
"""Rules that executed docstrings register."""


def tensor(*entries: Any) -> Tensor:
    """A constant in double precision."""
    return torch.tensor(entries[0] if len(entries) == 1 else entries, dtype=DTYPE)


def drawn(*shape: int, low: float = -1.5, high: float = 1.5, seed: int = 0) -> Tensor:
    """Uniform numbers, the same ones on every call."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(shape, dtype=DTYPE, generator=generator)


@dataclass(frozen=True)
class Case:
    """One use of a rule: a function of one tensor, differentiable at `x`.

    Args:
        rule: the rule's name.
        function: called with a tensor or a jet of the shape of `x`; returns one tensor or jet.
        x: where it is tried.
        label: tells cases of one rule apart.
        spellings: the same function in other words.
        oracle: the same function for the reference backend, where PyTorch's own derivatives of it are wrong or missing.
        smooth: whether Taylor's formula holds around x (not for random or piecewise constant functions).
        per_sample: whether axis 0 is a batch, each entry treated alone.
        tolerance: against the oracle.
        value_tolerance: of the value row against the plain call.
        order: the highest order tried.
        cuda: whether it needs a CUDA device.
    """

    rule: str
    function: Callable[[Any], Any]
    x: Tensor
    label: str = ""
    spellings: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    oracle: Callable[[Tensor], Tensor] | None = None
    smooth: bool = True
    per_sample: bool = False
    tolerance: Tolerance = ENGINE
    value_tolerance: Tolerance = ROUNDING
    order: int = 4
    cuda: bool = False

    @property
    def name(self) -> str:
        """How the case is called in reports."""
        return f"{self.rule}-{self.label}" if self.label else self.rule

    def jet(self, basis: Basis = HIGHEST) -> Jet:
        """A jet at `x` with every derivative row drawn, rather than a straight line: the chain rule is tried in full.

        Jets over different bases hold the same numbers in the rows that they share.
        """
        generator = torch.Generator().manual_seed(zlib.crc32(self.name.encode()))
        rows = 0.6 * torch.randn(len(HIGHEST), *self.x.shape, dtype=self.x.dtype, generator=generator)
        rows[0] = self.x
        return Jet(torch.stack([rows[HIGHEST.row(*label)] for label in basis]), basis)  # type: ignore[arg-type]

    @property
    def precision(self) -> Tolerance:
        """What rounding costs in the dtype that the case computes in."""
        return ROUNDING if self.tolerance in (ENGINE, EXACT) else self.tolerance


def spelled(name: str, *args: Any, **kwargs: Any) -> dict[str, Callable[[Any], Any]]:
    """Every Python spelling that an operator of one tensor has, called with these options."""
    found: dict[str, Callable[[Any], Any]] = {}
    for spelling, rule in SPELLING_NAMES.items():
        word = getattr(spelling, "__name__", "")
        if rule != name or word.startswith("__"):
            continue
        method = getattr(torch.Tensor, word, None) is spelling
        in_place = word.endswith("_")
        home = "Tensor" if method else getattr(spelling, "__module__", None) or "torch"
        found[f"{home}.{word}"] = _call(word if method else spelling, in_place, args, kwargs)
    return found


def _call(spelling: Any, in_place: bool, args: tuple, kwargs: dict) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        x = x.clone() if in_place else x
        return getattr(x, spelling)(*args, **kwargs) if isinstance(spelling, str) else spelling(x, *args, **kwargs)

    return call


def missing(cases: Iterable[Case], others: Iterable[str]) -> set[str]:
    """Registered rules without a case."""
    return set(RULES) - {case.rule for case in cases} - set(others) - OF_DOCTESTS

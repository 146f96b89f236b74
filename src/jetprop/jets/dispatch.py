"""Which rule an operation of PyTorch follows when it meets a jet.

Rules are keyed by the operator's ATen name; one table, `SPELLINGS`, maps the many Python spellings (function, method,
operator, in-place form) onto the name. A rule is one of four kinds, or a composition of others:

- *linear*: all rows at once;
- *elementwise*: a derivative tower, which the engine composes by Faà di Bruno's formula;
- *bilinear*: products, by the Leibniz rule;
- *selection*: the value decides, the rows follow;
- *composition*: written in terms of the others;
- *value*: has no derivatives at all (comparisons, arg max): a plain tensor computed from the value.

What has no rule raises `MissingRuleError`.
"""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetprop.jets.calling import spelled_as

__all__ = ["RULES", "SPELLINGS", "MissingRuleError", "Rule", "dispatch", "rule", "spell"]

Kind = Literal["linear", "elementwise", "bilinear", "selection", "composition", "value"]


@dataclass(frozen=True)
class Rule:
    """How one operator acts on jets.

    Args:
        name: the ATen name, e.g. `"sigmoid"`.
        kind: which of the kinds named in the module's docstring.
        apply: called as the operator is, with jets among its arguments.
    """

    name: str
    kind: Kind
    apply: Callable[..., Any]


class MissingRuleError(NotImplementedError):
    """An operation met a jet and has no rule."""


RULES: dict[str, Rule] = {}
"""Every rule by its name."""

SPELLINGS: dict[Callable, Callable[..., Any]] = {}
"""What runs for each Python spelling."""

SPELLING_NAMES: dict[Callable, str] = {}
"""The rule's name for each Python spelling."""

_NAMESPACES = (torch, Tensor, F, torch.special, torch.linalg, torch.fft, sys.modules["torch._C._nn"])
_OPERATORS = {
    "add": ("__add__", "__radd__"),
    "sub": ("__sub__",),
    "rsub": ("__rsub__",),
    "mul": ("__mul__", "__rmul__"),
    "div": ("__truediv__", "__div__"),
    "rdiv": ("__rtruediv__", "__rdiv__"),
    "pow": ("__pow__",),
    "rpow": ("__rpow__",),
    "remainder": ("__mod__",),
    "floor_divide": ("__floordiv__",),
    "matmul": ("__matmul__",),
    "rmatmul": ("__rmatmul__",),
    "neg": ("__neg__",),
    "positive": ("__pos__",),
    "abs": ("__abs__",),
    "getitem": ("__getitem__",),
    "setitem": ("__setitem__",),
    "lt": ("__lt__",),
    "le": ("__le__",),
    "gt": ("__gt__",),
    "ge": ("__ge__",),
    "eq": ("__eq__",),
    "ne": ("__ne__",),
}
_PROPERTIES = ("T", "mT", "H", "mH", "data", "real", "imag")
_METHODS: dict[str, Callable[..., Any]] = {}


def rule(name: str, kind: Kind, *spellings: str | Callable) -> Callable[[Callable], Callable]:
    """Register a rule under an operator's name, and everything that Python may call it.

    Found without being named: functions and methods of that name in `torch`, `torch.Tensor`, `torch.nn.functional`,
    `torch.special` and `torch.linalg`, their in-place forms (trailing underscore), and the operators of the language.

    Args:
        name: the ATen name.
        kind: linear, elementwise, bilinear, selection, composition or value.
        spellings: further names to look for in those places, or the functions themselves.

    Raises:
        ValueError: the name or a spelling has a rule already.

    Example:
        >>> import torch
        >>> from jetprop.jets import Jet, rule
        >>> def doubled(x): return torch.overrides.handle_torch_function(doubled, (x,), x)
        >>> @rule("doubled", "linear", doubled)
        ... def _(x): return Jet(2 * x.rows, x.basis)
        >>> doubled(Jet.seed(torch.ones(1, 1))).d(0)
        tensor([[2.]])
    """

    def register(apply: Callable) -> Callable:
        if name in RULES:
            raise ValueError(
                f"the operator {name!r} has a jet rule already ({RULES[name].kind}); registering twice is an error"
            )
        RULES[name] = Rule(name, kind, apply)
        for spelling in (name, *_OPERATORS.get(name, ()), *spellings):
            if callable(spelling):
                _spell(spelling, name, apply)
                continue
            for space in _NAMESPACES:
                _spell(getattr(space, spelling, None), name, apply)
                if not spelling.startswith("__"):
                    _spell(getattr(space, spelling + "_", None), name, apply, in_place=True)
            if hasattr(Tensor, spelling) or spelling in _PROPERTIES:
                _METHODS[spelling] = spelled_as(getattr(Tensor, spelling), name, apply)
                if hasattr(Tensor, spelling + "_") and not spelling.startswith("__"):
                    _METHODS[spelling + "_"] = _in_place(getattr(Tensor, spelling + "_"), name, apply)
        for operator in _OPERATORS.get(name, ())[:1]:
            if name in ("add", "sub", "mul", "div", "pow", "matmul", "remainder", "floor_divide"):
                in_place = getattr(Tensor, f"__i{operator[2:]}", None)
                if in_place is not None:
                    _METHODS[f"__i{operator[2:]}"] = _in_place(in_place, name, apply)
                    _spell(in_place, name, apply, in_place=True)
        return apply

    return register


def _spell(function: object, name: str, apply: Callable, in_place: bool = False) -> None:
    if function is None or not callable(function):
        return
    known = SPELLING_NAMES.get(function)
    if known not in (None, name):
        raise ValueError(f"{function} follows the jet rule {known!r} already, it cannot follow {name!r} too")
    SPELLINGS[function] = _in_place(function, name, apply) if in_place else spelled_as(function, name, apply)
    SPELLING_NAMES[function] = name


def spell(function: Callable, apply: Callable) -> None:
    """Have a spelling of a rule run something else: a namesake whose arguments are others."""
    SPELLINGS[function] = spelled_as(function, SPELLING_NAMES.get(function, function.__name__), apply)
    if getattr(Tensor, function.__name__, None) is function:
        _METHODS[function.__name__] = SPELLINGS[function]


_OF_THE_OBJECT = {"t", "transpose", "squeeze", "unsqueeze", "detach"}
"""Their in-place forms change how one object sees its memory, not the memory."""


def _in_place(function: Callable, name: str, apply: Callable) -> Callable:
    """The in-place form: computed from a copy, written through to the rows, so that views of them see it."""

    @wraps(apply)
    def write_through(target: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(target, Tensor):
            # No TypeError: `tensor += jet` would take it for "not implemented", and add out of place.
            raise RuntimeError(
                f"in-place {name!r} would write a jet into a plain tensor of shape {tuple(target.shape)} and lose its "
                f"derivatives; make the target a jet (Jet.constant), or write the result out of place"
            )
        if name in _OF_THE_OBJECT:
            target.rows = apply(target, *args, **kwargs).rows
            return target
        source = type(target)._of(target.rows.clone(), target.basis)
        result = apply(source, *args, **kwargs)
        if isinstance(result, Tensor):
            raise TypeError(f"in-place {name!r} would lose the derivatives of the jet: its result has none")
        if result.rows.shape != target.rows.shape:
            raise RuntimeError(
                f"in-place {name!r}: the result of shape {tuple(result.shape)} does not fit {tuple(target.shape)}"
            )
        if result.is_complex() != target.is_complex():
            raise RuntimeError(
                f"in-place {name!r}: the result of dtype {result.dtype} can't be cast to the jet's {target.dtype}; "
                f"convert the jet first, with .to({result.dtype})"
            )
        target.rows.copy_(result.rows)
        return target

    return spelled_as(function, name, write_through)


def attach_methods(cls: type) -> None:
    """Give a class the tensor methods, operators and properties that have rules."""
    for name, apply in _METHODS.items():
        method = _method(name, apply)
        if name in _PROPERTIES:
            setattr(cls, name, property(method))
        elif name not in cls.__dict__:
            setattr(cls, name, method)
    cls.__getattr__ = _missing_attribute  # type: ignore[attr-defined]


def _method(name: str, apply: Callable) -> Callable:
    @wraps(apply)
    def method(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            _refuse_inside_custom_function(f"torch.Tensor.{name}")
        return apply(*args, **kwargs)

    return method


def _missing_attribute(jet: object, name: str) -> Any:
    if not name.startswith("_") and hasattr(Tensor, name):
        raise AttributeError(_missing(f"torch.Tensor.{name}"))
    raise AttributeError(f"a jet has no attribute {name!r}")


def dispatch(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Run the rule of an operation that met a jet.

    Raises:
        MissingRuleError: it has none.
        TypeError: it would lose derivatives without a word: `out=`, or a jet inside a custom `autograd.Function`.
    """
    if kwargs.get("out") is not None:
        raise TypeError(
            f"{_name(function)}(out=…) would write a jet into a plain tensor and lose its derivatives; drop out="
        )
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        _refuse_inside_custom_function(_name(function))
    if torch.compiler.is_compiling() and function.__name__ in _WRITTEN_IN_PYTHON:
        apply = _METHODS[function.__name__]
    else:
        apply = SPELLINGS.get(function) or _composites.get(function) or _reentered(function)
    return apply(*args, **{word: argument for word, argument in kwargs.items() if word != "out"})


_FUNCTION_APPLY = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]


def _refuse_inside_custom_function(operation: str) -> None:
    """Inside `autograd.Function.forward` the rows have no graph, so parameters would get wrong gradients silently."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code is _FUNCTION_APPLY:
            custom = getattr(frame.f_locals.get("cls"), "__name__", "")
            raise TypeError(
                f"a jet was passed into the custom autograd.Function {custom!r} (it met {operation} there), "
                f"whose backward knows nothing of derivative rows; register a rule for the operation with "
                f"@jetprop.jets.rule, or use torch.utils.checkpoint with use_reentrant=False"
            )
        frame = frame.f_back


def _never(*_: object, **__: object) -> bool:
    return False


_WRITTEN_IN_PYTHON = ("pow", "pow_", "__rsub__", "__rpow__", "__rdiv__")
"""Methods of tensors that torch.compile calls for operators, in guises that it does not find in a dictionary."""

_composites: dict[Callable, Callable] = {}
"""Composites of `torch.nn.functional` met so far, and what runs for them. A rule registered later comes before them."""

_OVERRIDE_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def _asks_for_overrides(function: object) -> bool:
    return isinstance(function, types.FunctionType) and bool(set(_OVERRIDE_CHECKS) & set(function.__code__.co_names))


def _reentered(function: Callable) -> Callable:
    """A composite of `torch.nn.functional` with its first check for overrides answered "no", so that its body runs.

    The operations in the body meet the jet again, each with its own rule. Where the check is not made in the body
    itself, but in what that calls, calling it again would lead here again.
    """
    if not _asks_for_overrides(function) or function.__module__ not in _COMPOSITES:
        raise MissingRuleError(_missing(_name(function)))
    scope = {**function.__globals__, **dict.fromkeys(_OVERRIDE_CHECKS, _never)}
    del scope["__name__"]  # or torch.compile looks the checks up in the module of that name
    body = types.FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__
    _composites[function] = body
    return body


_COMPOSITES = {"torch.nn.functional", "torch.functional"}

for _function in vars(F).values():  # ahead, because torch.compile cannot trace how they are made
    if _asks_for_overrides(_function) and _function.__module__ in _COMPOSITES:
        _reentered(_function)


def _name(function: Callable) -> str:
    home = getattr(function, "__objclass__", None)
    if home is not None:
        return f"torch.Tensor.{function.__name__}"
    module = getattr(function, "__module__", None) or "torch"
    module = {"torch._C._nn": "torch.nn.functional", "torch._VF": "torch", "torch._tensor": "torch.Tensor"}.get(
        module, module
    )
    return f"{module}.{getattr(function, '__name__', function)}"


def _missing(operation: str) -> str:
    where = _module_path()
    near = ", ".join(difflib.get_close_matches(operation.rsplit(".", 1)[-1], RULES))
    return (
        f"no jet rule for `{operation}`{f' at `{where}`' if where else ''}. Register one with "
        f"@jetprop.jets.rule(name, kind) or @jetprop.jets.elementwise(name), or push the jet through with "
        f'jetprop.jets.push(model, jet, backend="reference") (nested reverse mode: right, and slow). '
        f"{len(RULES)} operators have rules, see jetprop.jets.RULES{f'; near in name: {near}' if near else ''}"
    )


_MODULE_CALL = nn.Module._call_impl.__code__


def _module_path() -> str:
    """The dotted path of the module that is running, found on the call stack; empty outside any module."""
    running: list[nn.Module] = []
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _MODULE_CALL:
            running.append(frame.f_locals["self"])
        frame = frame.f_back
    if not running:
        return ""
    paths = {id(module): path for path, module in running[-1].named_modules()}
    path = paths.get(id(running[0]), "")
    return f"{path} ({type(running[0]).__name__})" if path else type(running[0]).__name__

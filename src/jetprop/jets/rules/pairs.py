"""Functions of two operands, entry by entry, composed of the other rules; where they have steps, the value decides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import add_to_value
from jetprop.jets.rules.operands import aligned, common_basis, is_jet, lifted
from jetprop.jets.rules.selection import where

__all__: list[str] = []


def _value(x: Any) -> Any:
    return x.value if is_jet(x) else x


def _like(x: Any, y: Any) -> Jet:
    return x if is_jet(x) else y


def _sum(x: Any, y: Any) -> Any:
    """`x + y`, a jet first: torch.compile does not find the rule of `tensor + jet`."""
    return x + y if is_jet(x) else y + x


def _constant(value: Tensor, x: Any, y: Any) -> Jet:
    """A value that no row reaches; known to autograd, which finds zeros, as it does for `floor`."""
    like = _like(x, y)
    rows = aligned(like.rows, value.dim()).expand(-1, *value.shape).to(value.dtype)
    nowhere = rows.masked_fill(torch.ones((), dtype=torch.bool, device=rows.device), 0)
    return Jet._of(add_to_value(nowhere, value), like.basis)


@rule("atan2", "composition", "arctan2")
def atan2(y: Any, x: Any) -> Any:
    """The angle of (x, y): θ₀ of the value, and arctan of the ratio in axes turned by it."""
    y0, x0 = (_value(c).detach() for c in (y, x))
    along, across = _sum(x * x0, y * y0), _sum(y * x0, -x * y0)
    return torch.atan(across / along) + torch.atan2(y0, x0)


@rule("hypot", "composition")
def hypot(x: Any, y: Any) -> Jet:
    """√(x² + y²), scaled by its value."""
    length = torch.hypot(_value(x), _value(y)).detach()
    scale = torch.where((length == 0) | length.isinf(), 1, length)
    return _sum((x / scale).square(), (y / scale).square()).sqrt() * scale


@rule("logaddexp", "composition")
def logaddexp(x: Any, y: Any) -> Any:
    """ln(eˣ + eʸ) = larger − ln σ(larger − smaller)."""
    first = _value(x) >= _value(y)
    larger, smaller = where(first, x, y), where(first, y, x)
    same = _value(larger).isinf() & (_value(larger) == _value(smaller))
    gap: Any = where(same, math.inf, larger - where(same, 0.0, smaller))
    return larger - torch.nn.functional.logsigmoid(gap)


@rule("logaddexp2", "composition")
def logaddexp2(x: Any, y: Any) -> Jet:
    """log₂(2ˣ + 2ʸ)."""
    return logaddexp(math.log(2) * x, math.log(2) * y) / math.log(2)


def _times_log(name: str, shift: float) -> Callable:
    def apply(x: Any, y: Any) -> Jet:
        x, y = (c if is_jet(c) else lifted(c, _like(x, y)) for c in (x, y))
        inner, factor = _value(y) + shift, _value(x)
        silent = (torch.as_tensor(factor) == 0) & ((torch.as_tensor(inner) <= 0) | torch.as_tensor(inner).isinf())
        safe = torch.where(silent.to(_like(x, y).device), 1.0 - shift, y)
        log = (torch.log1p if shift else torch.log)(safe if is_jet(safe) else torch.as_tensor(safe))
        return x * log

    apply.__doc__ = f"{name}: zero where x is, whatever the logarithm."
    return apply


rule("xlogy", "composition")(_times_log("xlogy", 0.0))
rule("xlog1py", "composition")(_times_log("xlog1py", 1.0))


@rule("ldexp", "composition")
def ldexp(x: Any, y: Any) -> Jet:
    """`x·2ʸ`."""
    exponent: Any = y if is_jet(y) or y.is_floating_point() or y.is_complex() else y.to(x.dtype)
    return x * torch.exp2(exponent)


@rule("copysign", "selection")
def copysign(x: Any, y: Any) -> Jet:
    """`|x|` with the sign of y."""
    x0, y0 = (torch.as_tensor(_value(c)) for c in (x, y))
    if not is_jet(x):
        return _constant(torch.copysign(x0, y0), x, y)
    return x * (torch.sign(x0) * torch.copysign(torch.ones_like(x0), y0)).detach()


def _remainder(name: str) -> Callable:
    function = getattr(torch, name)

    def apply(x: Any, y: Any) -> Jet:
        value = function(_value(x), _value(y))
        quotient = ((torch.as_tensor(_value(x)) - value) / _value(y)).round().detach()
        common_basis(x, y)
        like = _like(x, y)
        rows = torch.zeros_like(value).expand(len(like.basis) - 1, *value.shape)
        if is_jet(x):
            rows = rows + aligned(x.rows[1:], value.dim())
        if is_jet(y):
            rows = rows - quotient * aligned(y.rows[1:], value.dim())
        return Jet._of(torch.cat([value.unsqueeze(0), rows.to(value.dtype)]), like.basis)

    apply.__doc__ = f"{name}: x − y·q, q the rounded quotient of the values."
    return apply


rule("remainder", "selection")(_remainder("remainder"))
rule("fmod", "selection")(_remainder("fmod"))


@rule("rremainder", "selection", "__rmod__")
def rremainder(x: Jet, y: Any) -> Jet:
    """`y % x`."""
    return torch.remainder(y if is_jet(y) or isinstance(y, Tensor) else lifted(y, x), x)  # type: ignore[return-value]


@rule("floor_divide", "selection")
def floor_divide(x: Any, y: Any) -> Jet:
    """The quotient rounded down: no slope where it has one."""
    return _constant(torch.floor_divide(_value(x), _value(y)).detach(), x, y)


@rule("rfloor_divide", "selection", "__rfloordiv__")
def rfloor_divide(x: Jet, y: Any) -> Jet:
    """`y // x`."""
    return _constant(torch.floor_divide(_value(y), x.value).detach(), x, x)


@rule("heaviside", "selection")
def heaviside(x: Any, values: Any) -> Jet:
    """0 below zero, 1 above, `values` at it."""
    step = torch.heaviside(_value(x).detach(), _value(values).detach())
    return where(_value(x) == 0, values, step) if is_jet(values) else _constant(step, x, values)


def _but_numbers(better: Callable) -> Callable:
    def apply(x: Any, y: Any) -> Jet:
        x0, y0 = _value(x), _value(y)
        return where(better(x0, y0) | y0.isnan(), x, y)

    return apply


rule("fmax", "selection")(_but_numbers(torch.ge))
rule("fmin", "selection")(_but_numbers(torch.le))

"""Cases of special functions and of functions of two operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jets.cases.elementwise import elementwise
from jets.rule_cases import Case, drawn, tensor
from jets.tolerances import ENGINE, Tolerance

X = drawn(2, 3)
POSITIVE = drawn(2, 3, low=0.4, high=2.0)
OTHER = drawn(2, 3, low=0.4, high=2.0, seed=1)
NEAR = tensor([[-0.6, 0.02, 0.4], [0.97, 1.03, 2.6]])
"""On both sides of where the series of sinc ends."""
INFINITE = tensor([[torch.nan, torch.inf, -torch.inf]])
STEPS = tensor([[-1.7, -0.6, 0.3], [0.8, 1.3, 2.9]])


def pair(
    name: str, x: Tensor, other: Tensor, oracle: Callable[[Any, Any], Any] | None = None, tolerance: Tolerance = ENGINE
) -> list[Case]:
    """Jet and constant, constant and jet, two jets, broadcast."""
    function = getattr(torch, name, None) or getattr(torch.special, name)
    true = oracle or function
    method = {"method": lambda x: getattr(x, name)(other)} if hasattr(Tensor, name) else {}
    return [
        Case(name, lambda x: function(x, other), x, "left", method, lambda x: true(x, other), tolerance=tolerance),
        Case(name, lambda x: function(other, x), x, "right", {}, lambda x: true(other, x), tolerance=tolerance),
        Case(
            name,
            lambda x: function(x, x[:1] * x[1:] * other + 0.2),
            x,
            "both",
            {},
            lambda x: true(x, x[:1] * x[1:] * other + 0.2),
            tolerance=tolerance,
        ),
    ]


def remainders(name: str) -> list[Case]:
    """Two operands, between the jumps; numbers too."""
    function = getattr(torch, name)
    return [
        Case(name, lambda x: function(x, 0.7), STEPS, "number", {"method": lambda x: getattr(x, name)(0.7)}),
        Case(name, lambda x: function(x, OTHER), STEPS, "tensor"),
        Case(name, lambda x: function(OTHER, x), STEPS, "right"),
        Case(name, lambda x: function(x * x, x), STEPS, "both"),
    ]


def flat(rule: str, function: Callable[[Any], Any], label: str = "", **spellings: Callable) -> Case:
    """A function without slope, of which PyTorch has no derivative."""
    oracle: Callable[[Tensor], Tensor] = lambda x: function(x.detach()) + 0 * x  # noqa: E731
    return Case(rule, function, STEPS, label, dict(spellings), oracle)


CASES = [
    elementwise("ndtr"),
    elementwise("log_ndtr", -4.0, 3.0),
    elementwise("ndtri", 0.1, 0.9),
    elementwise("erfinv", -0.8, 0.8),
    elementwise("erfcx", -1.0, 2.0),
    elementwise("entr", 0.3, 2.0),
    elementwise("logit", 0.2, 0.8),
    elementwise("logit", x=tensor([[0.05, 0.3], [0.5, 0.96]]), label="eps", eps=0.1),
    elementwise("sinc", x=NEAR),
    elementwise("sinc", x=tensor([[0.0, -0.0]]), label="at 0", oracle=lambda x: _sinc_by_series(x)),
    elementwise("i0"),
    elementwise("i0", x=tensor([[-11.9, 12.1, 15.0]]), label="large"),
    elementwise("i1"),
    elementwise("i0e", x=NEAR),
    elementwise("i0e", x=tensor([[-11.9, 12.1, 15.0]]), label="large"),
    elementwise("i1e", x=NEAR),
    elementwise("frac", x=STEPS),
    elementwise("deg2rad"),
    elementwise("rad2deg"),
    Case("polygamma", lambda x: torch.polygamma(1, x), POSITIVE, "", {"method": lambda x: x.polygamma(1)}),
    Case("polygamma of a jet", lambda x: torch.special.polygamma(2, x), POSITIVE),
    *pair("atan2", POSITIVE, OTHER),
    Case("atan2", lambda x: torch.arctan2(x, -x[:1] - 3.0), X, "left half plane"),
    *pair("hypot", X, OTHER),
    *pair("logaddexp", X, OTHER),
    *pair("logaddexp2", X, OTHER),
    *pair("xlogy", POSITIVE, OTHER),
    *pair("xlog1py", POSITIVE, OTHER),
    Case("xlogy", lambda x: torch.xlogy(torch.zeros(3).to(x.dtype), x), X, "zeros"),
    Case(
        "ldexp",
        lambda x: torch.ldexp(x, torch.tensor([1, -2, 3])),
        X,
        "",
        {"method": lambda x: x.ldexp(torch.tensor([1, -2, 3]))},
        lambda x: x * tensor(2.0, 0.25, 8.0),
    ),
    Case("copysign", lambda x: torch.copysign(x, -OTHER), X, "", {"number": lambda x: x.copysign(-1.0)}),
    Case("copysign", lambda x: torch.copysign(OTHER, x), X, "sign of a jet"),
    *remainders("remainder"),
    Case("remainder", lambda x: x % 0.7, STEPS, "operator", {"in place": lambda x: _modulo(x.clone(), 0.7)}),
    *remainders("fmod"),
    Case("rremainder", lambda x: 1.9 % x, STEPS, "", {"tensor": lambda x: tensor(1.9) % x}, lambda x: tensor(1.9) % x),
    flat(
        "floor_divide",
        lambda x: x // 0.7,
        method=lambda x: x.floor_divide(0.7),
        torch=lambda x: torch.floor_divide(x, 0.7),
    ),
    flat("floor_divide", lambda x: x // (x * x), "both"),
    flat("rfloor_divide", lambda x: 3.1 // x),
    flat("heaviside", lambda x: torch.heaviside(x, OTHER), method=lambda x: x.heaviside(OTHER)),
    Case("heaviside", lambda x: torch.heaviside(torch.zeros_like(OTHER), x), X, "values", oracle=lambda x: x * 1),
    Case("fmax", lambda x: torch.fmax(x, OTHER), X, "", {"method": lambda x: x.fmax(OTHER)}),
    Case("fmax", lambda x: torch.fmax(torch.full((2, 3), torch.nan).to(x.dtype), x), X, "NaN"),
    Case("fmin", lambda x: torch.fmin(x, x[:1] * OTHER), X),
    Case("nan_to_num", lambda x: torch.nan_to_num(x), X, "", {"method": lambda x: x.nan_to_num(nan=0.1)}),
    Case("nan_to_num", lambda x: torch.cat([x, INFINITE]).nan_to_num(0.1, 0.2, 0.3), X, "infinities"),
]


def _modulo(x: Any, y: float) -> Any:
    x %= y
    return x


def _sinc_by_series(x: Tensor) -> Tensor:
    """Its powers up to the fourth, which are all that count at 0."""
    square = (torch.pi * x) ** 2
    return 1 - square / 6 + square**2 / 120

"""Cases of operations without derivatives: they answer for the value, with a plain tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jets.rule_cases import drawn

X = drawn(2, 3)
OTHER = torch.where(torch.tensor([[True, False, True]]), X, drawn(2, 3, seed=1))
"""Equal to X here and there."""

COMPARISONS = {
    "lt": (lambda x, y: x < y, torch.less),
    "le": (lambda x, y: x <= y, torch.less_equal),
    "gt": (lambda x, y: x > y, torch.greater),
    "ge": (lambda x, y: x >= y, torch.greater_equal),
    "eq": (lambda x, y: x == y, torch.eq),
    "ne": (lambda x, y: x != y, torch.not_equal),
}


def comparisons(name: str) -> list[tuple[str, Callable[[Any], Any]]]:
    functions = [*COMPARISONS[name], getattr(torch, name), lambda x, y: getattr(x, name)(y)]
    return [
        case
        for f in functions
        for case in (
            (name, lambda x, f=f: f(x, OTHER)),
            (name, lambda x, f=f: f(OTHER, x)),
            (name, lambda x, f=f: f(x, x[0])),
            (name, lambda x, f=f: f(x, 0.5)),
        )
    ]


CASES: list[tuple[str, Callable[[Any], Any]]] = [
    *(case for name in COMPARISONS for case in comparisons(name)),
    *((name, getattr(torch, name)) for name in ("isnan", "isinf", "isfinite", "signbit", "logical_not")),
    ("argmax", lambda x: x.argmax(1)),
    ("argmax", torch.argmax),
    ("argmin", lambda x: torch.argmin(x, dim=-1, keepdim=True)),
    ("argsort", lambda x: torch.argsort(x, 1, descending=True)),
    ("zeros_like", torch.zeros_like),
    ("ones_like", lambda x: torch.ones_like(x, dtype=torch.int64)),
    ("empty_like", lambda x: torch.empty_like(x).fill_(1)),
    ("full_like", lambda x: torch.full_like(x, 3.0)),
    ("rand_like", torch.rand_like),
    ("randn_like", torch.randn_like),
    ("new_zeros", lambda x: x.new_zeros(2)),
    ("new_ones", lambda x: x.new_ones((2, 1))),
    ("new_empty", lambda x: x.new_empty(2).fill_(1)),
    ("new_full", lambda x: x.new_full((2,), 1.5)),
    ("new_tensor", lambda x: x.new_tensor([1, 2])),
    *((name, getattr(torch, name)) for name in ("isposinf", "isneginf", "isreal", "any", "all", "nonzero")),
    *((name, lambda x, n=name: getattr(torch, n)(x, OTHER)) for name in ("isclose", "isin", "result_type")),
    *((f"logical_{name}", lambda x, n=name: getattr(torch, f"logical_{n}")(x, OTHER)) for name in ("and", "or", "xor")),
    *((name, lambda x, n=name: getattr(x, n)()) for name in ("nelement", "ndimension", "element_size", "get_device")),
    *((name, getattr(torch, name)) for name in ("numel", "is_complex", "is_floating_point", "is_signed", "is_conj")),
    *((name, getattr(torch, name)) for name in ("is_neg", "argwhere")),
    ("any", lambda x: (x > 0).any() | x.any(dim=1).all()),
    ("count_nonzero", lambda x: torch.count_nonzero(x, 1)),
    ("searchsorted", lambda x: torch.searchsorted(OTHER.sort(1).values, x)),
    ("bucketize", lambda x: torch.bucketize(x, OTHER[0].sort().values)),
    ("histc", lambda x: torch.histc(x, bins=4)),
    ("bernoulli", lambda x: torch.bernoulli(x.sigmoid())),
    ("multinomial", lambda x: torch.multinomial(x.square(), 1)),
    ("bool", lambda x: x.bool()),
    ("allclose", lambda x: torch.allclose(x, OTHER)),
    ("equal", lambda x: torch.equal(x, X)),
    ("is_same_size", lambda x: x.is_same_size(OTHER)),
]

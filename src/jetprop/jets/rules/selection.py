"""Selections: the value decides, the rows follow; and what has no derivatives at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import aligned, axis, common_basis, is_jet, jet_of

__all__: list[str] = []


@rule("where", "selection")
def where(condition: Tensor, x: Jet | Tensor | float, y: Jet | Tensor | float) -> Jet:
    """X where the condition holds, else y."""
    if is_jet(condition):
        raise TypeError("torch.where needs a boolean tensor as its condition, got a jet; compare it first")
    basis = common_basis(x, y)
    like = x if is_jet(x) else y
    x, y = jet_of(x, like), jet_of(y, like)
    ndim = max(condition.dim(), x.dim(), y.dim())
    return Jet._of(torch.where(condition, aligned(x.rows, ndim), aligned(y.rows, ndim)), basis)


@rule("masked_fill", "selection")
def masked_fill(x: Jet, mask: Tensor, value: float | Tensor) -> Jet:
    """A constant where the mask holds."""
    return where(mask, value, x)


def _gathered(x: Jet, indices: Tensor, space: int) -> Jet:
    """The rows at flat spatial indices found for the value."""
    flat = x.rows.flatten(-space)
    picked = indices.flatten(-space).unsqueeze(0).expand(x.rows.shape[0], *[-1] * (flat.dim() - 1))
    return Jet._of(flat.gather(-1, picked).unflatten(-1, indices.shape[-space:]), x.basis)


def _max_pool(space: int, pool: Callable) -> Callable:
    def apply(x: Jet, *args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
        _, indices = pool(x.value, *args, return_indices=True, **kwargs)
        out = _gathered(x, indices, space)
        return (out, indices) if return_indices else out

    return apply


for _space in (1, 2, 3):
    for _name in (f"max_pool{_space}d", f"adaptive_max_pool{_space}d"):
        rule(_name, "selection")(_max_pool(_space, getattr(F, _name)))


def _with_indices(space: int, pool: Callable) -> Callable:
    def apply(x: Jet, *args: Any, **kwargs: Any) -> tuple[Jet, Tensor]:
        kwargs.pop("return_indices", None)
        _, indices = pool(x.value, *args, return_indices=True, **kwargs)
        return _gathered(x, indices, space), indices

    return apply


for _space in (1, 2, 3):
    for _name in (f"max_pool{_space}d", f"adaptive_max_pool{_space}d"):
        rule(f"{_name}_with_indices", "selection")(_with_indices(_space, getattr(F, _name)))


def _extremum(name: str) -> Callable:
    def apply(x: Jet, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Tensor) or is_jet(dim):
            return _pairwise(torch.ge if name == "max" else torch.le, x, dim)
        search = torch.argmax if name == "max" else torch.argmin
        if dim is None:
            flat = x.reshape(-1)
            return (
                flat[int(search(flat.value))]
                if not torch.compiler.is_compiling()
                else _take(flat, search(flat.value), 0, False)
            )
        indices = search(x.value, dim, keepdim=True)
        values = _take(x, indices, dim, keepdim)
        kind = torch.return_types.max if name == "max" else torch.return_types.min
        return kind((values, indices if keepdim else indices.squeeze(dim)))

    return apply


def _take(x: Jet, indices: Tensor, dim: int, keepdim: bool) -> Jet:
    place = axis(dim, x.dim())
    indices = indices if indices.dim() == x.dim() else indices.reshape([1] * x.dim())
    rows = x.rows.gather(place, indices.unsqueeze(0).expand(x.rows.shape[0], *indices.shape))
    return Jet._of(rows if keepdim else rows.squeeze(place), x.basis)


for _name in ("max", "min"):
    rule(_name, "selection")(_extremum(_name))


def _pairwise(better: Callable, x: Any, y: Any) -> Jet:
    a, b = (j.value if is_jet(j) else j for j in (x, y))
    return where(better(a, b), x, y)


@rule("maximum", "selection")
def maximum(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """The larger of two, the first where they tie."""
    return _pairwise(torch.ge, x, y)


@rule("minimum", "selection")
def minimum(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """The smaller of two, the first where they tie."""
    return _pairwise(torch.le, x, y)


@rule("clamp_min", "selection")
def clamp_min(x: Jet, min: float | Tensor) -> Jet:
    """Not below `min`."""
    return where(x.value >= min, x, min)


@rule("clamp_max", "selection")
def clamp_max(x: Jet, max: float | Tensor) -> Jet:
    """Not above `max`."""
    return where(x.value <= max, x, max)


@rule("gather", "selection")
def gather(x: Jet, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Jet:
    """Entries picked along an axis."""
    return Jet._of(x.rows.gather(axis(dim, x.dim()), index.unsqueeze(0).expand(x.rows.shape[0], *index.shape)), x.basis)


@rule("prelu", "selection")
def prelu(x: Jet, weight: Tensor) -> Jet:
    """X where x > 0, else weight·x; differentiable in the weight."""
    if is_jet(weight) or not is_jet(x):
        raise TypeError("prelu with a jet as its weight has no rule; only its input may be a jet")
    shape = [1] * x.dim()
    if weight.numel() > 1:
        shape[1 if x.dim() > 1 else 0] = weight.numel()
    return Jet._of(x.rows * torch.where(x.value > 0, torch.ones_like(x.value), weight.reshape(shape)), x.basis)


@rule("rrelu", "selection")
def rrelu(x: Jet, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Jet:
    """Leaky ReLU with one random slope for all rows while training."""
    slopes = F.rrelu(-torch.ones_like(x.value), lower, upper, training).neg()
    rows = x.rows * torch.where(x.value > 0, torch.ones_like(slopes), slopes)
    if inplace:
        x.rows.copy_(rows)
        return x
    return Jet._of(rows, x.basis)


def _of_value(function: Callable) -> Callable:
    def apply(*args: Any, **kwargs: Any) -> Any:
        plain = [a.value if is_jet(a) else a for a in args]
        return function(*plain, **{k: v.value if is_jet(v) else v for k, v in kwargs.items()})

    return apply


for _name in """lt le gt ge ne isnan isinf isfinite argmax argmin argsort signbit logical_not zeros_like ones_like
    empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full new_tensor allclose equal is_same_size
    """.split():
    rule(_name, "value")(_of_value(getattr(torch, _name, None) or getattr(Tensor, _name)))


@rule("eq", "value")
def eq(x: Any, y: Any) -> Any:
    """Elementwise against tensors and numbers; two jets are equal if they are the same object."""
    if is_jet(x) and is_jet(y):
        return x is y
    return _of_value(torch.eq)(x, y) if isinstance(y, (Tensor, float, int, bool)) or not is_jet(x) else NotImplemented

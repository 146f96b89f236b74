"""Entries picked and written by index or mask: all rows alike, constants into the value row alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import axis, common_basis, is_jet, jet_of
from jetprop.jets.rules.selection import masked_fill

__all__: list[str] = []


def _jets(*operands: Any) -> tuple[Jet, ...]:
    """All operands as jets over the basis of those that are; numbers become 0-d."""
    common_basis(*operands)
    like = next(x for x in operands if is_jet(x))
    return tuple(jet_of(x, like) for x in operands)


def _over_rows(index: Tensor, x: Jet) -> Tensor:
    return index.unsqueeze(0).expand(len(x.rows), *index.shape)


def _read_at(index: Tensor, source: Jet) -> Tensor:
    """The part of the source that an index of its shape, or smaller, reads."""
    return source.rows[(slice(None), *(slice(n) for n in index.shape))]


def _row_by_row(operation: Callable[..., Tensor], *operands: Jet) -> Jet:
    return Jet._of(
        torch.stack([operation(*row) for row in zip(*(x.rows for x in operands), strict=True)]), operands[0].basis
    )


def _along(name: str, x: Any, dim: int, index: Tensor, source: Any, *args: Any, **kwargs: Any) -> Jet:
    """A method that writes at the places that an index of the source's axes names, of all rows in one call."""
    target, written = _jets(x, source)
    if target.dim() == 0:
        return _row_by_row(lambda row, new: getattr(row, name)(dim, index, new, *args, **kwargs), target, written)
    write, place = getattr(target.rows, name), axis(dim, target.dim())
    return Jet._of(write(place, _over_rows(index, target), _read_at(index, written), *args, **kwargs), target.basis)


@rule("scatter", "selection")
def scatter(
    x: Any, dim: int, index: Tensor, src: Any = None, *, value: float | None = None, reduce: str | None = None
) -> Jet:
    """`x` with the entries of `src` (or one number) written along an axis."""
    src = value if src is None else src
    if not (is_jet(src) or isinstance(src, Tensor)):
        src = torch.full(index.shape, src, dtype=x.dtype, device=x.device)
    if reduce == "add":
        return scatter_add(x, dim, index, src)
    if reduce is not None:
        raise TypeError(f"scatter on a jet takes reduce=None or 'add', got {reduce!r}; gather, multiply and scatter")
    return _along("scatter", x, dim, index, src)


@rule("scatter_add", "linear")
def scatter_add(x: Any, dim: int, index: Tensor, src: Any) -> Jet:
    """`x` with the entries of `src` added along an axis."""
    return _along("scatter_add", x, dim, index, src)


@rule("scatter_reduce", "linear")
def scatter_reduce(x: Any, dim: int, index: Tensor, src: Any, reduce: str, *, include_self: bool = True) -> Jet:
    """Sums or means of the entries of `src` that meet in one place, and of what was there if `include_self`."""
    if reduce not in ("sum", "mean"):
        raise TypeError(f"scatter_reduce on a jet takes reduce='sum' or 'mean', got {reduce!r}")
    return _along("scatter_reduce", x, dim, index, src, reduce, include_self=include_self)


def _slices(name: str, x: Any, dim: int, index: Tensor, source: Any, **kwargs: Any) -> Jet:
    """A method that writes slices at the places that a vector of indices names."""
    target, written = _jets(x, source)
    if target.dim() == 0:
        return _row_by_row(lambda row, new: getattr(row, name)(dim, index, new, **kwargs), target, written)
    write = getattr(target.rows, name)
    return Jet._of(write(axis(dim, target.dim()), index, written.rows, **kwargs), target.basis)


@rule("index_add", "linear")
def index_add(x: Any, dim: int, index: Tensor, source: Any, *, alpha: float = 1) -> Jet:
    """`x` with slices added at indices of an axis."""
    return _slices("index_add", x, dim, index, source, alpha=alpha)


@rule("index_copy", "selection")
def index_copy(x: Any, dim: int, index: Tensor, source: Any) -> Jet:
    """`x` with slices written at indices of an axis."""
    return _slices("index_copy", x, dim, index, source)


@rule("index_fill", "selection")
def index_fill(x: Any, dim: int, index: Tensor, value: Any) -> Jet:
    """`x` with one number (0-d tensor or jet) at indices of an axis."""
    mask = torch.zeros(x.shape, dtype=torch.bool, device=x.device).index_fill(dim, index, True)
    return masked_fill(x, mask, value)


@rule("index_put", "selection")
def index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Jet:
    """`x` with values written, or added, at index tensors."""
    target, written = _jets(x, values)
    return _row_by_row(lambda row, new: row.index_put(tuple(indices), new, accumulate), target, written)


@rule("put", "selection")
def put(x: Any, index: Tensor, source: Any, accumulate: bool = False) -> Jet:
    """`x` with values written, or added, at indices of the flattened value."""
    target, written = _jets(x, source)
    return _row_by_row(lambda row, new: row.put(index, new, accumulate), target, written)


@rule("masked_scatter", "selection")
def masked_scatter(x: Any, mask: Tensor, source: Any) -> Jet:
    """`x` with the entries of `source`, one after the other, where the mask holds."""
    target, written = _jets(x, source)
    return _row_by_row(lambda row, new: row.masked_scatter(mask, new), target, written)


# ---- picking --------------------------------------------------------------------------------------------------------


@rule("masked_select", "selection")
def masked_select(x: Jet, mask: Tensor) -> Jet:
    """The entries where the mask holds, one after the other."""
    shape = torch.broadcast_shapes(x.shape, mask.shape)
    return x.expand(shape)[mask.expand(shape)] if shape else x.reshape(1)[mask.reshape(1)]


@rule("take", "selection")
def take(x: Jet, index: Tensor) -> Jet:
    """Entries of the flattened value."""
    return Jet._of(x.reshape(-1).rows[:, index], x.basis)


@rule("take_along_dim", "selection")
def take_along_dim(x: Jet, indices: Tensor, dim: int | None = None) -> Jet:
    """Entries along an axis, the others broadcast; of the flattened value without one."""
    if dim is None:
        return x.reshape(-1).gather(0, indices.reshape(-1))
    place = axis(dim, x.dim()) - 1
    indices = torch.where(indices < 0, indices + x.shape[place], indices) if x.dim() else indices
    shape = torch.broadcast_shapes(*(t.narrow(place, 0, 1).shape for t in (x.value, indices)))
    sizes = [list(shape[:place]) + [t.shape[place]] + list(shape[place + 1 :]) for t in (x, indices)]
    return x.expand(sizes[0]).gather(dim, indices.expand(sizes[1]))

"""Shapes: axes, order, copies. The value's axes count; the axis of rows stays in front."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import aligned, axes, axis, common_basis, is_jet, jet_of

__all__: list[str] = []


def _sizes(sizes: tuple) -> tuple[int, ...]:
    """`f(2, 3)` and `f((2, 3))` alike."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def _rows(x: Jet, rows: Tensor) -> Jet:
    return Jet._of(rows, x.basis)


@rule("reshape", "selection")
def reshape(x: Jet, *shape: Any) -> Jet:
    """The value's entries in another shape."""
    return _rows(x, x.rows.reshape(x.rows.shape[0], *_sizes(shape)))


@rule("view", "selection")
def view(x: Jet, *shape: Any) -> Jet:
    """The value's entries in another shape, sharing memory."""
    if len(shape) == 1 and isinstance(shape[0], torch.dtype):
        raise TypeError("view(dtype) reinterprets bits, which has no derivatives; use .to(dtype)")
    return _rows(x, x.rows.view(x.rows.shape[0], *_sizes(shape)))


@rule("view_as", "selection", "reshape_as")
def view_as(x: Jet | Tensor, other: Jet | Tensor) -> Jet | Tensor:
    """The value's entries in the shape of another."""
    return x.reshape(other.shape)


@rule("flatten", "selection", "ravel")
def flatten(x: Jet, start_dim: int = 0, end_dim: int = -1) -> Jet:
    """Axes start_dim to end_dim joined into one."""
    if x.dim() == 0:
        return _rows(x, x.rows.unsqueeze(1))
    return _rows(x, x.rows.flatten(axis(start_dim, x.dim()), axis(end_dim, x.dim())))


@rule("unflatten", "selection")
def unflatten(x: Jet, dim: int, sizes: Any) -> Jet:
    """One axis split into several."""
    return _rows(x, x.rows.unflatten(axis(dim, x.dim()), sizes))


@rule("permute", "selection")
def permute(x: Jet, *dims: Any) -> Jet:
    """Axes in another order."""
    return _rows(x, x.rows.permute(0, *axes(_sizes(dims), x.dim())))


@rule("transpose", "selection", "swapaxes", "swapdims")
def transpose(x: Jet, dim0: int, dim1: int) -> Jet:
    """Two axes exchanged."""
    places = axis(dim0, x.dim()), axis(dim1, x.dim())
    return _rows(x, x.rows.transpose(*places) if x.dim() else x.rows.view_as(x.rows))


@rule("t", "selection")
def t(x: Jet) -> Jet:
    """The transpose of a matrix."""
    return x if x.dim() < 2 else transpose(x, 0, 1)


@rule("T", "selection")
def reversed_axes(x: Jet) -> Jet:
    """All axes in reverse."""
    return permute(x, *range(x.dim() - 1, -1, -1))


@rule("mT", "selection")
def matrix_transpose(x: Jet) -> Jet:
    """The last two axes exchanged."""
    return transpose(x, -2, -1) if x.dim() else x


@rule("movedim", "selection", "moveaxis")
def movedim(x: Jet, source: Any, destination: Any) -> Jet:
    """Axes moved."""
    places = tuple(axes(source, x.dim())), tuple(axes(destination, x.dim()))
    return _rows(x, x.rows.movedim(*places) if x.dim() else x.rows.view_as(x.rows))


@rule("unsqueeze", "selection")
def unsqueeze(x: Jet, dim: int) -> Jet:
    """A new axis of length 1."""
    return _rows(x, x.rows.unsqueeze(axis(dim, x.dim() + 1)))


@rule("squeeze", "selection")
def squeeze(x: Jet, dim: Any = None) -> Jet:
    """Axes of length 1 dropped."""
    chosen = range(1, x.rows.dim()) if dim is None else axes(dim, x.dim()) if isinstance(dim, int) or dim else ()
    return _rows(x, x.rows.squeeze(tuple(a for a in chosen if x.rows.dim() > 1)))


@rule("expand", "selection", "broadcast_to")
def expand(x: Jet, *sizes: Any) -> Jet:
    """Axes of length 1 repeated without copying."""
    wanted = _sizes(sizes)
    return _rows(x, aligned(x.rows, len(wanted)).expand(x.rows.shape[0], *wanted))


@rule("expand_as", "selection")
def expand_as(x: Jet | Tensor, other: Jet | Tensor) -> Jet | Tensor:
    """Expanded to the shape of another."""
    return x.expand(other.shape)


@rule("broadcast_tensors", "selection")
def broadcast_tensors(*tensors: Any) -> list[Any]:
    """All of one shape, without copying."""
    shape = torch.broadcast_shapes(*(x.shape for x in tensors))
    return [x.expand(shape) for x in tensors]


@rule("repeat", "selection", "tile")
def repeat(x: Jet, *repeats: Any) -> Jet:
    """The value tiled."""
    counts = _sizes(repeats)
    counts = (1,) * (x.dim() - len(counts)) + tuple(counts)
    return _rows(x, aligned(x.rows, len(counts)).repeat(1, *counts))


@rule("repeat_interleave", "selection")
def repeat_interleave(x: Jet, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None) -> Jet:
    """Entries repeated one by one."""
    if dim is None:
        x, dim = flatten(x), 0
    return _rows(x, x.rows.repeat_interleave(repeats, axis(dim, x.dim()), output_size=output_size))


@rule("flip", "selection")
def flip(x: Jet, *dims: Any) -> Jet:
    """Axes reversed."""
    over = _sizes(dims)
    return _rows(x, x.rows.flip(axes(over, x.dim()) if x.dim() and over else ()))


@rule("roll", "selection")
def roll(x: Jet, shifts: Any, dims: Any = None) -> Jet:
    """Entries moved around cyclically."""
    if dims is None:
        return reshape(roll(flatten(x), shifts, 0), x.shape)
    return _rows(x, x.rows.roll(shifts, tuple(axes(dims, x.dim()))))


@rule("narrow", "selection")
def narrow(x: Jet, dim: int, start: int, length: int) -> Jet:
    """A range of one axis."""
    return _rows(x, x.rows.narrow(axis(dim, x.dim()), start, length))


@rule("select", "selection")
def select(x: Jet, dim: int, index: int) -> Jet:
    """One entry of one axis."""
    return _rows(x, x.rows.select(axis(dim, x.dim()), index))


@rule("index_select", "selection")
def index_select(x: Jet, dim: int, index: Tensor) -> Jet:
    """Entries of one axis."""
    if x.dim() == 0:
        return _rows(x, torch.stack([row.index_select(dim, index) for row in x.rows]))
    return _rows(x, x.rows.index_select(axis(dim, x.dim()), index))


@rule("diagonal", "selection")
def diagonal(x: Jet, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Jet:
    """A diagonal, as the last axis."""
    return _rows(x, x.rows.diagonal(offset, axis(dim1, x.dim()), axis(dim2, x.dim())))


# The namesake in torch.linalg has other defaults.
spell(torch.linalg.diagonal, lambda x, *, offset=0, dim1=-2, dim2=-1: diagonal(x, offset, dim1, dim2))


def _several(name: str, *keywords: str) -> Callable:
    cut = getattr(torch, name)

    def apply(x: Jet, *args: Any, **kwargs: Any) -> tuple[Jet, ...]:
        # How the pieces are told is called differently everywhere.
        sizes = (*args[:1], *(kwargs.pop(k) for k in keywords if k in kwargs))
        dim = kwargs.pop("dim", args[1] if len(args) > 1 else 0)
        if len(sizes) != 1 or len(args) > 2 or kwargs:
            raise TypeError(f"{name} on a jet takes {' or '.join(keywords)}, and dim; got {args} and {kwargs}")
        return tuple(_rows(x, part) for part in cut(x.rows, sizes[0], axis(dim, x.dim())))

    return apply


rule("chunk", "selection")(_several("chunk", "chunks"))
rule("split", "selection", "split_with_sizes")(_several("split", "split_size", "split_sizes", "split_size_or_sections"))
rule("tensor_split", "selection")(_several("tensor_split", "sections", "indices", "tensor_indices_or_sections"))


@rule("unbind", "selection")
def unbind(x: Jet, dim: int = 0) -> tuple[Jet, ...]:
    """The entries of one axis."""
    return tuple(_rows(x, part) for part in x.rows.unbind(axis(dim, x.dim())))


@rule("getitem", "selection")
def getitem(x: Any, index: Any) -> Jet:
    """`x[index]`, on the value's axes."""
    if torch.compiler.is_compiling() and is_jet(index):
        x, index = index, x  # torch.compile exchanges the two if one is a tensor
    if not is_jet(x):
        raise TypeError("a jet cannot be an index: indices are integers; take jet.value if that is meant")
    return _rows(x, x.rows[_row_index(index, x)])


def _row_index(index: Any, x: Jet) -> tuple:
    index = index if isinstance(index, tuple) else (index,)
    if any(is_jet(i) for i in index):
        raise TypeError("a jet cannot be an index: indices are integers; take jet.value if that is meant")
    # Index arrays apart from each other would move their axis to the front, before the rows.
    lists = [k for k, i in enumerate(index) if isinstance(i, list) or getattr(i, "shape", ())]
    if lists and lists != list(range(lists[0], lists[-1] + 1)):
        raise TypeError(
            f"indexing a jet with index arrays at the separated places {lists} is not supported; "
            f"index one after the other, or move the axes next to each other first"
        )
    return (slice(None), *index)


@rule("setitem", "selection")
def setitem(x: Jet | Tensor, index: Any, value: Jet | Tensor | float) -> None:
    """`x[index] = value`, derivatives included; a constant has none."""
    if not is_jet(x):
        raise TypeError(
            f"writing a jet into a plain tensor of shape {tuple(x.shape)} would lose its derivatives without a word; "
            f"make the target a jet (Jet.constant(tensor, basis)), or write jet.value if that is meant"
        )
    place = _row_index(index, x)
    if is_jet(value):
        common_basis(x, value)
        target = x.rows[place]
        x.rows[place] = aligned(value.rows, target.dim() - 1)
        return
    x.rows[place] = 0
    x.rows[(0, *place[1:])] = value


@rule("copy_", "selection")
def copy_(x: Jet | Tensor, source: Jet | Tensor, non_blocking: bool = False) -> Jet:
    """All rows overwritten; a constant has no derivatives."""
    setitem(x, ..., source)
    assert is_jet(x)
    return x


@rule("fill_", "selection")
def fill_(x: Jet | Tensor, value: Jet | Tensor | float) -> Jet:
    """`copy_` of one number, tensor or jet."""
    return copy_(x, value)


@rule("zero_", "selection")
def zero_(x: Jet) -> Jet:
    """The constant zero."""
    return fill_(x, 0)


@rule("contiguous", "selection")
def contiguous(x: Jet, memory_format: torch.memory_format = torch.contiguous_format) -> Jet:
    """Rows in one block of memory."""
    plain = memory_format in (torch.contiguous_format, torch.preserve_format) and not x.is_contiguous()
    return _rows(x, x.rows.contiguous() if plain else x.rows)


@rule("clone", "selection")
def clone(x: Jet, *, memory_format: torch.memory_format = torch.preserve_format) -> Jet:
    """A copy of all rows."""
    return _rows(x, x.rows.clone())


@rule("detach", "selection")
def detach(x: Jet) -> Jet:
    """A constant with the same value: no derivatives along the rows, none for autograd."""
    return jet_of(x.value.detach(), x)


@rule("data", "selection")
def data(x: Jet) -> Jet:
    """What `detach` gives."""
    return detach(x)


@rule("to", "selection", "type_as")
def to(x: Jet | Tensor, *args: Any, **kwargs: Any) -> Jet | Tensor:
    """Another dtype or device, for all rows."""
    args = tuple(a.rows if is_jet(a) else a for a in args)
    if not is_jet(x):
        return x.to(*args, **kwargs)
    kwargs.pop("memory_format", None)
    out = x.rows.to(*args, **kwargs)
    if not (out.is_floating_point() or out.is_complex()):
        raise TypeError(f"converting a jet to {out.dtype} would lose its derivatives; take jet.value.to({out.dtype})")
    return _rows(x, out)


@rule("type", "selection")
def type_(x: Jet, dtype: Any = None, non_blocking: bool = False) -> Jet | str:
    """Another dtype, or the name of the present one."""
    if dtype is None:
        return x.value.type()
    return to(x, torch.empty(0).type(dtype).dtype if isinstance(dtype, str) else dtype)


def _conversion(name: str) -> Callable:
    def apply(x: Jet, *args: Any, memory_format: torch.memory_format = torch.preserve_format, **kwargs: Any) -> Jet:
        return _rows(x, getattr(x.rows, name)(*args, **kwargs))

    apply.__doc__ = f"`Tensor.{name}`, of every row; rows have no memory format of their own."
    return apply


for _name in ("float", "double", "half", "bfloat16", "cpu", "cuda"):
    rule(_name, "selection")(_conversion(_name))

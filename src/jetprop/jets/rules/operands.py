"""What several rules need of their operands: one basis for all, axes counted on the value, autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jetprop.jets.basis import Basis
from jetprop.jets.jet import Jet

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = [
    "aligned",
    "autocast_as",
    "autocast_to",
    "axes",
    "axis",
    "common_basis",
    "is_jet",
    "jet_of",
    "lifted",
    "same_device",
]


def is_jet(x: object) -> TypeIs[Jet]:
    """Whether this is a jet."""
    return isinstance(x, Jet)


def common_basis(*operands: Any) -> Basis:
    """The basis of all jets among the operands.

    Raises:
        ValueError: they differ; what one lacks is unknown, not zero.
    """
    bases = [x.basis for x in operands if isinstance(x, Jet)]
    for other in bases[1:]:
        if other is not bases[0] and other != bases[0]:
            raise ValueError(
                f"jets over different bases met: {bases[0]!r} and {other!r}; rows that one of them lacks are unknown, "
                f"not zero. Seed both over one basis (`|` joins two), or drop rows with .truncated(order)"
            )
    return bases[0]


def axis(dim: int, ndim: int) -> int:
    """The axis of the rows that belongs to axis `dim` of a value with `ndim` axes."""
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise IndexError(f"dimension {dim} is out of range for a jet whose value has {ndim} axes")
    return dim % max(ndim, 1) + 1


def axes(dims: int | tuple[int, ...] | list[int] | None, ndim: int) -> list[int]:
    """The axes of the rows that belong to `dims` of the value; None or () means all of them."""
    if dims is None or (not isinstance(dims, int) and len(dims) == 0):
        return list(range(1, ndim + 1))
    if isinstance(dims, int):
        dims = (dims,)
    return [axis(d, ndim) for d in dims]


def aligned(rows: Tensor, ndim: int) -> Tensor:
    """Rows with axes of length 1 before the value's until these are `ndim`: so they broadcast as the value would."""
    missing = ndim - (rows.dim() - 1)
    return rows if missing <= 0 else rows.reshape(rows.shape[0], *[1] * missing, *rows.shape[1:])


def jet_of(x: Jet | Tensor | complex, like: Jet) -> Jet:
    """The operand as a jet over the basis of another: constants get zero rows."""
    if isinstance(x, Jet):
        return x
    value = lifted(x, like)
    zeros = value.new_zeros(()).expand(len(like.basis) - 1, *value.shape)
    return Jet._of(torch.cat([value.unsqueeze(0), zeros]), like.basis)


def lifted(c: Tensor | complex, like: Jet) -> Tensor:
    """A constant as a plain tensor; numbers take the dtype and device of a jet, arrays of NumPy keep their dtype."""
    if isinstance(c, Tensor):
        return c
    if isinstance(c, (list, tuple, str)):
        raise TypeError(f"a jet meets jets, tensors and numbers, got {type(c).__name__}; make it a tensor first")
    dtype = None if getattr(c, "shape", ()) else like.dtype.to_complex() if isinstance(c, complex) else like.dtype
    return torch.as_tensor(c, dtype=dtype, device=like.device)


def same_device(operation: str, x: Jet, parameter: Tensor) -> None:
    """Raise if a jet met a parameter on another device.

    Raises:
        ValueError: names both and what to do.
    """
    if x.rows.device != parameter.device:
        raise ValueError(
            f"{operation}: the jet lies on {x.device}, the weight on {parameter.device}; expected one device: move the "
            f'jet with jet.to("{parameter.device}") or the model with model.to("{x.device}")'
        )


def autocast_as(function: Callable[[Tensor, int], Tensor], x: Jet) -> Jet:
    """A jet in the dtype in which autocast, where it is on, would compute a function along an axis."""
    if not torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(function(x.value.detach().flatten()[:1], 0).dtype)


def autocast_to(*operands: Tensor) -> list[Tensor]:
    """The operands in autocast's lower precision where autocast is on: what matrix products do to theirs."""
    device = operands[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(operands)
    dtype = torch.get_autocast_dtype(device)
    return [x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x for x in operands]

"""Order statistics: the value decides the order, the rows follow.

Where entries of an axis tie, the one that PyTorch picks is taken; the median of all entries is the mean of those that
tie, as PyTorch spreads its gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import autocast_as, axis, is_jet
from jetprop.jets.rules.reductions import among_the_extreme
from jetprop.jets.tracing import traced

__all__: list[str] = []


def _picked(x: Jet, dim: int, indices: Tensor) -> Jet:
    """The entries at `indices`, which have the axes of the value."""
    if x.dim() == 0:
        return x.clone()
    return Jet._of(x.rows.gather(axis(dim, x.dim()), indices.unsqueeze(0).expand(len(x.rows), *indices.shape)), x.basis)


def _ordered(name: str, dim: int) -> Callable:
    """Operators whose values and indices keep their axis."""
    find = getattr(torch, name)

    def apply(x: Jet, *args: Any, **kwargs: Any) -> Any:
        found = find(x.value.detach(), *args, **kwargs)
        place = kwargs.get("dim", next(iter(args[dim : dim + 1]), -1))
        return type(found)((_picked(x, place, found.indices), found.indices))

    return apply


rule("topk", "selection")(_ordered("topk", 1))


@rule("sort", "selection")
def sort(x: Jet, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The entries in order along an axis, and where they were."""
    found = torch.sort(x.value.detach(), dim=dim, descending=descending, stable=stable)
    return type(found)((_picked(x, dim, found.indices), found.indices))  # type: ignore[arg-type]


@rule("msort", "selection")
def msort(x: Jet) -> Jet:
    """Sorted along the first axis."""
    return sort(x, 0)[0]


def _one_of_an_axis(name: str, leading: int) -> Callable:
    """Operators that pick one entry of an axis, which is dropped unless `keepdim`."""
    find = getattr(torch, name)

    def apply(x: Jet, *args: Any, dim: int | None = None, keepdim: bool = False, **kwargs: Any) -> Any:
        options = args[leading:]
        dim = options[0] if options else dim
        keepdim = options[1] if len(options) > 1 else keepdim
        if dim is None and name.endswith("median"):
            return among_the_extreme(x, find(x.value.detach()), (), False)
        dim = -1 if dim is None else dim
        values, indices = find(x.value.detach(), *args[:leading], dim=dim, keepdim=True, **kwargs)
        out = _picked(x, dim, indices)
        if not keepdim and x.dim():
            out, indices = out.squeeze(dim), indices.squeeze(dim)
        return getattr(torch.return_types, name)((out, indices))

    return apply


for _name, _leading in {"median": 0, "nanmedian": 0, "mode": 0, "kthvalue": 1}.items():
    rule(_name, "selection")(_one_of_an_axis(_name, _leading))


@rule("quantile", "selection")
def quantile(
    x: Jet, q: float | Tensor, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Any:
    """Quantiles along an axis, or of all entries; between two of them by `interpolation`."""
    if is_jet(q):
        raise TypeError("quantile: expected a number or a tensor as q, got a jet")
    axes_kept = x.dim()
    x = autocast_as(lambda values, _: torch.quantile(values, 0.5), x)
    x, dim = (x.reshape(-1), 0) if dim is None else (x, dim)
    q = torch.as_tensor(q, dtype=x.dtype, device=x.device)
    _check_quantile(x, q)
    ordered = sort(x.unsqueeze(0) if x.dim() == 0 else x, dim)[0].movedim(dim, 0)
    ranks = q.reshape(-1) * (len(ordered) - 1)
    rounding = {"lower": torch.floor, "higher": torch.ceil, "nearest": torch.round}
    if interpolation in rounding:
        out = ordered[rounding[interpolation](ranks).long()]
    elif interpolation in ("linear", "midpoint"):
        lower, upper = ranks.floor(), ranks.ceil()
        weights = (ranks - lower if interpolation == "linear" else 0.5 * (upper - lower)).reshape(
            -1, *[1] * (ordered.dim() - 1)
        )
        out = torch.lerp(ordered[lower.long()], ordered[upper.long()], weights)
    else:
        expected = "linear, lower, higher, midpoint or nearest"
        raise ValueError(f"quantile: expected interpolation {expected}, got {interpolation!r}")
    out = torch.where(ordered.value[-1].isnan(), ordered[-1], out)  # NaN comes last
    if keepdim:
        single = axes_kept != x.dim() or axes_kept == 0
        out = out.reshape(-1, *[1] * axes_kept) if single else out.unsqueeze(dim % x.dim() + 1)
    return out if q.dim() else out.squeeze(0)


def _check_quantile(x: Jet, q: Tensor) -> None:
    if not x.numel() or q.dim() > 1:
        raise ValueError(
            f"quantile: expected entries, and q a number or a vector, got shapes {tuple(x.shape)} and {tuple(q.shape)}"
        )
    if not traced() and not bool(((q >= 0) & (q <= 1)).all()):
        raise ValueError(f"quantile: expected q in [0, 1], got {q.tolist()}")

"""Selections: the value decides, the rows follow; and what has no derivatives at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.dispatch import RULES, rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.rules.elementwise import warn_of_kink
from jetprop.jets.rules.operands import aligned, autocast_to, axis, common_basis, is_jet, jet_of
from jetprop.jets.rules.reductions import among_the_extreme

__all__: list[str] = []


@rule("where", "selection")
def where(condition: Any, x: Any, y: Any) -> Jet:
    """Where the condition holds x, else y; as a method, `x.where(condition, y)`."""
    if is_jet(condition) or (condition.dtype != torch.bool and getattr(x, "dtype", None) == torch.bool):
        condition, x = x, condition
    if is_jet(condition) or not isinstance(condition, Tensor):
        raise TypeError(f"where needs a boolean tensor as its condition, got {type(condition).__name__}; compare first")
    basis = common_basis(x, y)
    like = x if is_jet(x) else y
    x, y = jet_of(x, like), jet_of(y, like)
    ndim = max(condition.dim(), x.dim(), y.dim())
    return Jet._of(torch.where(condition, aligned(x.rows, ndim), aligned(y.rows, ndim)), basis)


@rule("masked_fill", "selection")
def masked_fill(x: Jet, mask: Tensor, value: Any) -> Jet:
    """A number (0-d tensor or jet) where the mask holds.

    Raises:
        TypeError: a complex number among real ones.
    """
    filling = value.is_complex() if is_jet(value) or isinstance(value, Tensor) else isinstance(value, complex)
    if filling and not x.is_complex():
        raise TypeError(f"a complex number does not fit a jet of dtype {x.dtype}; convert it first, with .cfloat()")
    return where(mask, value, x).to(x.dtype)


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


_POOLS = [(f"{kind}max_pool{space}d", space) for kind in ("", "adaptive_") for space in (1, 2, 3)]
_POOLS += [("fractional_max_pool2d", 2), ("fractional_max_pool3d", 3)]
for _name, _space in _POOLS:
    rule(_name, "selection")(_max_pool(_space, getattr(F, _name)))


def _with_indices(space: int, pool: Callable) -> Callable:
    def apply(x: Jet, *args: Any, **kwargs: Any) -> tuple[Jet, Tensor]:
        kwargs.pop("return_indices", None)
        _, indices = pool(x.value, *args, return_indices=True, **kwargs)
        return _gathered(x, indices, space), indices

    return apply


for _name, _space in _POOLS:
    rule(f"{_name}_with_indices", "selection")(_with_indices(_space, getattr(F, _name)))


# These return the indices too, unlike their namesakes in torch.nn.functional.
spell(torch.adaptive_max_pool1d, RULES["adaptive_max_pool1d_with_indices"].apply)
for _space in (2, 3):
    _operator = getattr(sys.modules["torch._C._nn"], f"adaptive_max_pool{_space}d")
    spell(_operator, RULES[f"adaptive_max_pool{_space}d_with_indices"].apply)


def _extremum(name: str) -> Callable:
    def apply(x: Jet, dim: Any = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Tensor) or is_jet(dim):
            return _pairwise_with_ties(torch.ge if name == "max" else torch.le, x, dim)
        search = torch.argmax if name == "max" else torch.argmin
        if dim is None:
            return among_the_extreme(x, getattr(torch, name)(x.value.detach()), (), False)
        if x.dim() == 0:
            return _extremum_kind(name)((x, torch.zeros_like(x.value, dtype=torch.long)))
        indices = search(x.value, dim, keepdim=True)
        values = _take(x, indices, dim, keepdim)
        return _extremum_kind(name)((values, indices if keepdim else indices.squeeze(dim)))

    return apply


def _extremum_kind(name: str) -> Callable[[Any], Any]:
    return torch.return_types.max if name == "max" else torch.return_types.min


def _take(x: Jet, indices: Tensor, dim: int, keepdim: bool) -> Jet:
    place = axis(dim, x.dim())
    indices = indices if indices.dim() == x.dim() else indices.reshape([1] * x.dim())
    rows = x.rows.gather(place, indices.unsqueeze(0).expand(x.rows.shape[0], *indices.shape))
    return Jet._of(rows if keepdim else rows.squeeze(place), x.basis)


for _name in ("max", "min"):
    rule(_name, "selection")(_extremum(_name))


def _pairwise(better: Callable, x: Any, y: Any) -> Jet:
    x0 = _value(x)
    return where(better(x0, _value(y)) | x0.isnan(), x, y)


def _value(x: Any) -> Any:
    return x.value if is_jet(x) else x


def _pairwise_with_ties(better: Callable, x: Any, y: Any) -> Jet:
    """The better of two, their mean where they tie, between which PyTorch halves a gradient."""
    tied = torch.as_tensor(_value(x) == _value(y))
    chosen = _pairwise(better, x, y)
    return where(tied, x * 0.5 + y * 0.5, chosen)


@rule("maximum", "selection")
def maximum(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """The larger of two, their mean where they tie."""
    return _pairwise_with_ties(torch.ge, x, y)


@rule("minimum", "selection")
def minimum(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """The smaller of two, their mean where they tie."""
    return _pairwise_with_ties(torch.le, x, y)


@rule("clamp_min", "selection")
def clamp_min(x: Jet | Tensor, min: Jet | Tensor | float) -> Jet:
    """Not below `min`."""
    return _pairwise(torch.ge, x, min)


@rule("clamp_max", "selection")
def clamp_max(x: Jet | Tensor, max: Jet | Tensor | float) -> Jet:
    """Not above `max`."""
    return _pairwise(torch.le, x, max)


@rule("clamp", "selection", "clip")
def clamp(x: Any, min: Any = None, max: Any = None) -> Jet:
    """Not below `min`, then not above `max`: numbers, tensors or jets. On a bound, the rows are those of x."""
    if min is None and max is None:
        raise ValueError("clamp: expected min, max or both, got neither")
    if is_jet(x) and not any(isinstance(bound, Tensor) or is_jet(bound) for bound in (min, max)):
        return RULES["clamp to numbers"].apply(x, min, max)
    x = x if min is None else clamp_min(x, min)
    return x if max is None else clamp_max(x, max)


@rule("nan_to_num", "selection")
def nan_to_num(x: Jet, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Jet:
    """Constants in the place of NaN and infinities."""
    return where(x.value.isfinite(), x, torch.nan_to_num(x.value.detach(), nan, posinf, neginf))


@rule("gather", "selection")
def gather(x: Jet, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Jet:
    """Entries picked along an axis."""
    if x.dim() == 0:
        return Jet._of(torch.stack([row.gather(dim, index) for row in x.rows]), x.basis)
    return Jet._of(x.rows.gather(axis(dim, x.dim()), index.unsqueeze(0).expand(x.rows.shape[0], *index.shape)), x.basis)


@rule("prelu", "selection")
def prelu(x: Jet, weight: Tensor) -> Jet:
    """Where x > 0 it stays, elsewhere it is multiplied by the weight; differentiable in the weight."""
    if is_jet(weight) or not is_jet(x):
        raise TypeError("prelu with a jet as its weight has no rule; only its input may be a jet")
    warn_of_kink("prelu", x.basis.order)
    if torch.is_autocast_enabled(x.device.type):
        rows, weight = autocast_to(x.rows, weight)
        x = Jet._of(rows, x.basis)
    shape = [1] * x.dim()
    if weight.numel() > 1:
        shape[1 if x.dim() > 1 else 0] = weight.numel()
    return Jet._of(x.rows * torch.where(x.value > 0, torch.ones_like(x.value), weight.reshape(shape)), x.basis)


@rule("rrelu", "selection")
def rrelu(x: Jet, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Jet:
    """Leaky ReLU, in training with slopes drawn as PyTorch would draw them for the value, the same for all rows."""
    warn_of_kink("rrelu", x.basis.order)
    signs = torch.where(x.value > 0, torch.ones_like(x.value), -1)
    rows = x.rows * F.rrelu(signs, lower, upper, training).abs()
    if inplace:
        x.rows.copy_(rows)
        return x
    return Jet._of(rows, x.basis)


def _of_value(function: Callable) -> Callable:
    def apply(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_value, args), **{k: _value(v) for k, v in kwargs.items()})

    return apply


for _name, _alias in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}.items():
    rule(_name, "value", _alias)(_of_value(getattr(torch, _name)))

for _name in """isnan isinf isfinite isposinf isneginf isreal signbit isclose allclose equal is_same_size isin
    argmax argmin argsort nonzero count_nonzero any all logical_not logical_and logical_or logical_xor
    searchsorted bucketize histc bernoulli multinomial result_type nelement numel ndimension element_size get_device
    is_complex is_floating_point is_signed is_conj is_neg argwhere
    """.split():
    rule(_name, "value")(_of_value(getattr(torch, _name, None) or getattr(Tensor, _name)))


def _like(name: str) -> Callable:
    function = getattr(torch, name, None) or getattr(Tensor, name)

    def apply(x: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not is_jet(x) or any(is_jet(a) for a in (*args, *kwargs.values())):
            raise TypeError(
                f"{name} with a jet as what to fill with would lose its derivatives; take jet.value if meant"
            )
        return function(x.value, *args, **kwargs)

    return apply


for _name in """zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full
    new_tensor""".split():
    rule(_name, "value")(_like(_name))


def _equality(name: str) -> Callable:
    function = getattr(torch, name)

    def apply(x: Any, y: Any) -> Any:
        comparable = all(is_jet(a) or isinstance(a, (Tensor, float, int, complex)) for a in (x, y))
        return function(_value(x), _value(y)) if comparable else NotImplemented

    return apply


rule("bool", "value")(_of_value(Tensor.bool))
rule("eq", "value")(_equality("eq"))
rule("ne", "value", "not_equal")(_equality("ne"))

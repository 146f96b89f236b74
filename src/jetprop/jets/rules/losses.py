"""Losses as the last layer: jets as inputs, as targets, or as both.

The bodies that PyTorch writes in Python (checks, warnings, old words for `reduction`) run as they are; the rules are
those of the operators they end in, which take the reduction as a number, 0 none (the default), 1 mean, 2 sum, and give
mixed dtypes that of one operand.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.dispatch import SPELLINGS, rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import is_jet
from jetprop.jets.tracing import traced

__all__: list[str] = []

NONE, MEAN, SUM = 0, 1, 2


def _module(original: ModuleType, **changed: Any) -> ModuleType:
    twin = ModuleType(original.__name__)
    vars(twin).update({**vars(original), **changed})
    return twin


_OPERATORS = _module(sys.modules["torch._C._nn"])
"""`torch._C._nn` as the bodies see it: with our rules for its losses, which torch.compile would not hand to a jet."""

_SCOPE = {
    **vars(F),
    **dict.fromkeys(("has_torch_function_unary", "has_torch_function_variadic"), lambda *_: False),
    "torch": _module(torch, _C=_module(torch._C, _nn=_OPERATORS)),
}
del _SCOPE["__name__"]  # torch.compile would look the others up in the module of that name


def _loss(name: str, body: str = "") -> Callable[[Callable], Callable]:
    """Register an operator, and the body in `torch.nn.functional` (of the same name, or `body`) that ends in it.

    Under autocast losses compute in single precision, as PyTorch's do.
    """

    def register(formula: Callable) -> Callable:
        @wraps(formula)
        def apply(*args: Any, **kwargs: Any) -> Any:
            device = next(x for x in (*args, *kwargs.values()) if is_jet(x)).device.type
            if not torch.is_autocast_enabled(device):
                return formula(*args, **kwargs)
            with torch.autocast(device, enabled=False):
                return formula(*map(_single, args), **{k: _single(x) for k, x in kwargs.items()})

        function: Any = getattr(F, body or name, None)
        rule(name, "composition", *([function] if body else []))(apply)
        setattr(_OPERATORS, name, apply)
        if isinstance(function, FunctionType):
            SPELLINGS[function] = FunctionType(function.__code__, _SCOPE, function.__name__, function.__defaults__)
        return apply

    return register


def _single(x: Any) -> Any:
    return x.float() if getattr(x, "dtype", None) in (torch.float16, torch.bfloat16) else x


def _reduced(loss: Any, reduction: int) -> Any:
    if reduction == NONE:
        return loss
    return loss.mean() if reduction == MEAN else loss.sum()


def _value(x: Any) -> Any:
    return x.value if is_jet(x) else x


def _label(target: Any) -> Tensor:
    """A target that only tells cases apart."""
    if is_jet(target):
        raise TypeError("the target of this loss is a label, which has no derivatives: expected a tensor, got a jet")
    return target


@_loss("mse_loss")
def mse_loss(x: Any, target: Any, reduction: int = NONE) -> Any:
    """(x − t)²."""
    return _reduced((x - target).square(), reduction)


@_loss("l1_loss")
def l1_loss(x: Any, target: Any, reduction: int = NONE) -> Any:
    """`|x − t|`."""
    return _reduced((x - target).abs(), reduction)


def _quadratic_near_zero(d: Jet, width: float) -> Jet:
    """d²/2 where it is less than `width` wide, else width·(|d| − width/2)."""
    sign = torch.sign(d.value.detach())
    return torch.where(d.value.abs() < width, 0.5 * d.square(), width * (sign * d - 0.5 * width))  # type: ignore[return-value]


@_loss("huber_loss")
def huber_loss(x: Any, target: Any, reduction: int = NONE, delta: float = 1.0) -> Any:
    """d²/2 for `|d| < δ`, else δ(`|d|` − δ/2), d = x − t."""
    return _reduced(_quadratic_near_zero(x - target, delta).to(x.dtype), reduction)


@_loss("smooth_l1_loss")
def smooth_l1_loss(x: Any, target: Any, reduction: int = NONE, beta: float = 1.0) -> Any:
    """d²/2β for `|d| < β`, else `|d|` − β/2, d = x − t."""
    if beta == 0:
        return l1_loss(x, target, reduction)
    return _reduced(_quadratic_near_zero(x - target, beta) / beta, reduction)


@_loss("kl_div")
def kl_div(x: Any, target: Any, reduction: int = NONE, *, log_target: bool = False) -> Any:
    """`t (ln t − x)`, with t = e^target if `log_target`."""
    if log_target:
        return _reduced(target.exp() * (target - x), reduction)
    return _reduced(torch.xlogy(target, target) - target * x, reduction)


def _log_from_minus_100(p: Any) -> Any:
    """`ln p`, not below −100, where PyTorch cuts it."""
    cut = torch.log(_value(p).detach()) < -100
    return torch.where(cut, -100.0, torch.log(torch.where(cut, 1.0, p)))


@_loss("binary_cross_entropy")
def binary_cross_entropy(x: Any, target: Any, weight: Any = None, reduction: int = NONE) -> Any:
    """−w (t ln x + (1 − t) ln(1 − x)), logarithms not below −100."""
    value = _value(x)
    if not traced() and bool(((value < 0) | (value > 1)).any()):
        raise RuntimeError(
            f"binary_cross_entropy: expected probabilities in [0, 1], got values from {value.min():g} to "
            f"{value.max():g}; apply a sigmoid, or use binary_cross_entropy_with_logits"
        )
    loss = (target - 1) * _log_from_minus_100(1 - x) - target * _log_from_minus_100(x)
    return _reduced(loss if weight is None else loss * weight, reduction)


@_loss("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = NONE
) -> Any:
    """(1 − t) x − (1 + (p − 1) t) ln σ(x), times w."""
    log = F.logsigmoid(x)
    loss = (1 - target) * x - (log if pos_weight is None else log * ((pos_weight - 1) * target + 1))
    return _reduced((loss if weight is None else loss * weight).to(target.dtype), reduction)


@_loss("poisson_nll_loss")
def poisson_nll_loss(x: Any, target: Any, log_input: bool, full: bool, eps: float, reduction: int) -> Any:
    """eˣ − t x, or x − t ln(x + ε); with `full` Stirling's t ln t − t + ½ ln 2πt where t > 1."""
    loss = x.exp() - target * x if log_input else x - target * (x + eps).log()
    if full:
        small = _value(target) <= 1
        t = torch.where(small, 2.0, target)
        loss = loss + torch.where(small, 0.0, t * t.log() - t + 0.5 * (2 * math.pi * t).log())
    return _reduced(loss, reduction)


@_loss("soft_margin_loss")
def soft_margin_loss(x: Any, target: Any, reduction: int = NONE) -> Any:
    """ln(1 + e^(−t x))."""
    return _reduced(-F.logsigmoid(target * x).to(x.dtype), reduction)


# ---- margins --------------------------------------------------------------------------------------------------------


@_loss("hinge_embedding_loss")
def hinge_embedding_loss(x: Any, target: Any, margin: float = 1.0, reduction: int = NONE) -> Any:
    """`x` where t = 1, max(0, margin − x) where t = −1."""
    t = _label(target)
    hinge = torch.where(t != 1, (margin - x).clamp_min(0), 0.0)
    return _reduced(hinge + torch.where(t != -1, x, 0.0), reduction)


@_loss("margin_ranking_loss")
def margin_ranking_loss(x1: Any, x2: Any, target: Any, margin: float = 0.0, reduction: int = NONE) -> Any:
    """max(0, margin − t (x₁ − x₂))."""
    return _reduced((margin - target * (x1 - x2)).clamp_min(0), reduction)


@_loss("cosine_embedding_loss")
def cosine_embedding_loss(x1: Any, x2: Any, target: Any, margin: float = 0.0, reduction: int = NONE) -> Any:
    """1 − cos(x₁, x₂) where t = 1, max(0, cos − margin) where t = −1."""
    t = _label(target)
    squares = [(x * x).sum(t.dim()) + 1e-12 for x in (x1, x2)]
    cosine = (x1 * x2).sum(t.dim()) / (squares[0] * squares[1]).sqrt()
    apart = torch.where(t == -1, (cosine - margin).clamp_min(0), 0.0)
    return _reduced(torch.where(t == 1, 1 - cosine, apart), reduction)


@_loss("triplet_margin_loss")
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: int = NONE,
) -> Any:
    """max(0, margin + d(a, p) − d(a, n)); with `swap` the smaller of d(a, n) and d(p, n)."""
    near = torch.pairwise_distance(anchor, positive, p, eps)
    far = torch.pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = torch.minimum(far, torch.pairwise_distance(positive, negative, p, eps))
    return _reduced((margin + near - far).clamp_min(0), reduction)


@_loss("multi_margin_loss")
def multi_margin_loss(
    x: Any, target: Tensor, p: float = 1, margin: float = 1.0, weight: Tensor | None = None, reduction: int = NONE
) -> Any:
    """Σ_i≠t w_t max(0, margin − x_t + x_i)ᵖ / C."""
    x, single = (x.unsqueeze(0), True) if x.dim() < 2 else (x, False)
    own = _label(target).reshape(-1, 1)
    terms = (margin - x.gather(1, own) + x).clamp_min(0)
    terms = terms.square() if p == 2 else terms
    terms = terms if weight is None else terms * weight[own]
    loss = terms.masked_fill(torch.zeros_like(x, dtype=torch.bool).scatter(1, own, True), 0.0).sum(1) / x.shape[1]
    return _reduced(loss.squeeze(0) if single else loss, reduction)


@_loss("multilabel_margin_loss")
def multilabel_margin_loss(x: Any, target: Tensor, reduction: int = NONE) -> Any:
    """Σ_j Σ_i max(0, 1 − (x_j − x_i)) / C over labels j (those before the first −1) and classes i that are none."""
    x, target, single = (x.reshape(1, -1), target.reshape(1, -1), True) if x.dim() < 2 else (x, target, False)
    valid = (_label(target) >= 0).cumprod(1).bool()
    labels = target.where(valid, 0)
    of_class = torch.zeros(x.shape, dtype=torch.int64, device=target.device).scatter_add(1, labels, valid.long()) > 0
    hinges = (1 - x.gather(1, labels).unsqueeze(2) + x.unsqueeze(1)).clamp_min(0)
    counted = valid.unsqueeze(2) & ~of_class.unsqueeze(1)
    loss = hinges.masked_fill(~counted, 0.0).sum((1, 2)) / x.shape[1]
    return _reduced(loss.squeeze(0) if single else loss, reduction)


# ---- classes --------------------------------------------------------------------------------------------------------


def _picked(log: Any, target: Tensor, weight: Any, ignore_index: int) -> tuple[Any, Any]:
    """−w_t log_t, zero where ignored, and the weights w_t. The classes lie on axis 1 (0 if the value has one axis)."""
    place = min(log.dim() - 1, 1)
    if _label(target).is_floating_point():
        raise TypeError(
            f"expected class indices (integers) of shape {tuple(log.shape[:place])} …, or probabilities of the shape "
            f"{tuple(log.shape)}; got {target.dtype} of shape {tuple(target.shape)}"
        )
    expected = (*log.shape[:place], *log.shape[place + 1 :])
    if tuple(target.shape) != expected:
        raise ValueError(f"expected targets of shape {expected} for a value of {tuple(log.shape)}, got {target.shape}")
    kept = target != ignore_index
    safe = target.where(kept, 0)
    weights = kept.to(log.dtype) if weight is None else weight[safe] * kept
    return -(log.gather(place, safe.unsqueeze(place)).squeeze(place) * weights).masked_fill(~kept, 0.0), weights


def _weighed(loss: Any, weights: Any, reduction: int) -> Any:
    """The mean is the one by weights."""
    return loss.sum() / weights.sum() if reduction == MEAN else _reduced(loss, reduction)


def _nll_loss(x: Any, target: Tensor, weight: Any = None, reduction: int = NONE, ignore_index: int = -100) -> Any:
    """−w_t x_t over the entries that are not ignored; their mean weighted by w_t."""
    loss, weights = _picked(x, target, weight, ignore_index)
    return _weighed(loss, weights, reduction)


for _name in ("nll_loss", "nll_loss_nd", "nll_loss2d"):
    _loss(_name)(_nll_loss)


@_loss("cross_entropy_loss", "cross_entropy")
def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    reduction: int = NONE,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    """−Σ_c w_c t_c ln softmax(x)_c, t moved by `label_smoothing` towards 1/C; targets are classes or probabilities."""
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    place = min(x.dim() - 1, 1)
    classes = x.shape[place]
    log = F.log_softmax(x, place)
    of_class = [-1] + [1] * (x.dim() - 1 - place)
    weighted = log if weight is None else log * weight.reshape(of_class)
    if target.shape == x.shape:
        if not target.is_floating_point():
            raise TypeError(f"expected probabilities (floating point) in the value's shape, got {target.dtype}")
        if label_smoothing:
            target = target * (1 - label_smoothing) + label_smoothing / classes
        return _reduced(-(weighted * target).sum(place), reduction)
    loss, weights = _picked(log, target, weight, ignore_index)
    if label_smoothing:
        even = -weighted.sum(place).masked_fill(target == ignore_index, 0.0) / classes
        loss = (1 - label_smoothing) * loss + label_smoothing * even
    return _weighed(loss, weights, reduction)

"""Nonlinear conjugate gradients on one batch: Algorithm 1."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, get_args

import torch
from torch import Tensor

from jetprop.jets import Jet, functional_call
from jetprop.ode.adjoint import cost_and_gradient
from jetprop.ode.cost import Cost
from jetprop.ode.line_search import root_of_slope
from jetprop.ode.model import DepthVaryingODE
from jetprop.ode.sobolev import sobolev as to_sobolev

__all__ = ["BatchResult", "Beta", "Memory", "Status", "UnreachableTargetWarning", "conjugate", "train_batch"]

Beta = Literal["fletcher_reeves", "polak_ribiere", "hestenes_stiefel", "dai_yuan"]
"""Names of the formulas for the coefficient of the former direction."""

Tensors = Sequence[Tensor]
Inner = Callable[[Tensors, Tensors], float]


class Status(IntEnum):
    """How iterations ended; in every case the parameters are finite, and those of the last step taken."""

    DONE = 0
    """All iterations were made."""
    VANISHING_DIRECTION = 1
    """The gradient is zero: nothing to descend along."""
    NO_ROOT = 2
    """The linearised cost falls for ever along the direction, or not at all: there is no step length."""
    NOT_FINITE = 3
    """A cost or gradient is NaN or infinite. If a step made it so, that step was taken back."""


class UnreachableTargetWarning(UserWarning):
    """States of a ReLU network only grow, and some targets lie below their inputs."""


@dataclass
class Memory:
    """What the next direction needs to know of the last one.

    Args:
        gradient: g, the gradient in the metric of the descent.
        dual: r, what g is multiplied with in inner products.
        direction: d.
    """

    gradient: Tensors
    dual: Tensors
    direction: Tensors


BETAS: dict[str, Callable[[Tensors, Tensors, Memory, Inner], float]] = {
    "fletcher_reeves": lambda g, r, old, dot: dot(g, r) / dot(old.gradient, old.dual),
    "polak_ribiere": lambda g, r, old, dot: (dot(g, r) - dot(g, old.dual)) / dot(old.gradient, old.dual),
    "hestenes_stiefel": lambda g, r, old, dot: (
        (dot(g, r) - dot(g, old.dual)) / (dot(old.direction, r) - dot(old.direction, old.dual))
    ),
    "dai_yuan": lambda g, r, old, dot: dot(g, r) / (dot(old.direction, r) - dot(old.direction, old.dual)),
}
"""γ of Algorithm 1 by name: with y = r − r_old, ⟨g, r⟩/⟨g_old, r_old⟩, ⟨g, y⟩/⟨g_old, r_old⟩, ⟨g, y⟩/⟨d_old, y⟩ and
⟨g, r⟩/⟨d_old, y⟩."""


def conjugate(
    beta: Beta, gradient: Tensors, dual: Tensors, slope: Tensors, old: Memory | None, inner: Inner
) -> tuple[list[Tensor], float]:
    """The next direction −g + γ d_old, or −g where that would not descend.

    Args:
        beta: the formula for γ.
        gradient: g as in `Memory`.
        dual: r as in `Memory`; without a metric it is g.
        slope: the gradient in the sense of `inner`, by which descent is judged.
        old: of the last step, or None at the first.
        inner: the inner product.

    Returns:
        The direction, and γ; 0 at the first step, and where −g + γ d_old is not finite or no descent.
    """
    steepest = [-g for g in gradient]
    if old is None:
        return steepest, 0.0
    try:
        gamma = BETAS[beta](gradient, dual, old, inner)
    except ZeroDivisionError:
        return steepest, 0.0
    direction = [torch.add(s, d, alpha=gamma) for s, d in zip(steepest, old.direction, strict=True)]
    if not -math.inf < inner(direction, slope) < 0:  # NaN too
        return steepest, 0.0
    return direction, gamma


@dataclass
class BatchResult:
    """What `train_batch` did.

    Args:
        status: how it ended.
        costs: E before each step taken, and after the last one; one more than steps.
        step_lengths: η of each step.
        betas: γ of each step, 0 where it went along the negative gradient.
    """

    status: Status
    costs: list[float] = field(default_factory=list)
    step_lengths: list[float] = field(default_factory=list)
    betas: list[float] = field(default_factory=list)


def train_batch(
    model: DepthVaryingODE,
    x: Tensor,
    y: Tensor,
    mu: tuple[float, float, float, float] = (0.0, 1.0, 0.4, 0.0),
    iterations: int = 6,
    beta: Beta = "fletcher_reeves",
    sobolev: bool = False,
    classes: int | None = 10,
    *,
    length_scale: float = 1.0,
    norms: Literal["l2", "metric"] = "l2",
) -> BatchResult:
    """Run conjugate-gradient iterations (Algorithm 1) on one batch, in place.

    Each takes the gradient (6), (7) from the exact discrete adjoint, a direction d = −g + γ d_old, the jet of the
    output along d in the parameters, ξ(T), and the step η at which the cost of x(T) + ηξ(T) is least. That cost is
    convex, so the step is its only one; the cost itself may rise where the network is far from linear along d.

    Args:
        model: its parameters are changed; any solver, `ConvolutionalODE` too.
        x: inputs, `[B, N]`, in the model's dtype.
        y: targets, of that shape; with μ2 > 0 one-hot in the first `classes` components, see `one_hot`.
        mu: μ1 … μ4 of `Cost`; the default is the paper's cross-entropy.
        iterations: how many, ≥ 1. The first goes along −g.
        beta: the formula for γ.
        sobolev: whether g is the Sobolev gradient (9) instead of that in L²(0, T).
        classes: as of `Cost`.
        length_scale: of the Sobolev gradient, ℓ > 0.
        norms: inner products in γ are those of L²(0, T), as printed, `"l2"`; or, `"metric"`, those in which g is the
            gradient. They differ for the Sobolev gradient only.

    Returns:
        How it ended, with cost and step length of each iteration.

    Raises:
        ValueError: an argument is out of its range, or shapes or targets do not fit the model (see `Cost.check`).

    Warns:
        UnreachableTargetWarning: an ℓ² target lies below its input, and the activation is ReLU.

    Source:
        jaroudi2022, Algorithm 1 and B.1.

    Example:
        >>> import torch
        >>> from jetprop.ode import StandaloneODE, one_hot, train_batch
        >>> x, y = torch.rand(8, 12), one_hot(torch.arange(8), 12)
        >>> result = train_batch(StandaloneODE(12, steps=10), x, y, iterations=3)
        >>> result.status.name, result.costs[-1] < result.costs[0]
        ('DONE', True)
    """
    if len(mu) != 4:
        raise ValueError(f"mu is four numbers, (μ1, μ2, μ3, μ4), got {mu!r}")
    cost = Cost(*mu, classes=classes)
    _check(model, x, y, cost, iterations, beta, length_scale, norms)
    parameters = [model.weight, model.bias]
    dt = model.dt

    def inner(a: Tensors, b: Tensors) -> float:
        return dt * float(sum(torch.dot(u.flatten(), v.flatten()) for u, v in zip(a, b, strict=True)))

    result, old = BatchResult(Status.DONE), None
    kept = [p.detach().clone() for p in parameters]
    for _ in range(iterations):
        value, output, l2 = cost_and_gradient(model, x, y, cost)
        norm = inner(l2, l2)
        if not (math.isfinite(value) and math.isfinite(norm)):
            return _ended(result, Status.NOT_FINITE, parameters, kept)
        result.costs.append(value)
        if norm == 0:
            result.status = Status.VANISHING_DIRECTION
            return result
        gradient = [to_sobolev(g, model.time, length_scale) for g in l2] if sobolev else l2
        dual = l2 if norms == "metric" else gradient
        direction, gamma = conjugate(beta, gradient, dual, l2, old, inner)
        eta = _step_length(model, x, y, cost, output, direction, inner)
        if eta is None:
            result.status = Status.NO_ROOT
            return result
        with torch.no_grad():
            for p, d, backup in zip(parameters, direction, kept, strict=True):
                backup.copy_(p)
                p.add_(d, alpha=eta)
        result.step_lengths.append(eta)
        result.betas.append(gamma)
        old = Memory(gradient, dual, direction)
    with torch.no_grad():
        last = float(cost.of_output(model(x), y) + cost.of_parameters([p.detach() for p in parameters], dt))
    if not math.isfinite(last):
        return _ended(result, Status.NOT_FINITE, parameters, kept)
    result.costs.append(last)
    return result


def _step_length(
    model: DepthVaryingODE, x: Tensor, y: Tensor, cost: Cost, output: Tensor, direction: list[Tensor], inner: Inner
) -> float | None:
    """The root of B.1's equation, ξ(T) being the output's jet along the direction in the parameters."""
    parameters = [model.weight.detach(), model.bias.detach()]
    with torch.no_grad():
        jets = {
            name: Jet.seed(p, d.unsqueeze(0))
            for name, p, d in zip(("weight", "bias"), parameters, direction, strict=True)
        }
        xi = functional_call(model, jets, x).d(0)
    decay = (inner(parameters, direction), inner(direction, direction)) if cost.mu4 else (0.0, 0.0)
    slope, has_root = cost.slope_along(output, xi, y, decay)
    return root_of_slope(slope) if has_root else None


def _ended(result: BatchResult, status: Status, parameters: Tensors, kept: Tensors) -> BatchResult:
    """Take back the last step, if there was one."""
    result.status = status
    if result.step_lengths:
        with torch.no_grad():
            for p, backup in zip(parameters, kept, strict=True):
                p.copy_(backup)
        result.step_lengths.pop()
        result.betas.pop()
    return result


def _check(
    model: DepthVaryingODE,
    x: Tensor,
    y: Tensor,
    cost: Cost,
    iterations: int,
    beta: str,
    length_scale: float,
    norms: str,
) -> None:
    if not isinstance(model, DepthVaryingODE):
        raise ValueError(
            f"train_batch trains StandaloneODE and ConvolutionalODE, got {type(model).__name__}; for other models use "
            f"ode.ConjugateGradient"
        )
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations is an integer ≥ 1, got {iterations!r}")
    if beta not in BETAS:
        raise ValueError(f"beta is one of {', '.join(get_args(Beta))}; got {beta!r}")
    if norms not in ("l2", "metric"):
        raise ValueError(f'norms is "l2" or "metric", got {norms!r}')
    if not (math.isfinite(length_scale) and length_scale > 0):
        raise ValueError(f"length_scale is a finite number > 0, got {length_scale!r}")
    model.check_input(x)
    if len(x) == 0:
        raise ValueError("the batch has no samples")
    for name, tensor in {"x": x, "y": y}.items():
        if tensor.dtype != model.weight.dtype:
            raise ValueError(f"{name} has dtype {tensor.dtype}, the model {model.weight.dtype}; convert one of them")
    cost.check(x, y)
    if cost.mu1 and model.activation == "relu":
        below = int((y < x).sum())
        if below:
            warnings.warn(
                f"{below} of {y.numel()} targets lie below their inputs, which a ReLU network cannot reach: its states "
                f"only grow; raise the targets, or invert the inputs (ink 0 → −1)",
                UnreachableTargetWarning,
                stacklevel=3,
            )

"""Penalties on the gradient of the loss with respect to the input: Loss IBP, Fast Tangent BP, gradient norms.

Each is a function of g = ∇ₓL of a sample, with derivative v by g. Its weight gradient is that of the first derivative
of the loss along v, v held constant: `exact` takes all of it; the form of demyanov2015 holds dy_K and every layer's
Jacobian constant. For networks that are piecewise linear in x, what it leaves out is the curvature of the loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetprop.objectives.held_jacobians import HeldJacobians
from jetprop.objectives.penalties import (
    Parts,
    Penalty,
    SampleLoss,
    check_batch,
    check_norm,
    check_not_negative,
    check_samples_apart,
    cross_entropy,
    deliver,
    finite,
    loss_of_samples,
    powers,
)
from jetprop.objectives.worst_case import check_p, dual_norm, worst_perturbation

__all__ = ["FastTangentPropagation", "GradientNorm", "LossIBP", "Tangents", "tangents_of"]

Tangents = Callable[[Tensor], Tensor]
"""Takes inputs `[batch, …]`, gives T tangent vectors of each, `[T, batch, …]`, e.g. `manifolds.ImageTangents`."""


class _LossGradientPenalty(Penalty):
    """A function of the gradient of the loss of each sample."""

    loss: SampleLoss
    exact: bool

    @abstractmethod
    def of_gradient(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The penalty of each sample, `[batch]`, and its derivative by g, `[batch, …]`; constants."""

    def weighted(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        """See `Penalty.weighted`.

        Raises:
            NotImplementedError: without `exact`, a parameter of another layer than a linear one or a convolution.
            FloatingPointError: the gradient of the loss is not finite.
        """
        check_batch(x, y)
        check_samples_apart(model)
        return (self._exactly if self.exact else self._held)(model, x, y, task, weight)

    def _held(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        passes = HeldJacobians(model, x)
        predictions = passes.output.detach().requires_grad_()
        losses = loss_of_samples(self.loss, predictions, y)
        (slope,) = torch.autograd.grad(losses.sum(), predictions)
        values, v = self.of_gradient(finite(passes.backward(slope)), x)
        passes.forward(v)
        mean, penalty = losses.detach().mean(), values.mean()
        gradients = passes.gradients(task / len(x), weight / len(x))
        total = deliver(task * mean + weight * penalty, list(passes.parameters.values()), gradients)
        return Parts(total, mean, penalty)

    def _exactly(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        leaf = x.detach().requires_grad_()
        losses = loss_of_samples(self.loss, model(leaf), y)
        (g,) = torch.autograd.grad(losses.sum(), leaf, create_graph=True)
        values, v = self.of_gradient(finite(g.detach()), x)
        along = (v * g).flatten(1).sum(1)
        penalty = (values + along - along.detach()).mean()  # v·g has the gradient, the value may be a part of it
        total = weight * penalty + (task * losses.mean() if task else 0.0)
        return Parts(total, losses.detach().mean(), penalty.detach())


@dataclass(frozen=True)
class LossIBP(_LossGradientPenalty):
    """Loss invariant backpropagation: the loss shall not react to any small change of the input.

        L̃ = (1/r) ‖∇ₓL‖_r^r

    (Not interval bound propagation.) Differentiable once in the parameters. Fused, the form of the paper costs two
    forward passes, one backward pass and the weight gradients once: 4/3 of plain training, counted.

    Args:
        norm: r, 1 or 2.
        exact: False: the gradient of the paper, which holds dy_K and every layer's Jacobian constant; for layers whose
            weights act linearly. True: the gradient of the value, for any module.
        loss: of each sample.

    Source:
        demyanov2015, (6) to (8), Algorithm 1. g is the gradient of the loss of one sample.

    Example:
        >>> import torch
        >>> from jetprop.objectives import LossIBP
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> penalty = LossIBP(norm=2)
        >>> task = torch.nn.functional.cross_entropy(model(x), y)
        >>> (task + 0.1 * penalty(model, x, y)).backward()       # as a penalty
        >>> penalty.fused(beta=0.1)(model, x, y).backward()      # sharing passes
    """

    norm: int = 1
    exact: bool = False
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_norm(self.norm)

    def of_gradient(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1/r) ‖g‖_r^r; sign g or g."""
        return powers(g, self.norm)


@dataclass(frozen=True)
class FastTangentPropagation(_LossGradientPenalty):
    """Fast Tangent BP: the loss shall not react along given tangent vectors.

        R = Σ_t (1/r) |∇ₓL · ∇_θ_t x|^r

    One forward pass of tangents serves for all of them together. Differentiable once in the parameters.

    Args:
        tangents: gives the tangent vectors of a batch.
        norm: r, 1 or 2.
        signed: the derivatives themselves, as printed, instead of their absolute values: unbounded below.
        exact: see `LossIBP`.
        loss: of each sample.

    Raises:
        ValueError: `signed` with norm 2.

    Source:
        demyanov2015, (10) and section 7.5, which has no absolute value.

    Example:
        >>> import torch
        >>> from jetprop.objectives import FastTangentPropagation
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> turns = lambda x: torch.stack([-x[:, 1], x[:, 0]], 1)[None]
        >>> FastTangentPropagation(turns).fused(beta=0.1)(model, x, y).backward()
    """

    tangents: Tangents
    norm: int = 1
    signed: bool = False
    exact: bool = False
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_norm(self.norm)
        if self.signed and self.norm != 1:
            raise ValueError("signed derivatives go with norm=1: (10) as printed is linear in them")

    def of_gradient(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_t (1/r) `|g·t|^r`; Σ_t sign(g·t) t, or Σ_t (g·t) t."""
        t = tangents_of(self.tangents, x)
        along = (t.flatten(2) * g.flatten(1)).sum(2)  # [T, batch]
        values, slopes = powers(along.T, self.norm)
        if self.signed:
            values, slopes = along.sum(0), torch.ones_like(along.T)
        return values, torch.einsum("bt,tb...->b...", slopes, t)


@dataclass(frozen=True)
class GradientNorm(_LossGradientPenalty):
    """The norm of the loss's gradient, the first-order penalty of the gradient-regularisation family.

        σ ‖∇ₓL‖_p*,   or squared (σ²/2) ‖∇ₓL‖²_p*,   1/p + 1/p* = 1

    Differentiable once in the parameters.

    Args:
        p: of the perturbation, in [1, ∞].
        sigma: σ ≥ 0, its radius.
        squared: the form of second order.
        exact: see `LossIBP`; here True.
        loss: of each sample.

    Source:
        lyu2015, (4) and Remark 2.

    Example:
        >>> import torch
        >>> from jetprop.objectives import GradientNorm
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> bool(GradientNorm(p=2, sigma=0.0)(model, x, y) == 0)
        True
    """

    p: float
    sigma: float
    squared: bool = False
    exact: bool = True
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_p(self.p)
        check_not_negative("sigma", self.sigma)

    def of_gradient(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The norm has the worst perturbation of radius 1 for derivative."""
        norm, v = dual_norm(g, self.p), worst_perturbation(g, self.p, 1.0)
        if not self.squared:
            return self.sigma * norm, self.sigma * v
        factor = self.sigma**2 * norm.reshape(-1, *[1] * (g.dim() - 1))
        return 0.5 * self.sigma**2 * norm.square(), factor * v


def tangents_of(tangents: Tangents, x: Tensor) -> Tensor:
    """The tangent vectors of a batch, `[T, batch, …]`, constants.

    Raises:
        ValueError: another shape.
    """
    with torch.no_grad():
        found = tangents(x.detach())
    if found.dim() != x.dim() + 1 or found.shape[1:] != x.shape or not len(found):
        raise ValueError(
            f"tangents of shape {tuple(found.shape)} do not fit inputs of shape {tuple(x.shape)}: expected "
            f"[T, {', '.join(map(str, x.shape))}], T ≥ 1 tangents of each input"
        )
    return finite(found.detach().to(x))

"""Training at inputs moved by the worst perturbation: adversarial training, the gradient-regularisation family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jetprop.objectives.held_jacobians import input_gradient
from jetprop.objectives.loss_gradient import GradientNorm
from jetprop.objectives.penalties import (
    Objective,
    Parts,
    SampleLoss,
    check_batch,
    check_not_negative,
    cross_entropy,
    deliver,
    finite,
    loss_of_samples,
    same_randomness_after,
    trained,
)
from jetprop.objectives.worst_case import check_p, worst_perturbation

__all__ = ["AdversarialTraining", "FastAdversarialTraining", "GradientRegularization"]


@dataclass(frozen=True)
class AdversarialTraining(Objective):
    """Adversarial training by the sign of the gradient, half at clean and half at moved inputs.

        (L(x) + L(x + ε sign ∇ₓL)) / 2

    The backward pass that gives the direction gives the weight gradients of L(x) too: two steps' time.

    Args:
        epsilon: ε ≥ 0. Moved inputs are not clipped.
        loss: of each sample.

    Source:
        demyanov2015, (4), (5). The direction is held constant.

    Example:
        >>> import torch
        >>> from jetprop.objectives import AdversarialTraining
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> total, clean, moved = AdversarialTraining(epsilon=0.1).parts(model, x, y)
        >>> bool(moved > clean)
        True
    """

    epsilon: float
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_not_negative("epsilon", self.epsilon)

    def parts(self, model: nn.Module, x: Tensor, y: Tensor) -> Parts:
        """See `Objective.parts`; the penalty is the loss at the moved inputs.

        Raises:
            FloatingPointError: the gradient of the loss is not finite.
        """
        check_batch(x, y)
        own = list(trained(model).values())
        with same_randomness_after(x):
            leaf = x.detach().requires_grad_()
            clean = loss_of_samples(self.loss, model(leaf), y).mean()
            g, *gradients = torch.autograd.grad(clean, [leaf, *own], allow_unused=True)
        moved = x.detach() + worst_perturbation(finite(g), math.inf, self.epsilon)
        there = loss_of_samples(self.loss, model(moved), y).mean()
        total = 0.5 * (deliver(clean, own, gradients) + there)
        return Parts(total, clean.detach(), there.detach())


@dataclass(frozen=True)
class FastAdversarialTraining(Objective):
    """Adversarial training at the moved inputs alone: L(x + ε sign ∇ₓL).

    To first order it is adversarial training with 2ε, without the weight gradients at x. It is
    `GradientRegularization(p=∞, sigma=ε)`.

    Args:
        epsilon: ε ≥ 0. Moved inputs are not clipped.
        loss: of each sample.

    Source:
        demyanov2015, (12). The direction is held constant.

    Example:
        >>> import torch
        >>> from jetprop.objectives import FastAdversarialTraining
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> FastAdversarialTraining(epsilon=0.1)(model, x, y).backward()
    """

    epsilon: float
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_not_negative("epsilon", self.epsilon)

    def parts(self, model: nn.Module, x: Tensor, y: Tensor) -> Parts:
        """See `Objective.parts`; the penalty is what the loss grew by."""
        return GradientRegularization(math.inf, self.epsilon, loss=self.loss).parts(model, x, y)


@dataclass(frozen=True)
class GradientRegularization(Objective):
    """The gradient-regularisation family: the loss at its worst within a ball, to first order.

    ======== ================================================
    form     what is minimised
    ======== ================================================
    finite   L(x + ε_p), ε_p the `worst_perturbation`
    first    L(x) + σ ‖∇ₓL‖_p*
    squared  L(x) + (σ²/2) ‖∇ₓL‖²_p*
    ======== ================================================

    Args:
        p: of the perturbation, in [1, ∞]; ∞ is the fast gradient sign method.
        sigma: σ ≥ 0, its radius. Moved inputs are not clipped.
        form: which.
        loss: of each sample.

    Source:
        lyu2015, (3), (4), section IV ("minimize L(x + ε)") and Remark 2. ε is held constant.

    Example:
        >>> import torch
        >>> from jetprop.objectives import GradientRegularization
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> GradientRegularization(p=2, sigma=0.5)(model, x, y).backward()
    """

    p: float
    sigma: float
    form: Literal["finite", "first", "squared"] = "finite"
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_p(self.p)
        check_not_negative("sigma", self.sigma)
        if self.form not in ("finite", "first", "squared"):
            raise ValueError(f'form is "finite", "first" or "squared", got {self.form!r}')

    def parts(self, model: nn.Module, x: Tensor, y: Tensor) -> Parts:
        """See `Objective.parts`; the penalty is what is added to the loss at x.

        Raises:
            FloatingPointError: the gradient of the loss is not finite.
        """
        if self.form != "finite":
            return (
                GradientNorm(self.p, self.sigma, self.form == "squared", loss=self.loss).fused(1.0).parts(model, x, y)
            )
        check_batch(x, y)
        losses, g = input_gradient(model, x, y, self.loss)
        moved = x.detach() + worst_perturbation(g, self.p, self.sigma)
        total = loss_of_samples(self.loss, model(moved), y).mean()
        clean = losses.mean()
        return Parts(total, clean, total.detach() - clean)

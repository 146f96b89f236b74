"""Penalties on rows of the predictions' jet: Tangent BP, Prediction IBP, Jacobian regularisation.

The predictions p(x) are the model's output: for a classifier the logits, as the paper's experiments have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from jetprop.jets import Basis, Jet
from jetprop.objectives.held_jacobians import HeldJacobians, input_gradient
from jetprop.objectives.loss_gradient import Tangents, tangents_of
from jetprop.objectives.penalties import (
    Parts,
    Penalty,
    SampleLoss,
    check_batch,
    check_norm,
    cross_entropy,
    deliver,
    finite,
    loss_of_samples,
    powers,
)

__all__ = ["JacobianPenalty", "PredictionIBP", "TangentPropagation"]


@dataclass(frozen=True)
class PredictionIBP(Penalty):
    """Prediction invariant backpropagation: the predictions shall not react along the gradient of the loss.

        L̃ = (1/r) ‖∇ₓp · ∇ₓL‖_r^r,   ∇ₓL held constant

    (Not interval bound propagation.) Fused, with Jacobians held, it costs two forward passes, two backward passes and
    the weight gradients twice: 2 × plain training, counted.

    Args:
        norm: r, 1 or 2.
        exact: False: the paper's passes through the linearised network, which is held constant: the gradient of the
            value where the network is piecewise linear; for layers whose weights act linearly. True: the row of a jet,
            for any module that jets pass through, smooth ones with their curvature; 8/3 × counted.
        loss: of each sample.

    Source:
        demyanov2015, (9), section 3.2. Predictions are the logits.

    Example:
        >>> import torch
        >>> from jetprop.objectives import PredictionIBP
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> PredictionIBP(norm=1).fused(beta=0.1)(model, x, y).backward()
    """

    norm: int = 1
    exact: bool = False
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_norm(self.norm)

    def weighted(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        """See `Penalty.weighted`.

        Raises:
            NotImplementedError: without `exact`, a parameter of another layer than a linear one or a convolution; with
                it, an operation without a jet rule.
            FloatingPointError: the gradient of the loss is not finite.
        """
        check_batch(x, y)
        if self.exact:
            _, g = input_gradient(model, x, y, self.loss)
            return _of_rows(model, x, y, g.unsqueeze(0), self.norm, self.loss, task, weight)
        passes = HeldJacobians(model, x)
        predictions = passes.output.detach().requires_grad_()
        losses = loss_of_samples(self.loss, predictions, y)
        (slope,) = torch.autograd.grad(losses.sum(), predictions)
        row = passes.forward(finite(passes.backward(slope)))
        values, cotangent = powers(row, self.norm)
        passes.backward_again(cotangent)
        mean, penalty = losses.detach().mean(), values.mean()
        gradients = passes.gradients(task / len(x), weight / len(x))
        total = deliver(task * mean + weight * penalty, list(passes.parameters.values()), gradients)
        return Parts(total, mean, penalty)


@dataclass(frozen=True)
class TangentPropagation(Penalty):
    """Tangent propagation: the predictions shall not react along given tangent vectors.

        R = Σ_t (1/r) ‖∇ₓp · ∇_θ_t x‖_r^r

    One row of a jet for each tangent, beside the value: 1 + T times plain training. Or one row in all, for a random
    combination Σ_t ± t, drawn anew for each sample and call: with r = 2 its expectation is R.

    Args:
        tangents: gives the tangent vectors of a batch.
        norm: r, 1 or 2.
        carry: "all" tangents, or a "random" combination, for norm 2 only.
        loss: of each sample.

    Raises:
        ValueError: `carry="random"` with norm 1, where it would be biased.

    Source:
        demyanov2015, (3), after Simard et al. Exact: the network's curvature along the tangents is not dropped.
        Predictions are the logits.

    Example:
        >>> import torch
        >>> from jetprop.objectives import TangentPropagation
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> turns = lambda x: torch.stack([-x[:, 1], x[:, 0]], 1)[None]
        >>> TangentPropagation(turns).fused(beta=0.1)(model, x, y).backward()
    """

    tangents: Tangents
    norm: int = 1
    carry: Literal["all", "random"] = "all"
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        check_norm(self.norm)
        if self.carry not in ("all", "random"):
            raise ValueError(f'carry is "all" or "random", got {self.carry!r}')
        if self.carry == "random" and self.norm != 2:
            raise ValueError('carry="random" needs norm=2: the 1-norm of a combination is no mean of 1-norms')

    def weighted(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        """See `Penalty.weighted`.

        Raises:
            ValueError: tangents of another shape.
            NotImplementedError: an operation without a jet rule.
        """
        check_batch(x, y)
        t = tangents_of(self.tangents, x)
        if self.carry == "random":
            signs = 2 * torch.randint(0, 2, t.shape[:2], device=t.device, dtype=torch.int8) - 1
            t = torch.einsum("tb,tb...->b...", signs.to(t), t).unsqueeze(0)
        return _of_rows(model, x, y, t, self.norm, self.loss, task, weight)


@dataclass(frozen=True)
class JacobianPenalty(Penalty):
    """Jacobian regularisation: the predictions shall not react in any direction.

        ½ ‖∇ₓp‖²_F,  estimated without bias by ½ mean_k ‖∇ₓp · D_k‖²,  D_k standard normal

    Args:
        directions: how many D_k are drawn for each sample and call.
        loss: of each sample.

    Source:
        Compared with in avrutskiy2023, section 4.4. Exact: the network's curvature is not dropped.

    Example:
        >>> import torch
        >>> from jetprop.objectives import JacobianPenalty
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> JacobianPenalty().fused(beta=0.1)(model, x, y).backward()
    """

    directions: int = 1
    loss: SampleLoss = cross_entropy

    def __post_init__(self) -> None:
        if isinstance(self.directions, bool) or not isinstance(self.directions, int) or self.directions < 1:
            raise ValueError(f"directions is an integer ≥ 1, got {self.directions!r}")

    def weighted(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        """See `Penalty.weighted`.

        Raises:
            NotImplementedError: an operation without a jet rule.
        """
        check_batch(x, y)
        drawn = torch.randn(self.directions, *x.shape, dtype=x.dtype, device=x.device) / self.directions**0.5
        return _of_rows(model, x, y, drawn, 2, self.loss, task, weight)


def _of_rows(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    directions: Tensor,
    norm: int,
    loss: SampleLoss,
    task: float,
    weight: float,
) -> Parts:
    """The sum task · L + weight · Σ_t (1/r) ‖∂p/∂t‖_r^r by one jet with a row for each direction."""
    predictions = model(Jet.seed(x.detach(), directions, basis=Basis.full(len(directions), 1)))
    if not isinstance(predictions, Jet):
        raise TypeError(
            f"the model made a {type(predictions).__name__} of a jet, so the derivatives are lost; it has to return "
            "one tensor that depends on its input"
        )
    values, _ = powers(predictions.first.transpose(0, 1).flatten(1), norm)
    penalty = values.mean()
    mean = loss_of_samples(loss, predictions.value if task else predictions.value.detach(), y).mean()
    total = weight * penalty + (task * mean if task else 0.0)
    return Parts(total, mean.detach(), penalty.detach())

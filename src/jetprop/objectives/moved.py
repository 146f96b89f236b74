"""Values at moved inputs: noise, adversarial training and smoothing for regression, the rivals of robust training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from jetprop.jets import Basis, Jet
from jetprop.objectives.matching import Match, Terms

__all__ = ["AdversarialAscent", "GaussianNoise", "Move", "SmoothingCost"]


class Move(Protocol):
    """Takes a batch of inputs elsewhere."""

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
        """Moved inputs, without a graph.

        Args:
            model: the network that is trained.
            inputs: `[batch, …]`.
            targets: of the inputs as they are, `[batch, …]`.
            noise: like the inputs, standard normal: all that is random comes from it.
        """
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """x' = x + N_σ: independent normal noise, not clipped.

    Args:
        sigma: σ > 0, standard deviation of each input value.

    Source:
        avrutskiy2023, (37). The cost there is E0 at the moved inputs, with the targets of the clean ones.

    Example:
        >>> import torch
        >>> from jetprop.objectives import GaussianNoise
        >>> x = torch.ones(1, 3)
        >>> GaussianNoise(0.1)(torch.nn.Identity(), x, x, noise=torch.tensor([[1.0, 0.0, -2.0]]))
        tensor([[1.1000, 1.0000, 0.8000]])
    """

    sigma: float

    def __post_init__(self) -> None:
        _positive("sigma", self.sigma)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
        """See `Move`; neither model nor targets are asked."""
        return inputs + self.sigma * noise


@dataclass(frozen=True)
class AdversarialAscent:
    """x' = x + δ, ‖δ‖ ≤ r, where a squared error is large: projected gradient ascent.

        δ ← Π(δ + s ∇L/‖∇L‖),   L = ‖N(x + δ) − C‖², or ‖N(x + δ) − N(x)‖²

    Π scales δ back to the ball, and δ starts at its surface, in the direction of the noise. The network is in
    evaluation mode meanwhile. Foolbox's attacks are for classifiers, and are not made to run within a training step.

    Args:
        radius: r > 0, in the 2-norm over all values of an input.
        steps: of the ascent, ≥ 1.
        rate: s > 0, length of a step; by default 2.5 r/steps, which can cross the ball.
        toward: "target": away from C (adversarial training), or "output": away from N(x) (smoothing).

    Source:
        Madry et al., Towards deep learning models resistant to adversarial attacks, 2018 (for classifiers); Zhang et
        al., Theoretically principled trade-off between robustness and accuracy, 2019, for "output". Here the loss is
        that of regression.

    Example:
        >>> import torch
        >>> from jetprop.objectives import AdversarialAscent
        >>> x = torch.tensor([[3.0, 4.0]])
        >>> ascent = AdversarialAscent(radius=1.0, steps=20, rate=1.0)
        >>> ascent(torch.nn.Identity(), x, torch.zeros(1, 2), noise=torch.ones(1, 2))      # straight away from 0
        tensor([[3.6000, 4.8000]])
    """

    radius: float
    steps: int = 10
    rate: float | None = None
    toward: str = "target"

    def __post_init__(self) -> None:
        _positive("radius", self.radius)
        if self.rate is not None:
            _positive("rate", self.rate)
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps is an integer ≥ 1, got {self.steps!r}")
        if self.toward not in ("target", "output"):
            raise ValueError(f'toward is "target" or "output", got {self.toward!r}')

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
        """See `Move`.

        Raises:
            FloatingPointError: the gradient of the loss is not finite.
        """
        rate = 2.5 * self.radius / self.steps if self.rate is None else self.rate
        training = {module: module.training for module in model.modules()}
        model.eval()
        try:
            with torch.no_grad():
                away = targets if self.toward == "target" else model(inputs)
            delta = self.radius * _unit(noise)
            for _ in range(self.steps):
                delta = delta.requires_grad_()
                with torch.enable_grad():
                    loss = (model(inputs + delta) - away).square().sum()
                (gradient,) = torch.autograd.grad(loss, delta)
                delta = delta.detach() + rate * _unit(gradient)
                length = _norm(delta)
                delta = torch.where(length > self.radius, delta * (self.radius / length), delta)
        finally:
            for module, mode in training.items():  # one by one: some may have been frozen
                module.training = mode
        if not bool(delta.sum().isfinite()):
            raise FloatingPointError("the ascent met a gradient that is not finite; lower the rate of the training")
        return inputs + delta


class SmoothingCost(Match):
    """E0 at clean inputs and S, how far the output is from it at moved ones, of one batch that holds both.

        E0 = (1/n²) mean ‖N(x) − C‖²,   S = (1/n²) mean ‖N(x') − N(x)‖²

    Args:
        weight: of S, > 0; the weight of E0 is `value_weight`.
        normalizer: n > 0.
        value_weight: of E0.

    Source:
        Zhang et al., 2019 (TRADES), with the squared error of regression in place of cross-entropy and divergence.

    Example:
        >>> import torch
        >>> from jetprop import Basis, Jet
        >>> from jetprop.objectives import SmoothingCost
        >>> both = Jet.constant(torch.tensor([[1.0], [4.0]]), Basis.full(0, 0))    # N(x) = 1, N(x') = 4
        >>> found = SmoothingCost(weight=0.5, normalizer=1.0)(both, Jet.constant(torch.zeros(2, 1), both.basis))
        >>> float(found.total), found.rows
        (5.5, tensor([1., 9.]))
    """

    def __init__(self, weight: float, normalizer: float, value_weight: float = 1.0) -> None:
        _positive("weight", weight)
        # the difference takes the place of a first derivative along x' − x
        super().__init__(
            Basis.full(1, 1),
            weights={"E0": value_weight, "S": weight},
            normalizers=[normalizer, normalizer],
            groups={"E0": (0,), "S": (1,)},
            empty="zero",
        )
        self._differences, self.basis = self.basis, Basis.full(0, 0)

    def __call__(self, prediction: Jet, target: Jet, mask: Tensor | None = None, labels: Tensor | None = None) -> Terms:
        """Compare one batch: the outputs `[1, 2 batch, …]` at clean, then at moved inputs; the targets twice."""
        if mask is not None:
            raise ValueError("smoothing takes no mask: it compares outputs with one another")
        self._check(prediction, target)
        clean, moved = prediction.value.chunk(2)
        truth = target.value.chunk(2)[0]
        rows = self._squares(
            torch.stack([clean, moved - clean]), torch.stack([truth, torch.zeros_like(truth)]), None, None
        )
        return Terms(torch.dot(rows, self._orders), rows, self._differences, self.groups)

    def label(self, row: int) -> str:
        """What a row holds."""
        return ("value at clean inputs", "difference to moved inputs")[row]


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=tuple(range(1, x.dim())), keepdim=True)


def _unit(x: Tensor) -> Tensor:
    return x / _norm(x).clamp_min(torch.finfo(x.dtype).tiny)


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is a finite number > 0, got {value!r}")

"""The cost (3) of a neural ODE, what the adjoint starts from, and its slope along a line of outputs (B.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Cost", "one_hot"]


@dataclass(frozen=True)
class Cost:
    """E of (3), with means over the K samples of a batch.

        E = (1/K) Σ_k [ μ1/2 ‖x_k(T) − y_k‖² + μ2 H(y_k, soft(x_k(T))) + μ3/2 ‖x_k(T)‖² ] + μ4/2 (‖W‖² + ‖b‖²)

    H(p, q) = −Σ_i p_i log q_i. Norms of W and b are those of L²(0, T): a sum over cells times their length.

    Args:
        mu1, mu2, mu3, mu4: the weights μ ≥ 0.
        classes: softmax and cross-entropy are over the first `classes` components; None takes all, as (3) has it.

    Raises:
        ValueError: a weight is negative or not finite, all are zero, or there are fewer than two classes.

    Source:
        jaroudi2022, (3) and B.1. The paper's settings: ℓ² loss (1, 0, 0, 0), cross-entropy (0, 1, 0.4, 0), with weight
        decay μ4 = 1e-8. B.1 prints the softmax term without its mean over samples, which belongs there.

    Example:
        >>> import torch
        >>> from jetprop.ode import Cost, one_hot
        >>> y = one_hot(torch.tensor([2, 0]), width=5, classes=3)
        >>> Cost(mu2=1.0, classes=3).of_output(torch.zeros(2, 5), y)     # log 3
        tensor(1.0986)
    """

    mu1: float = 0.0
    mu2: float = 0.0
    mu3: float = 0.0
    mu4: float = 0.0
    classes: int | None = 10

    def __post_init__(self) -> None:
        for name in ("mu1", "mu2", "mu3", "mu4"):
            weight = getattr(self, name)
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{name} is a finite number ≥ 0, got {weight!r}")
        if not any((self.mu1, self.mu2, self.mu3, self.mu4)):
            raise ValueError("mu1 to mu4 are all zero, so there is nothing to minimise; give one of them a weight > 0")
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"classes is an integer ≥ 2, or None for all components, got {self.classes!r}")

    def check(self, output: Tensor, target: Tensor) -> None:
        """Refuse targets that the cost does not suit.

        Args:
            output: `[B, …]`, inputs or outputs of the model: they have the same shape.
            target: y, of that shape.

        Raises:
            ValueError: the shapes differ, there are more classes than components, a target is not finite, or, with
                μ2 > 0, is not one-hot in the first `classes` components.
        """
        if target.shape != output.shape:
            raise ValueError(
                f"targets have the full width of the state, {list(output.shape)}, got {list(target.shape)}; make them "
                f"from labels by ode.one_hot(labels, width, classes)"
            )
        width = math.prod(output.shape[1:])
        if self.mu2 and self.classes is not None and self.classes > width:
            raise ValueError(f"there are {self.classes} classes, the state has only {width} components")
        if not bool(target.isfinite().all()):
            raise ValueError("targets hold NaN or infinity; leave those samples out")
        if self.mu2:
            p = self._first(target.flatten(1))
            if not bool((((p == 0) | (p == 1)).all(1) & (p.sum(1) == 1)).all()):
                raise ValueError(
                    f"with mu2 > 0 (cross-entropy) targets are one-hot in the first {p.shape[1]} components: one 1, "
                    f"else 0; make them by ode.one_hot(labels, width, classes), or take mu1 for values"
                )

    def of_output(self, output: Any, target: Tensor) -> Any:
        """The terms of E that depend on x(T), a scalar; jets give its derivatives."""
        x, y = output.flatten(1), target.flatten(1)
        terms = []
        if self.mu1:
            terms.append(0.5 * self.mu1 * ((x - y) * (x - y)).sum(1))
        if self.mu2:
            terms.append(-self.mu2 * (self._first(y) * torch.log_softmax(self._first(x), dim=1)).sum(1))
        if self.mu3:
            terms.append(0.5 * self.mu3 * (x * x).sum(1))
        return sum(terms[1:], terms[0]).mean() if terms else (0 * x).sum()

    def of_parameters(self, parameters: list[Tensor], dt: float) -> Tensor:
        """The term of weight decay, μ4/2 (‖W‖² + ‖b‖²), dt being the length of a cell."""
        return 0.5 * self.mu4 * dt * torch.stack([p.square().sum() for p in parameters]).sum()

    def terminal(self, output: Tensor, target: Tensor) -> Tensor:
        """λ(T) of (8), of the shape of the output: the derivative of each sample's own cost, not of the mean."""
        x, y = output.flatten(1), target.flatten(1)
        found = self.mu1 * (x - y) + self.mu3 * x
        if self.mu2:
            first = self.mu2 * (torch.softmax(self._first(x), dim=1) - self._first(y))
            found = torch.cat([found[:, : first.shape[1]] + first, found[:, first.shape[1] :]], dim=1)
        return found.reshape(output.shape)

    def slope_along(
        self, output: Tensor, xi: Tensor, target: Tensor, decay: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[Callable[[float], tuple[float, float]], bool]:
        """The left side of B.1's equation: the slope of η ↦ E for outputs x(T) + ηξ(T), and its derivative.

        Args:
            output: x(T), `[B, …]`.
            xi: ξ(T), of that shape.
            target: y, of that shape.
            decay: ⟨W, dW⟩ + ⟨b, db⟩ and ‖dW‖² + ‖db‖², in L²(0, T).

        Returns:
            A function of η that gives slope and curvature, computed in float64; the slope never falls. And whether
            it has a root for η > 0, given that it is negative at 0: without the quadratic terms, the slope tends to a
            limit, which is 0 where every sample moves towards its own class most.
        """
        x, z, y = (t.detach().double().flatten(1) for t in (output, xi, target))
        constant = float((self.mu1 * (x - y) * z + self.mu3 * x * z).sum(1).mean()) + self.mu4 * decay[0]
        linear = (self.mu1 + self.mu3) * float(z.square().sum(1).mean()) + self.mu4 * decay[1]
        x, z = self._first(x), self._first(z)
        toward = (self._first(y) * z).sum(1, keepdim=True)

        def slope(eta: float) -> tuple[float, float]:
            if not self.mu2:
                return constant + eta * linear, linear
            p = torch.softmax(x + eta * z, dim=1)
            mean = (p * z).sum(1, keepdim=True)
            spread = (p * (z - mean).square()).sum(1).mean()
            first, second = torch.stack([(p * (z - toward)).sum(1).mean(), spread]).tolist()
            return constant + eta * linear + self.mu2 * first, linear + self.mu2 * second

        if linear > 0:
            return slope, True
        limit = constant + self.mu2 * float((z.amax(1, keepdim=True) - toward).mean())
        return slope, limit > 0

    def _first(self, x: Any) -> Any:
        return x if self.classes is None else x[:, : self.classes]


def one_hot(labels: Tensor, width: int, classes: int | None = 10) -> Tensor:
    """Targets as wide as the state: 1 at the label, 0 elsewhere.

    Args:
        labels: `[B]`, integers from 0 to `classes` − 1.
        width: N, components of the state.
        classes: how many classes there are; None for as many as components.

    Returns:
        `[B, N]`, in the default dtype.

    Raises:
        ValueError: a label is none of the classes, or there are more classes than components.
    """
    count = width if classes is None else classes
    if count > width:
        raise ValueError(f"there are {count} classes, the state has only {width} components")
    if labels.dim() != 1 or labels.is_floating_point():
        raise ValueError(f"labels are integers [batch], got {labels.dtype} {list(labels.shape)}")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise ValueError(f"labels lie in 0 … {count - 1}, got {int(labels.min())} … {int(labels.max())}")
    return torch.nn.functional.one_hot(labels.long(), width).to(torch.get_default_dtype())

"""What penalties on derivatives have in common: the loss of a sample, the two ways of use, what is refused."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Fused", "Objective", "Parts", "Penalty", "SampleLoss", "cross_entropy", "powers"]

SampleLoss = Callable[[Tensor, Tensor], Tensor]
"""Takes predictions `[batch, …]` and targets, returns the loss of each sample, `[batch]`, not averaged."""


class Parts(NamedTuple):
    """What an objective is made of, as means over the batch.

    Args:
        total: the scalar to minimise.
        task: the loss at the inputs as they are; a constant.
        penalty: the penalty without its weight; a constant.
    """

    total: Tensor
    task: Tensor
    penalty: Tensor


def cross_entropy(predictions: Tensor, targets: Tensor) -> Tensor:
    """−ln softmax(z)_l of each sample.

    Args:
        predictions: logits z, `[batch, classes]`.
        targets: labels l, integers `[batch]`; or probabilities `[batch, classes]`.

    Returns:
        `[batch]`.

    Raises:
        ValueError: logits of another shape, or labels outside the classes.

    Example:
        >>> import torch
        >>> from jetprop.objectives import cross_entropy
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor([1.3863, 1.3863])
    """
    if predictions.dim() != 2:
        raise ValueError(
            f"cross_entropy needs logits [batch, classes], the model gave {tuple(predictions.shape)}; flatten its "
            "output, or give a loss of your own"
        )
    if targets.shape == predictions.shape:
        return F.cross_entropy(predictions, targets, reduction="none")
    if targets.shape != predictions.shape[:1] or targets.is_floating_point():
        raise ValueError(
            f"cross_entropy needs integer labels of shape {tuple(predictions.shape[:1])}, or probabilities of shape "
            f"{tuple(predictions.shape)}; got {targets.dtype} of shape {tuple(targets.shape)}"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= predictions.shape[1]:
        raise ValueError(
            f"labels run from {low} to {high}, but the model tells {predictions.shape[1]} classes apart: 0 to "
            f"{predictions.shape[1] - 1}"
        )
    return F.cross_entropy(predictions, targets.long(), reduction="none")


class Objective(ABC):
    """A whole cost: `objective(model, x, y).backward()`."""

    @abstractmethod
    def parts(self, model: nn.Module, x: Tensor, y: Tensor) -> Parts:
        """The cost and what it is made of.

        Args:
            model: any module that the method can differentiate, in the mode in which it is trained.
            x: inputs, `[batch, …]`.
            y: targets, as the loss takes them.
        """

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The scalar to minimise, a mean over the batch."""
        return self.parts(model, x, y).total


class Penalty(ABC):
    """A cost to be added to that of the task: `task + beta * penalty(model, x, y)`, or `penalty.fused(beta)`."""

    @abstractmethod
    def weighted(self, model: nn.Module, x: Tensor, y: Tensor, task: float, weight: float) -> Parts:
        """The sum task · L + weight · penalty, sharing the passes through the model.

        Args:
            model: see `Objective.parts`.
            x: see `Objective.parts`.
            y: see `Objective.parts`.
            task: weight of the loss; 0 leaves it out.
            weight: of the penalty.
        """

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The penalty alone, a mean over the batch, to be multiplied by its weight and added to a loss."""
        return self.weighted(model, x, y, 0.0, 1.0).total

    def fused(self, beta: float) -> Fused:
        """The objective L + β · penalty."""
        return Fused(self, beta)


@dataclass(frozen=True)
class Fused(Objective):
    """Task and penalty together, L + β · penalty, with passes shared.

    Args:
        penalty: which.
        beta: β ≥ 0, its weight.

    Example:
        >>> import torch
        >>> from jetprop.objectives import LossIBP
        >>> model, x, y = torch.nn.Linear(2, 3), torch.ones(4, 2), torch.tensor([0, 1, 2, 0])
        >>> total, task, penalty = LossIBP().fused(beta=0.1).parts(model, x, y)
        >>> bool((total - task - 0.1 * penalty).abs() < 1e-6)
        True
    """

    penalty: Penalty
    beta: float

    def __post_init__(self) -> None:
        check_not_negative("beta", self.beta)

    def parts(self, model: nn.Module, x: Tensor, y: Tensor) -> Parts:
        """See `Objective.parts`."""
        return self.penalty.weighted(model, x, y, 1.0, self.beta)


def powers(z: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """(1/r) ‖z‖_r^r of each sample, `[batch]`, and its derivative by z: sign z (sign 0 = 0) for r = 1, z for r = 2.

    Args:
        z: `[batch, …]`.
        r: 1 or 2.
    """
    if r == 1:
        return z.abs().flatten(1).sum(1), z.sign()
    return 0.5 * z.square().flatten(1).sum(1), z


def loss_of_samples(loss: SampleLoss, predictions: Tensor, targets: Tensor) -> Tensor:
    """The losses `[batch]`.

    Raises:
        ValueError: the loss returned another shape.
    """
    losses = loss(predictions, targets)
    if losses.shape != predictions.shape[:1]:
        raise ValueError(
            f"the loss returned shape {tuple(losses.shape)} for {predictions.shape[0]} samples; it has to be "
            f"[{predictions.shape[0]}], one number a sample, as with reduction='none'"
        )
    return losses


def same_randomness_after(x: Tensor) -> AbstractContextManager:
    """Within it random numbers are drawn that will be drawn once more after it."""
    return torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])


def finite(gradient: Tensor) -> Tensor:
    """The same.

    Raises:
        FloatingPointError: it holds NaN or infinity.
    """
    if not bool(gradient.sum().isfinite()) and not bool(gradient.isfinite().all()):
        raise FloatingPointError(
            "the gradient of the loss with respect to the inputs is not finite; look for infinite inputs or weights, "
            "or lower the learning rate"
        )
    return gradient


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take part in training, by their names."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def deliver(value: Tensor, parameters: list[nn.Parameter], gradients: Sequence[Tensor | None]) -> Tensor:
    """A scalar whose backward pass hands out gradients that are known already.

    Args:
        value: the scalar.
        parameters: P of them.
        gradients: ∂value/∂parameter for each; None for zero.
    """
    return _Delivered.apply(value.detach(), gradients, *parameters)  # type: ignore[return-value]


class _Delivered(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:  # type: ignore[override] # noqa: ANN001
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: Tensor) -> tuple:  # type: ignore[override] # noqa: ANN001
        return None, None, *(None if g is None else scale * g for g in ctx.gradients)


# ---- what is refused ------------------------------------------------------------------------------------------------


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raise unless x and y are a batch, and gradients can be taken.

    Raises:
        TypeError: inputs that are no floating-point tensor.
        ValueError: an empty batch, or another number of targets.
        RuntimeError: autograd is switched off.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"inputs are a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
    if x.dim() < 1 or x.shape[0] == 0:
        raise ValueError(f"the batch of inputs is empty: shape {tuple(x.shape)}, expected [batch, …]")
    if y.shape[:1] != x.shape[:1]:
        raise ValueError(f"{x.shape[0]} inputs came with targets of shape {tuple(y.shape)}: one for each is needed")
    if not torch.is_grad_enabled():
        raise RuntimeError("a penalty on derivatives needs autograd; call it outside torch.no_grad()")


def check_samples_apart(model: nn.Module) -> None:
    """Raise a ValueError if batch normalisation mixes the samples."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                f"{name or 'the model'} ({type(module).__name__}) normalises by the statistics of the batch, so "
                "samples mix and there is no gradient of one sample's loss; put it in evaluation mode (module.eval()), "
                "or take group or layer normalisation"
            )


def check_not_negative(name: str, value: float) -> None:
    """Raise a ValueError unless it is a finite number ≥ 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is a finite number ≥ 0, got {value!r}")


def check_norm(norm: int) -> None:
    """Raise a ValueError unless it is 1 or 2."""
    if norm not in (1, 2):
        raise ValueError(f"norm is 1 or 2, the r of (1/r)‖·‖_r^r, got {norm!r}")

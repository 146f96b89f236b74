"""Networks that tests of penalties share, and a loss that is linear in the predictions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def perceptron(activation: type[nn.Module] = nn.Sigmoid) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), activation(), nn.Linear(7, 6), activation(), nn.Linear(6, 3)).double()


def convolutional(dropout: float = 0.0) -> nn.Sequential:
    """Strides, groups, padding, max and mean pooling, dropout: piecewise linear, 3 classes, of 2 × 8 × 8."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same", dilation=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(4, 6, 2, stride=2, padding=1, groups=2, bias=False),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.Dropout(dropout),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3),
    ).double()


def images(batch: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 2, 8, 8, dtype=torch.float64), torch.arange(batch) % 3


def vectors(batch: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, 5, dtype=torch.float64), torch.arange(batch) % 3


def linear_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """No curvature, so that on a piecewise linear network nothing is left to be held constant."""
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0], [-0.7, 0.2, 0.9]]).to(predictions)
    return (predictions * weights[targets]).sum(1)


def gradients(scalar: Tensor, model: nn.Module) -> list[Tensor]:
    own = list(model.parameters())
    found = torch.autograd.grad(scalar, own, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(own, found, strict=True)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)  # sums of some hundred products in float64

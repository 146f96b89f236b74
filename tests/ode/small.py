"""Small neural ODEs with weights large enough for their nonlinearity to show, and data for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jetprop.ode import StandaloneODE, one_hot

F64 = torch.float64
WIDTH, CLASSES = 6, 3


def model(steps: int = 7, activation: Any = "tanh", width: int = WIDTH, **options: Any) -> StandaloneODE:
    return StandaloneODE(width, time=1.5, steps=steps, activation=activation, std=0.5, dtype=F64, **options)


def batch(count: int = 5, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Inputs, and one-hot targets in the first three components."""
    x = torch.randn(count, width, dtype=F64)
    classes = min(CLASSES, width)
    return x, one_hot(torch.arange(count) % classes, width, classes).double()

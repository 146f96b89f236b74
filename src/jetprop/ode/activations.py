"""The activations of a neural ODE, by name; their derivatives are the engine's towers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets import towers

__all__ = ["Activation", "activation_function", "value_and_slope"]

Activation = Literal["tanh", "relu", "sigmoid", "softplus", "silu", "gelu", "elu", "sin", "identity"]
"""The names of activations; "identity" makes the equation linear in the state."""

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "sin": torch.sin,
    "identity": lambda z: z,
}


def activation_function(name: str) -> Callable[[Any], Any]:
    """The activation of that name, for tensors and jets.

    Raises:
        ValueError: there is none.
    """
    if name not in _FUNCTIONS:
        raise ValueError(f"activation is one of {', '.join(get_args(Activation))}; got {name!r}")
    return _FUNCTIONS[name]


def value_and_slope(name: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """σ(z) and σ'(z), of the shape of z."""
    if name == "identity":
        return z, torch.ones_like(z)
    value, slope = getattr(towers, name)(z, 1)
    return value, slope

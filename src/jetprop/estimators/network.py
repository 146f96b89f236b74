"""The default network: a multilayer perceptron started at the roughness that the labels show."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from jetprop.estimators.labels import Labels
from jetprop.training import MLP

__all__ = ["default_hidden", "start", "wavenumber"]

ALONG_ONE_INPUT = 0.75
"""The part of the first layer's units that begin as functions of few inputs, each its own."""

LOWEST, HIGHEST = 1.0, 4.0
"""Bounds of the wavenumber that the first layer starts with."""


def default_hidden(inputs: int) -> tuple[int, int]:
    """Two layers of 32 to 64 units, wider for more inputs."""
    width = min(64, 24 + 4 * inputs)
    return width, width


def wavenumber(labels: Labels) -> float:
    """How fast the outputs vary, from their slopes in standard units.

        k² = Σ_i ⟨(∂η/∂ξ_i)²⟩

    the mean over outputs; 1 for a linear function of independent inputs, k for a wave of wavenumber k along any
    direction. Partials without labels count as the mean of the others; without any, 1 is returned.
    """
    if 1 not in labels.orders:
        return 1.0
    weights = labels.weights[1]
    squares = (weights * np.where(weights > 0, labels.orders[1], 0.0) ** 2).sum(0)
    total = weights.sum(0)
    if not (total > 0).any():
        return 1.0
    return math.sqrt(float((squares[total > 0] / total[total > 0]).mean()) * labels.orders[1].shape[2])


def start(inputs: int, hidden: tuple[int, ...], outputs: int, activation: str, roughness: float, seed: int) -> MLP:
    """A perceptron for inputs and outputs in standard units.

    Functions that people tabulate are mostly sums of effects of one or few inputs, so three quarters of the units of
    the first layer begin along one input each (inputs take turns; with more inputs than units, each has several). Their
    weights are normal with the deviation of half the wavenumber, 1 to 4, the biases uniform in ±π, so that with a sine
    the layer begins as random Fourier features. All weights are trained. The last layer begins small.

    Args:
        inputs: their number.
        hidden: widths of the hidden layers.
        outputs: their number.
        activation: see `jetprop.training.MLP`.
        roughness: see `wavenumber`.
        seed: of the initial weights.

    Raises:
        ValueError: there is no such activation.
    """
    model = MLP([inputs, *hidden, outputs], activation=activation, init="torch", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    scale = min(max(roughness / 2, LOWEST), HIGHEST)
    gain = 1.7 if activation == "sin" else 1.0 if activation in ("tanh", "sigmoid") else 1.5
    last = len(model.layers) - 1
    with torch.no_grad():
        for place, layer in enumerate(model.layers):
            assert isinstance(layer, nn.Linear)
            size = scale if place == 0 else gain
            weight = torch.randn(layer.weight.shape, generator=generator) * size / layer.in_features**0.5
            reach = math.pi if place == 0 else 1.0
            bias = (torch.rand(layer.bias.shape, generator=generator) * 2 - 1) * reach
            if place == last:
                weight, bias = 0.3 * weight / gain, torch.zeros_like(bias)
            elif place == 0:
                _along_few(weight, scale, generator)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return model


def _along_few(weight: Tensor, scale: float, generator: torch.Generator) -> None:
    """Make the first units functions of every (units)th input only."""
    units = round(ALONG_ONE_INPUT * weight.shape[0])
    inputs = weight.shape[1]
    seen = math.ceil(inputs / units) if units else 0
    for unit in range(units):
        which = [(unit + k * units) % inputs for k in range(seen)]
        weight[unit] = 0
        weight[unit, which] = torch.randn(seen, generator=generator) * scale / seen**0.5

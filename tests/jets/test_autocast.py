"""Autocast: the value row is what the model gives for the value, in the same dtype; derivatives follow."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from jetprop.jets import Jet
from jets.rule_cases import drawn
from jets.tolerances import BFLOAT16


class MatrixProducts(nn.Module):
    """Products of jets, and of jets and parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(4, 4).float())

    def forward(self, x: Any) -> Any:
        y = x @ self.weight
        return y @ y.transpose(-1, -2) + torch.addmm(x[:, :3], x, x.T) + (x * x).sum()


class SumsAndProducts(nn.Module):
    """Reductions, some of which autocast keeps in single precision."""

    def forward(self, x: Any) -> Any:
        y = x @ torch.ones(4, 4)
        return y.prod(-1) * y.sum(-1) + y.cumsum(0)[:, 0] + torch.logsumexp(y, 1) + (y.abs() + 0.5).pow(0.5).mean(1)


MODELS: dict[str, tuple] = {
    "perceptron": ((3, 4), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 2)),
    "activations": ((3, 4), nn.SiLU(), nn.Linear(4, 4), nn.Softplus(), nn.Mish(), nn.Sigmoid()),
    "softmax": ((3, 4), nn.Linear(4, 4), nn.Softmax(-1)),
    "log-softmax": ((3, 4), nn.Linear(4, 4), nn.LogSoftmax(-1)),
    "convolution": ((2, 1, 4, 4), nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Conv2d(3, 1, 2), nn.AvgPool2d(2)),
    "transposed convolution": ((2, 2, 3), nn.ConvTranspose1d(2, 2, 2), nn.MaxPool1d(2)),
    "batch norm": ((6, 4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh()),
    "batch norm, evaluation": ((3, 1, 4), nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2).eval()),
    "batch norm first": ((6, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)),
    "in place": ((3, 1, 4), nn.Conv1d(1, 2, 2), nn.ReLU(inplace=True), nn.Linear(3, 2), nn.ReLU(inplace=True)),
    "matrix products": ((3, 4), MatrixProducts()),
    "sums and products": ((3, 4), SumsAndProducts()),
}


@pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")
@pytest.mark.parametrize("name", MODELS)
def test_dtype_and_value_are_the_models_own(name: str) -> None:
    shape, *layers = MODELS[name]
    model = nn.Sequential(*copy.deepcopy(layers))
    x, v = drawn(*shape).float(), drawn(1, *shape, low=-0.5, high=0.5, seed=1).float()
    full = model(Jet.seed(x, v, order=2))
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(x)
        carried = model(Jet.seed(x, v, order=2))
    assert carried.dtype == plain.dtype
    BFLOAT16.check(carried.value, plain)
    scale = full.rows.abs().flatten(1).amax(1).clamp_min(1).view(-1, *[1] * full.dim())
    assert ((carried.rows - full.rows).abs() / scale).max() < 8 * BFLOAT16.absolute, "derivatives, a few layers deep"


def test_gradients_have_the_dtype_of_the_parameters() -> None:
    shape, *layers = MODELS["perceptron"]
    model = nn.Sequential(*copy.deepcopy(layers))
    with torch.autocast("cpu", torch.bfloat16):
        rows = model(Jet.seed(drawn(*shape).float(), order=2)).rows
    rows.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_models_in_half_precision() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)).bfloat16()
    x = drawn(5, 4).bfloat16()
    found = model(Jet.seed(x))
    assert found.dtype == torch.bfloat16
    BFLOAT16.check(found.value, model(x))

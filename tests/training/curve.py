"""A small manifold and small networks for the tests of training, importable by recipes and by other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jetprop import Basis, Jet
from jetprop.manifolds import r_sequence
from jetprop.training import Recipe

FEATURES, OUTPUTS = 6, 2


@dataclass(frozen=True)
class Curve:
    """Six smooth functions of two parameters, from which two others are to be found."""

    frequency: float = 1.0
    broken: str = ""

    @property
    def dimension(self) -> int:
        return 2

    def sample(
        self,
        n: int,
        start: int = 0,
        order: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: Any = None,
        basis: Basis | None = None,
        directions: Tensor | None = None,
    ) -> tuple[Jet, Jet]:
        t = 2 * r_sequence(n, 2, start) - 1
        if basis is None:
            order = 2 if order is None else order
            basis = Basis.full(2, order) if directions is None else Basis.directional(directions.shape[-2], order)
        if basis.order == 0:
            ab = Jet.constant(t, basis)
        elif directions is None:
            ab = Jet.seed(t, basis=basis)
        else:
            v = directions.to(t)
            ab = Jet.seed(t, v if v.dim() == 2 else v.transpose(0, 1), basis=basis)
        a, b = ab[:, :1] * self.frequency, ab[:, 1:]
        features: Any = [a.sin(), b.cos(), a * b, a.exp() / 2, (a - b).sin(), b * b]
        outputs: Any = [a + b * b, b]
        inputs: Any = torch.cat(features, -1)
        targets: Any = torch.cat(outputs, -1)
        if self.broken == "basis":
            targets = targets.truncated(0)
        if self.broken == "count":
            targets = targets[:0]
        return tuple(Jet(jet.rows.to(dtype=dtype, device=device), jet.basis) for jet in (inputs, targets))  # type: ignore[return-value]


class Noisy(nn.Module):
    """A network with dropout and batch normalisation: its training draws random numbers and keeps buffers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(width, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop(torch.tanh(self.norm(self.first(x)))))


def no_module() -> int:
    return 3


def recipe(**sections: dict[str, Any]) -> Recipe:
    """A training of a second or less; sections are merged into it, None drops a key."""
    values: dict[str, Any] = {
        "model": {"widths": [FEATURES, 8, OUTPUTS], "activation": "tanh", "init": "torch"},
        "data": {
            "manifold": "training.curve:Curve",
            "images": 40,
            "order": 2,
            "test_images": 20,
            "test_start": 40,
        },
        "training": {
            "batch": 8,
            "steps": 20,
            "precision": "64-true",
            "accelerator": "cpu",
            "checkpoint_seconds": 0,
            "log_every": 5,
            "compile": "never",
        },
    }
    for name, changes in sections.items():
        values[name] = {k: v for k, v in {**values.get(name, {}), **changes}.items() if v is not None}
    return Recipe.build({k: v for k, v in values.items() if v})

"""Which derivatives are compared, with which weights, at which time of a training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetprop.jets import Jet
from jetprop.objectives import Match
from jetprop.training.config import ObjectiveConfig
from jetprop.training.data import Source

__all__ = ["PhasePlan", "Step", "plan_phases"]


@dataclass(frozen=True, eq=False)
class PhasePlan:
    """A stretch of the training with one set of weights.

    Args:
        start: the progress from which it holds.
        order: the highest order with a weight > 0; rows above it are neither fetched nor computed.
        compare: the cost over the rows up to that order.
    """

    start: float
    order: int
    compare: Match


def plan_phases(objective: ObjectiveConfig, source: Source, normalizers: Tensor) -> list[PhasePlan]:
    """The phases of a recipe, in ascending order, the first from 0.

    Args:
        objective: `[objective]`.
        source: where batches come from.
        normalizers: n, `[R]`, of the rows of `source.basis`.
    """
    top = source.basis.order
    stretches = [(0.0, objective.weights or [1.0] * (top + 1))]
    stretches += [(phase.from_, phase.weights) for phase in objective.phases]
    if objective.phases and objective.phases[0].from_ == 0:
        del stretches[0]
    plans = []
    for start, weights in stretches:
        if len(weights) != top + 1:
            raise ValueError(f"the data carries orders 0 to {top}, the phase from {start} has {len(weights)} weights")
        order = max(k for k, weight in enumerate(weights) if weight > 0)
        basis = source.basis_of(order)
        if source.directions is None:
            n = normalizers[: len(basis)]
        else:
            n = source.directions.normalizers(float(normalizers[0]), order)
        plans.append(PhasePlan(start, order, Match(basis, weights=weights[: order + 1], normalizers=n, empty="zero")))
    return plans


class Step(nn.Module):
    """Model and cost as one module of plain tensors, which is what processes share and what is compiled.

    Args:
        model: takes jets; for order 0 it is handed plain tensors.
        compare: the present cost; assign another when the phase changes.
        autocast: the dtype of mixed precision, in the model only: the cost is computed in the dtype of the targets.
    """

    def __init__(self, model: nn.Module, compare: Match, autocast: torch.dtype | None = None) -> None:
        super().__init__()
        self.model, self.compare, self.autocast = model, compare, autocast

    def forward(
        self, inputs: Tensor, targets: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The cost, and what each row adds to its term (without a graph)."""
        basis = self.compare.basis
        x = inputs[0] if basis.order == 0 else Jet._of(inputs, basis)
        if self.autocast is None:
            y = self.model(x)
        else:
            with torch.autocast(inputs.device.type, self.autocast):
                y = self.model(x)
        prediction = Jet._of(y.unsqueeze(0), basis) if basis.order == 0 else y
        found = self.compare(prediction, Jet._of(targets, basis), mask, labels)
        return found.total, found.rows.detach()

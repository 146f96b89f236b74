"""Which derivatives are compared, with which weights, at which time of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetprop.jets import Jet
from jetprop.objectives import Match
from jetprop.training.augmentation import Moved, move_of, smoothing_cost
from jetprop.training.data import Source
from jetprop.training.objective_config import AugmentationConfig, ObjectiveConfig
from jetprop.training.robust import RobustSetup

__all__ = ["PhasePlan", "Step", "plan_phases"]


@dataclass(frozen=True, eq=False)
class PhasePlan:
    """A stretch of the training with one set of weights.

    Args:
        start: the progress from which it holds.
        order: the highest order with a weight > 0; rows above it are neither fetched nor computed.
        compare: the cost over the rows up to that order.
        source: where batches come from in this phase; None for the source of the run.
    """

    start: float
    order: int
    compare: Match
    source: Source | None = None


def plan_phases(
    objective: ObjectiveConfig,
    source: Source,
    normalizers: Tensor,
    robust: RobustSetup | None = None,
    augmentation: AugmentationConfig | None = None,
    model: nn.Module | None = None,
) -> list[PhasePlan]:
    """The phases of a recipe, in ascending order, the first from 0.

    Args:
        objective: `[objective]`.
        source: where batches come from.
        normalizers: n, `[R]`, of the rows of `source.basis`.
        robust: directions and scales, if the objective has robust terms.
        augmentation: `[augmentation]`; it needs the model.
        model: the network that is trained.

    Raises:
        ValueError: weights and data do not fit, or directions or the model are needed and not given.
    """
    top = source.basis.order
    stretches = [(0.0, objective.weights or [1.0] * (top + 1), objective.robust_of(None))]
    stretches += [(phase.from_, phase.weights, objective.robust_of(phase)) for phase in objective.phases]
    if objective.phases and objective.phases[0].from_ == 0:
        del stretches[0]
    plans = []
    for start, weights, terms in stretches:
        if len(weights) != top + 1:
            raise ValueError(f"the data carries orders 0 to {top}, the phase from {start} has {len(weights)} weights")
        order = max((k for k, weight in enumerate(weights) if weight > 0), default=0)
        basis = source.basis_of(order)
        if source.directions is None:
            n = normalizers[: len(basis)]
        else:
            n = source.directions.normalizers(float(normalizers[0]), order)
        if terms:
            if robust is None:
                raise ValueError(f"the terms {', '.join(terms)} need directions; give robust=RobustSetup(…)")
            plans.append(_robust_phase(start, order, weights, terms, n, source, robust, objective.robust_orders(terms)))
            continue
        compare = Match(basis, weights=weights[: order + 1], normalizers=n, empty="zero")
        moved = None
        if augmentation is not None:
            if model is None:
                raise ValueError(f'augmentation of kind "{augmentation.kind}" needs the model; give it')
            smooth = augmentation.kind == "smoothing"
            moved = Moved(source, move_of(augmentation), model, keep=smooth)
            if smooth:
                compare = smoothing_cost(augmentation, float(n[0]), weights[0])
        plans.append(PhasePlan(start, order, compare, moved))
    return plans


def _robust_phase(
    start: float,
    order: int,
    weights: Sequence[float],
    terms: Mapping[str, float],
    n: Tensor,
    source: Source,
    robust: RobustSetup,
    orders: Mapping[str, int],
) -> PhasePlan:
    """A phase with rows along image directions beside those up to `order`."""
    directed = robust.directed(source, orders)
    rows = directed.rows(order)
    outputs = next(iter(robust.scales.values())).shape if robust.scales else ()
    scale = torch.ones(len(rows.basis), *outputs, dtype=torch.float64)
    by_name = dict(terms)
    for name, held in rows.groups.items():
        if name in robust.scales:
            scale[list(held)] = robust.scales[name].to(scale)
        elif name[0] == "E":
            own = n[list(source.basis.rows_of_order(int(name[1:])))]
            scale[list(held)] = own.reshape(-1, *[1] * len(outputs)).expand(-1, *outputs).to(scale)
            by_name[name] = weights[int(name[1:])]
    compare = Match(rows.basis, weights=by_name, normalizers=scale, groups=rows.groups, empty="zero")
    return PhasePlan(start, order, compare, directed)


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

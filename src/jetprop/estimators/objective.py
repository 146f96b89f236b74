"""The cost of a table of labels: which rows to carry for which points, and what each label weighs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetprop.estimators.labels import Labels
from jetprop.jets import Basis, Jet

__all__ = ["Group", "Objective"]

Array = NDArray[np.float64]

FLOOR = 0.1
"""Partials smaller than this fraction of the mean of their order are weighed as if they were of that size."""


@dataclass(frozen=True, eq=False)
class Group:
    """Points at which derivatives of the same orders are known.

    Args:
        inputs: rows `[R, m, inputs]`; only derivatives of which some label is known are carried.
        targets: `[R, m, outputs]`, 0 where there is no label.
        weights: `[R, m, outputs]`, 0 where there is no label.
    """

    inputs: Jet
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return self.targets.shape[1]

    def take(self, points: Tensor | slice) -> Group:
        """Some of the points, weighing as much as all of them."""
        rows = self.inputs.rows[:, points].contiguous()
        targets = self.targets[:, points]
        weights = self.weights[:, points] * (len(self) / targets.shape[1])
        return Group(Jet(rows, self.inputs.basis), targets, weights)

    def cost(self, model: nn.Module) -> Tensor:
        """Σ weights (prediction − target)²."""
        rows = model(self.inputs if len(self.inputs.basis) > 1 else self.inputs.value)
        difference = (rows.rows if isinstance(rows, Jet) else rows[None]) - self.targets
        return torch.dot((self.weights * difference).flatten(), difference.flatten())


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimised: a sum over orders of derivatives.

        E = Σ_k c_k mean_r mean_p (λ_r (prediction_rp − label_rp))²,   λ_r = 1/rms_p(label_rp)

    r over the values or partials of order k (each with its output) of which labels are known, p over the points with
    a label, as averages with the weights of the labels. The value of an output is already in units of its deviation,
    so its λ is 1.

    Args:
        groups: points by the orders that are known of them, each in random order.
    """

    groups: tuple[Group, ...]

    @classmethod
    def of(
        cls,
        inputs: Array,
        labels: Labels,
        order_weights: tuple[float, ...],
        generator: np.random.RandomState,
        dtype: torch.dtype,
    ) -> Objective:
        """Prepare the cost of standardised data.

        Args:
            inputs: `[n, inputs]`.
            labels: of the same points.
            order_weights: c_0, c_1, c_2.
            generator: shuffles the points.
            dtype: of all tensors.
        """
        weights = {k: order_weights[k] * _balanced(k, v, labels.weights[k]) for k, v in labels.orders.items()}
        known = {k: (w > 0).reshape(len(w), -1).any(1) for k, w in weights.items()}
        highest = np.max([k * there for k, there in known.items()], axis=0)
        groups = []
        for order in sorted({int(k) for k in highest}):
            points = np.flatnonzero((highest == order) & np.logical_or.reduce(list(known.values())))
            if len(points):
                generator.shuffle(points)
                groups.append(
                    _group(
                        inputs[points],
                        {k: (labels.orders[k][points], w[points]) for k, w in weights.items()},
                        order,
                        dtype,
                    )
                )
        return cls(tuple(groups))

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    @property
    def rows(self) -> int:
        """Rows times points."""
        return sum(group.targets.shape[0] * len(group) for group in self.groups)

    def cost(self, model: nn.Module) -> Tensor:
        """E, a scalar."""
        return torch.stack([group.cost(model) for group in self.groups]).sum()

    def part(self, fraction: float) -> Objective:
        """The cost of a fraction of each group, at least one point, scaled up to the whole."""
        return replace(self, groups=tuple(g.take(slice(0, max(1, round(fraction * len(g))))) for g in self.groups))

    def batches(self, count: int, generator: torch.Generator) -> Iterator[Objective]:
        """All points in random order, in `count` parts that each estimate the whole."""
        orders = [torch.randperm(len(g), generator=generator).chunk(min(count, len(g))) for g in self.groups]
        for k in range(count):
            yield Objective(tuple(g.take(o[k % len(o)]) for g, o in zip(self.groups, orders, strict=True)))


def _balanced(order: int, labels: Array, weights: Array) -> Array:
    """What each label weighs: λ², divided by the total weight of its partial and by the number of partials."""
    size = np.where(weights > 0, labels, 0.0) ** 2
    total = weights.sum(0)
    square = (weights * size).sum(0) / np.where(total > 0, total, 1.0)
    there = total > 0
    if not there.any():
        return np.zeros_like(weights)
    if order == 0:
        square = np.ones_like(square)
    else:
        outputs = tuple(range(1, square.ndim))
        mean = np.where(there, square, 0.0).sum(outputs, keepdims=True) / np.maximum(
            there.sum(outputs, keepdims=True), 1
        )
        square = np.maximum(square, FLOOR**2 * mean)
        square = np.where(square > 0, square, 1.0)
    if order == 2:  # a mixed derivative stands twice in the array and is one row
        upper = np.triu(np.ones(square.shape[-2:]))
        there, weights = there & (upper > 0), weights * upper
    return weights / (square * np.where(total > 0, total, 1.0) * there.sum())


def _group(inputs: Array, labels: dict[int, tuple[Array, Array]], order: int, dtype: torch.dtype) -> Group:
    wanted: set[tuple[int, ...]] = set()
    for k in range(1, order + 1):
        if k in labels:
            some = (labels[k][1] > 0).any((0, 1))
            wanted |= {tuple(int(i) for i in index) for index in np.argwhere(some)}
    wanted |= {(i,) for index in wanted for i in index}
    used = sorted({i for index in wanted for i in index})
    number = {i: place for place, i in enumerate(used)}
    basis = Basis([(), *(tuple(number[i] for i in index) for index in wanted)])
    targets = np.zeros((len(basis), len(inputs), labels[0][0].shape[1]))
    weights = np.zeros_like(targets)
    for row, label in enumerate(basis.labels):
        assert isinstance(label, tuple)
        if len(label) in labels:
            place = (slice(None), slice(None), *(used[i] for i in label))
            values, weighs = labels[len(label)]
            weights[row] = weighs[place]
            targets[row] = np.where(weights[row] > 0, values[place], 0.0)
    x = torch.as_tensor(inputs, dtype=dtype)
    if not used:
        seed = Jet.constant(x, Basis.full(0, 0))
    else:
        seed = Jet.seed(x, torch.eye(inputs.shape[1], dtype=dtype)[used], basis=basis)
    return Group(seed, torch.as_tensor(targets, dtype=dtype), torch.as_tensor(weights, dtype=dtype))

"""Jet matching: the cost functions E0, E1, E2, … as one weighted comparison of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet

__all__ = ["Groups", "Match", "Terms", "Weights", "match"]

Weights = float | Sequence[float] | Mapping[int, float]
"""Weights of the orders: one for all, one for each order from 0 on, or by order (those not named weigh nothing)."""

Groups = Mapping[str, tuple[int, ...]]
"""The terms of a cost: name to rows, each row in one of them."""


@dataclass(frozen=True, eq=False)
class Terms:
    """What a comparison of jets found.

    Args:
        total: the scalar to minimise, Σ_k weight_k E_k.
        rows: what every row adds to its E_k, `[R]`; normalised, not weighted by order.
        basis: the derivative that each row holds.
        groups: the rows of each term; by default those of each order, E0, E1, ….
    """

    total: Tensor
    rows: Tensor
    basis: Basis
    groups: Groups | None = None

    @property
    def terms(self) -> dict[str, Tensor]:
        """E0, E1, E2, …, each the sum of its rows, without its weight; differentiable."""
        groups = orders_of(self.basis) if self.groups is None else self.groups
        return {name: torch.stack([self.rows[row] for row in rows]).sum() for name, rows in groups.items()}


class Match:
    """Weighted jet matching, prepared once for many batches; called, it does what `match` does.

    Args:
        basis: the derivatives to compare; jets of another basis are refused.
        weights: of the orders, see `match`.
        row_weights: `[R]`, see `match`.
        output_weights: like the value without its batch axis, see `match`.
        normalizers: `[R]`, see `match`; or `[R, …]`, for each row and output.
        groups: terms of your own instead of E0, E1, …: name to rows, each row in one of them. Weights are then by name
            (those not named weigh nothing).
        empty: what to do where a mask hides every label of an order in a batch: "raise", or let its term be "zero"
            (without a look at the mask, which on a GPU costs time).

    Raises:
        ValueError: a weight is negative or not finite, a normalizer is not positive, a length does not fit the basis,
            or nothing at all is weighed.

    Example:
        >>> import torch
        >>> from jetprop import Basis, Jet
        >>> from jetprop.objectives import Match
        >>> compare = Match(Basis.full(2, 1), weights=(1.0, 0.5))
        >>> y = Jet.seed(torch.ones(4, 2))
        >>> compare(y, Jet.constant(torch.zeros(4, 2), y.basis)).total       # 1² + 1², and half of 1² + 1²
        tensor(3.)
    """

    def __init__(
        self,
        basis: Basis,
        *,
        weights: Weights | Mapping[str, float] = 1.0,
        row_weights: Tensor | Sequence[float] | None = None,
        output_weights: Tensor | Sequence[float] | None = None,
        normalizers: Tensor | Sequence[float] | None = None,
        groups: Groups | None = None,
        empty: Literal["raise", "zero"] = "raise",
    ) -> None:
        if empty not in ("raise", "zero"):
            raise ValueError(f'empty is "raise" or "zero", got {empty!r}')
        self.basis, self._raise_if_empty = basis, empty == "raise"
        if groups is None:
            self.groups: Groups = orders_of(basis)
            by_name = {f"E{k}": w for k, w in enumerate(_weights_of_orders(weights, basis.order))}  # type: ignore[arg-type]
        else:
            self.groups = _partition(groups, basis)
            by_name = _weights_of_groups(weights, self.groups)
        scale = torch.ones(len(basis), dtype=torch.float64)
        if normalizers is not None:
            factors = _rows_of_numbers("normalizers", normalizers, len(basis))
            if not bool((factors > 0).all()):
                row, *output = (factors <= 0).nonzero()[0].tolist()
                raise ValueError(
                    f"normalizers must be positive, that of row {row} (derivative {basis[row]}) is "
                    f"{float(factors[(row, *output)])}; objectives.normalizers gives 1 to rows that carry nothing"
                )
            scale = scale.reshape(-1, *[1] * (factors.dim() - 1)) / factors**2
        if row_weights is not None:
            own = _not_negative("row_weights", _vector("row_weights", row_weights, len(basis)))
            scale = scale * own.reshape(-1, *[1] * (scale.dim() - 1))
        orders = torch.zeros(len(basis), dtype=torch.float64)
        for name, rows in self.groups.items():
            orders[list(rows)] = by_name.get(name, 0.0)
        if not bool((orders.reshape(-1, *[1] * (scale.dim() - 1)) * scale).any()):
            raise ValueError("every weight is zero, so nothing would be trained; give at least one order a weight > 0")
        outputs = None
        if output_weights is not None:
            outputs = _not_negative("output_weights", torch.as_tensor(output_weights, dtype=torch.float64))
        self._exact = (scale, orders, outputs)
        self._scale, self._orders, self._outputs = self._exact

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Match:
        """The same, its constants on a device and of a dtype (done by itself at the first call otherwise)."""
        scale, orders, outputs = self._exact
        self._scale, self._orders = scale.to(device, dtype), orders.to(device, dtype)
        self._outputs = None if outputs is None else outputs.to(device, dtype)
        return self

    def __call__(self, prediction: Jet, target: Jet, mask: Tensor | None = None, labels: Tensor | None = None) -> Terms:
        """Compare one batch, see `match`.

        Args:
            prediction: see `match`.
            target: see `match`.
            mask: see `match`.
            labels: `[R, …]`, by how many labels the sums over the masked batch are divided; by default those in it. A
                part of a batch gets the number in the whole batch divided by the number of parts.
        """
        self._check(prediction, target)
        rows = self._squares(prediction.rows, target.rows, mask, labels)
        return Terms(torch.dot(rows, self._orders), rows, self.basis, self.groups)

    def total(self, rows: Tensor) -> Tensor:
        """Σ_k weight_k E_k of (averages of) `Terms.rows`."""
        return torch.dot(rows, self._orders.to(rows))

    def named(self, rows: Tensor) -> dict[str, float]:
        """Every term by its name, of (averages of) `Terms.rows`, without its weight."""
        return {name: float(rows[list(held)].sum()) for name, held in self.groups.items()}

    def name(self, row: int) -> str:
        """The term that a row belongs to."""
        return next(name for name, held in self.groups.items() if row in held)

    def label(self, row: int) -> str:
        """What a row holds."""
        return f"derivative {self.basis[row]}"

    def _squares(self, prediction: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None) -> Tensor:
        """Batch means of the squared differences, normalised and summed over the outputs, `[R]`."""
        difference = prediction - target
        if self._scale.device != difference.device or self._scale.dtype != difference.dtype:
            self.to(difference.device, difference.dtype)
        for_outputs = self._scale.dim() > 1
        if for_outputs and self._scale.shape[1:] != prediction.shape[2:]:
            raise ValueError(
                f"normalizers are for outputs of shape {tuple(self._scale.shape[1:])}, but one sample's output has "
                f"{tuple(prediction.shape[2:])}; give one for each row and output"
            )
        if mask is None:
            squares = difference * difference
            if self._outputs is not None:
                squares = squares * self._output_weights(squares)
            if for_outputs:
                squares = squares * self._scale.unsqueeze(1)
            rows = squares.flatten(1).sum(1) / prediction.shape[1]
            return rows if for_outputs else rows * self._scale
        there = self._mask(mask, difference)
        difference = torch.where(there, difference, 0.0)
        counted = there.sum(1).clamp_min(1) if labels is None else torch.where(labels > 0, labels, 1)
        mean = (difference * difference).sum(1) / counted
        if self._outputs is not None:
            mean = mean * self._output_weights(difference)
        if for_outputs:
            mean = mean * self._scale
        rows = mean.flatten(1).sum(1) if mean.dim() > 1 else mean
        return rows if for_outputs else rows * self._scale

    def _output_weights(self, rows: Tensor) -> Tensor:
        assert self._outputs is not None
        if self._outputs.shape != rows.shape[2:]:
            raise ValueError(
                f"output_weights have shape {tuple(self._outputs.shape)}, but one sample's output has "
                f"{tuple(rows.shape[2:])}; give one weight for each output"
            )
        return self._outputs.to(rows.device, rows.dtype)

    def _mask(self, mask: Tensor, rows: Tensor) -> Tensor:
        if mask.dtype != torch.bool:
            raise TypeError(
                f"mask is a bool tensor (True: the label is there), got {mask.dtype}; write e.g. labels.isfinite()"
            )
        try:
            there = mask.expand(rows.shape)
        except RuntimeError as error:
            raise ValueError(
                f"a mask of shape {tuple(mask.shape)} does not broadcast to rows [R, batch, outputs] of shape "
                f"{tuple(rows.shape)}"
            ) from error
        if self._raise_if_empty and not torch.compiler.is_compiling():
            for order in range(self.basis.order + 1):
                found = self.basis.rows_of_order(order)
                if found and not bool(there[found[0] : found[-1] + 1].any()):
                    lower = f"truncate both jets (jet.truncated({order - 1})), " if order else ""
                    raise ValueError(
                        f"the mask hides every label of order {order} in this batch, so E{order} means nothing; {lower}"
                        f'draw batches that hold some, or take Match(…, empty="zero")'
                    )
        return there

    def _check(self, prediction: Jet, target: Jet) -> None:
        for name, jet in (("prediction", prediction), ("target", target)):
            if not isinstance(jet, Jet):
                raise TypeError(
                    f"match compares jets; the {name} is {type(jet).__name__} (wrap values with Jet.constant)"
                )
            if jet.basis is not self.basis and jet.basis != self.basis:
                raise ValueError(
                    f"the {name}'s basis is {jet.basis!r}, expected {self.basis!r}; give both jets the same rows, e.g. "
                    "by jet.truncated(order)"
                )
        if prediction.rows.shape != target.rows.shape:
            raise ValueError(
                f"the prediction's rows have shape {tuple(prediction.rows.shape)}, the target's "
                f"{tuple(target.rows.shape)}; both are [R, batch, outputs]: check the model's last layer, and that "
                "inputs and targets are of one batch"
            )
        if prediction.rows.device != target.rows.device:
            raise ValueError(f"the prediction lies on {prediction.rows.device}, the target on {target.rows.device}")


def match(
    prediction: Jet,
    target: Jet,
    *,
    weights: Weights = 1.0,
    row_weights: Tensor | Sequence[float] | None = None,
    output_weights: Tensor | Sequence[float] | None = None,
    normalizers: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
) -> Terms:
    """How far a network's jet is from the target's, order by order.

        total = Σ_k weight_k E_k,   E_k = mean_b Σ_r w_r / n_r² Σ_a u_a (N_rba − C_rba)²

    where r runs over the rows of order k, b over the batch and a over the outputs: for a full basis E0, E1, E2 are
    those of avrutskiy2023. Differentiable any number of times in both jets.

    With a mask, each mean over the batch counts only the labels that are there: mean_b becomes
    Σ_b m_rba (…) / Σ_b m_rba for every row and output by itself, so labels missing at random change neither the
    expectation of E_k nor the balance of its rows. A row and output without any label in the batch adds nothing. What
    stands in masked places, NaN included, has no influence on the total, the terms or any gradient.

    Args:
        prediction: rows `[R, batch, outputs]` (any value shape with the batch first).
        target: the same shape and basis.
        weights: of the orders: a number for all, a sequence for orders 0, 1, 2, …, or a mapping from order to weight,
            ≥ 0. Applied in the total only. A weight > 0 for an order that the jets do not carry is refused.
        row_weights: w_r ≥ 0, `[R]`, part of the terms; default 1.
        output_weights: u_a ≥ 0, of the shape of one sample's output, part of the terms; default 1.
        normalizers: n_r > 0, `[R]`, see `normalizers`; default 1.
        mask: bool, broadcastable to the rows; True where there is a label.

    Returns:
        The total and what each row adds to its term; `.terms` sums them up as E0, E1, ….

    Raises:
        TypeError: an argument is no jet, or the mask is not bool.
        ValueError: bases, shapes or devices differ, a weight is negative or all are zero, a normalizer is not positive,
            or the mask hides all labels of an order.

    Source:
        avrutskiy2023, (2), section 3.2 and section 4.2; means over a batch instead of sums over the training set.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.objectives import match
        >>> x = Jet.seed(torch.tensor([[1.0], [2.0]]), order=2)
        >>> found = match(3 * x, x**2, weights=(1, 1, 0.1))
        >>> {name: float(term) for name, term in found.terms.items()}
        {'E0': 4.0, 'E1': 1.0, 'E2': 4.0}
        >>> float(found.total)
        5.4
    """
    if not isinstance(target, Jet):
        raise TypeError(f"match compares jets; the target is {type(target).__name__} (wrap values with Jet.constant)")
    compare = Match(
        target.basis, weights=weights, row_weights=row_weights, output_weights=output_weights, normalizers=normalizers
    )
    return compare(prediction, target, mask)


def orders_of(basis: Basis) -> dict[str, tuple[int, ...]]:
    """The terms E0, E1, …: the rows of each order that a basis carries."""
    return {f"E{k}": rows for k in range(basis.order + 1) if (rows := basis.rows_of_order(k))}


def _partition(groups: Groups, basis: Basis) -> dict[str, tuple[int, ...]]:
    held = sorted(row for rows in groups.values() for row in rows)
    if held != list(range(len(basis))):
        raise ValueError(
            f"groups hold the rows {held}; each of the {len(basis)} rows of {basis!r} belongs to one of them"
        )
    return {name: tuple(rows) for name, rows in groups.items() if rows}


def _weights_of_groups(weights: Weights | Mapping[str, float], groups: Groups) -> dict[str, float]:
    if not isinstance(weights, Mapping):
        if isinstance(weights, Sequence):
            raise ValueError(f"weights of groups are by name, {{name: weight}}, or one number for all; got {weights}")
        weights = dict.fromkeys(groups, weights)
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of {name} is {weight}; weights are finite numbers ≥ 0")
        if weight > 0 and name not in groups:
            raise ValueError(f"{name!r} has weight {weight}, but the terms are {', '.join(groups)}")
    return {str(name): float(weight) for name, weight in weights.items()}


def _weights_of_orders(weights: Weights, order: int) -> tuple[float, ...]:
    if isinstance(weights, Mapping):
        given = {int(k): float(w) for k, w in weights.items()}
    elif isinstance(weights, Sequence):
        if len(weights) <= order:
            raise ValueError(
                f"weights {tuple(weights)} are for orders 0 to {len(weights) - 1}, the jets carry order {order}; give "
                f"{order + 1} weights, 0 for orders that should not count"
            )
        given = dict(enumerate(map(float, weights)))
    else:
        given = dict.fromkeys(range(order + 1), float(weights))
    for k, weight in given.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of order {k} is {weight}; weights are finite numbers ≥ 0")
        if weight > 0 and not 0 <= k <= order:
            raise ValueError(
                f"order {k} has weight {weight}, but the jets carry orders 0 to {order} only; drop the weight, or "
                "carry more derivatives"
            )
    return tuple(given.get(k, 0.0) for k in range(order + 1))


def _vector(name: str, values: Tensor | Sequence[float], length: int) -> Tensor:
    vector = _rows_of_numbers(name, values, length)
    if vector.dim() > 1:
        raise ValueError(f"{name} have shape {tuple(vector.shape)}, expected ({length},): one for each row")
    return vector


def _rows_of_numbers(name: str, values: Tensor | Sequence[float], length: int) -> Tensor:
    vector = torch.as_tensor(values, dtype=torch.float64)
    if vector.dim() == 0 or len(vector) != length:
        raise ValueError(
            f"{name} have shape {tuple(vector.shape)}, expected ({length},): one for each row of the basis"
        )
    if not bool(vector.isfinite().all()):
        raise ValueError(f"{name} must be finite, got {vector.tolist()}")
    return vector


def _not_negative(name: str, values: Tensor) -> Tensor:
    if not bool((values >= 0).all() & values.isfinite().all()):
        raise ValueError(f"{name} are finite numbers ≥ 0, got {values.tolist()}")
    return values

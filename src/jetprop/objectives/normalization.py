"""Normalizers: what makes derivatives of different kinds commensurable in one cost, measured from the data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet

__all__ = ["Kind", "Statistics", "normalizers"]

Kind = Literal["reciprocal", "scaled", "printed", "unit", "none"]
"""How rows with zero targets are normalised, see `normalizers`."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Averages over a set of inputs and targets with derivatives; make one with `Statistics.of`.

    Args:
        basis: which derivative each row holds.
        count: how many samples were seen.
        input_norms: avg‖∂I‖ for each row, `[R]`; the norm is over all input values, float64.
        target_norms: avg‖∂C‖ for each row, `[R]`, float64.
        mean: of each output, float64.
        deviation: σ, the standard deviation of each output over the set (divided by the count), float64.
    """

    basis: Basis
    count: int
    input_norms: Tensor
    target_norms: Tensor
    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, chunks: Iterable[tuple[Jet, Jet]]) -> Statistics:
        """Measured chunk by chunk, so that the set need never be held at once.

        Args:
            chunks: pairs (inputs, targets) of jets over one basis, rows `[R, n, …]`, any n ≥ 1.

        Raises:
            ValueError: there are no chunks, or bases or lengths differ.

        Example:
            >>> import torch
            >>> from jetprop import Jet
            >>> from jetprop.objectives import Statistics
            >>> x = Jet.seed(torch.tensor([[3.0], [4.0]]), order=1)
            >>> Statistics.of([(x, 2 * x)]).target_norms
            tensor([7., 2.], dtype=torch.float64)
        """
        basis: Basis | None = None
        count = 0
        norms: list[Tensor] = []
        mean = square = torch.zeros(())
        for inputs, targets in chunks:
            basis = _common(basis, inputs, targets)
            n = inputs.rows.shape[1]
            sums = torch.stack([_norms(inputs.rows), _norms(targets.rows)])
            values = targets.value.detach().to(torch.float64)
            middle = values.mean(0)
            spread = (values - middle).square().sum(0)
            if count == 0:
                norms, mean, square = [sums], middle, spread
            else:  # two sets joined: Chan's formula for the sum of squares about the common mean
                step = middle - mean
                square = square + spread + step**2 * (count * n / (count + n))
                mean = mean + step * (n / (count + n))
                norms[0] = norms[0] + sums
            count += n
        if basis is None:
            raise ValueError("statistics need at least one chunk of inputs and targets, got none")
        found = (norms[0] / count).cpu()
        return cls(basis, count, found[0], found[1], mean.cpu(), (square / count).sqrt().cpu())


def normalizers(
    data: Statistics | Iterable[tuple[Jet, Jet]], kind: Kind = "reciprocal", *, zero_below: float = 1e-6
) -> Tensor:
    """The factors n_r by which E_k divides the rows.

    A row whose target is not zero gets n_r = avg‖∂C_r‖. A row whose target is zero over the whole set (for the cube:
    second derivatives with a translation) has no such size. As a network's output scales with its input, its natural
    size is that of the input row, relative to the rows of its order that have targets:

    ===============  ===============================================================================================
    kind             n_r of a row with zero target
    ===============  ===============================================================================================
    "reciprocal"     avg‖∂I_r‖ / M, M the mean of avg‖∂I‖ over the rows of the same order with targets
    "scaled"         the same times the mean n of those rows: needed unless the targets' derivatives are of order 1
    "printed"        M / avg‖∂I_r‖, as section 4.2 prints it (against its own argument; kept for comparison)
    "unit"           1
    "none"           1, and 1 for all other rows too
    ===============  ===============================================================================================

    Without any row with a target in that order, M is the mean over all its rows, and "scaled" takes its factor from the
    next lower order. A row with neither input nor target gets 1. A value row of zeros gets 1.

    Args:
        data: what `Statistics.of` measured, or the chunks to measure.
        kind: see above.
        zero_below: a target row is zero if its average norm is at most this, relative to the largest of its order.

    Returns:
        n, `[R]`, float64, on the CPU, all > 0.

    Raises:
        ValueError: another kind, or `Statistics.of` finds nothing.

    Source:
        avrutskiy2023, sections 3.2 and 4.2. There "i > 3" reads j > 3, and the printed quotient is inverted.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.objectives import normalizers
        >>> x = Jet.seed(torch.ones(5, 2), order=1)
        >>> normalizers([(4 * x, 3 * x[:, :1])])            # the target ignores x₁
        tensor([3., 3., 1.], dtype=torch.float64)
    """
    kinds = Kind.__args__  # type: ignore[attr-defined]
    if kind not in kinds:
        raise ValueError(f"kind of normalizers is one of {', '.join(map(repr, kinds))}, got {kind!r}")
    if not (math.isfinite(zero_below) and 0 <= zero_below < 1):
        raise ValueError(f"zero_below is a fraction in [0, 1), got {zero_below!r}")
    found = data if isinstance(data, Statistics) else Statistics.of(data)
    n = torch.ones(len(found.basis), dtype=torch.float64)
    if kind == "none":
        return n
    ratio = 1.0  # of output to input, from the highest order so far with targets
    for order in range(found.basis.order + 1):
        rows = torch.tensor(found.basis.rows_of_order(order))
        inputs, targets = found.input_norms[rows], found.target_norms[rows]
        present = targets > zero_below * targets.max()
        n[rows] = torch.where(present, targets, n[rows])
        reference = inputs[present] if bool(present.any()) else inputs
        measure = float(reference.mean())
        if bool(present.any()) and measure > 0:
            ratio = float(targets[present].mean()) / measure
        if order == 0 or kind == "unit" or measure == 0:
            continue
        if kind == "reciprocal":
            absent = inputs / measure
        elif kind == "printed":
            absent = measure / inputs
        else:
            absent = inputs * ratio
        n[rows] = torch.where(present | (inputs == 0), n[rows], absent)
    return n


def _norms(rows: Tensor) -> Tensor:
    """Sums over the batch of the norms of each row, `[R]`: norms in the dtype of the rows, sums in float64."""
    flat = rows.detach().reshape(*rows.shape[:2], -1)
    return torch.linalg.vector_norm(flat, dim=2).to(torch.float64).sum(1)


def _common(basis: Basis | None, inputs: Jet, targets: Jet) -> Basis:
    if inputs.basis != targets.basis or (basis is not None and inputs.basis != basis):
        raise ValueError(
            f"inputs carry {inputs.basis!r}, targets {targets.basis!r}"
            + ("" if basis is None else f", earlier chunks {basis!r}")
            + "; all chunks must have the same rows"
        )
    if inputs.rows.shape[1] != targets.rows.shape[1] or inputs.rows.shape[1] == 0:
        raise ValueError(
            f"a chunk has {inputs.rows.shape[1]} inputs and {targets.rows.shape[1]} targets; both need the same "
            "number, ≥ 1"
        )
    return inputs.basis

"""Universal robust training: rows along directions of the input space, and what the oracle says they should be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet
from jetprop.objectives.directions import ImageDirections
from jetprop.oracle import Oracle

__all__ = ["RobustBatch", "RobustRows", "RobustScales", "Targets", "term_of", "with_directions"]

Targets = Literal["oracle", "zero"]
"""What the derivatives along directions shall be: those of the oracle, or zero (Jacobian regularisation)."""

TERM = re.compile(r"R([12])_(\w+)")


def term_of(name: str) -> tuple[int, str]:
    """Order and class of a term: "R1_low" is R^I_low, (1, "low").

    Raises:
        ValueError: it is no such name.
    """
    found = TERM.fullmatch(name)
    if found is None:
        raise ValueError(
            f'"{name}" is no term of robust training; write R1_CLASS or R2_CLASS for the first or second order of a '
            "class of directions, e.g. R1_low"
        )
    return int(found[1]), found[2]


@dataclass(frozen=True)
class RobustRows:
    """The rows of a batch of robust training: some along degrees of freedom, some along image directions.

    Args:
        dimension: d, degrees of freedom; image directions are numbered from d on.
        base: the highest order along the degrees of freedom.
        orders: for each class of directions the highest order along it, 1 or 2; no mixed derivatives.

    Example:
        >>> from jetprop.objectives import RobustRows
        >>> rows = RobustRows(2, base=1, orders={"low": 2, "mid": 1})
        >>> rows.basis.labels
        ((), (0,), (1,), (2,), (3,), (2, 2))
        >>> rows.groups
        {'E0': (0,), 'E1': (1, 2), 'R1_low': (3,), 'R2_low': (5,), 'R1_mid': (4,)}
    """

    dimension: int
    base: int
    orders: Mapping[str, int]

    def __post_init__(self) -> None:
        for kind, order in self.orders.items():
            if order not in (1, 2):
                raise ValueError(f'the order along directions of class "{kind}" is 1 or 2, got {order!r}')

    @property
    def basis(self) -> Basis:
        """Labels along the degrees of freedom, and pure ones along each class."""
        return _basis(self.dimension, self.base, tuple(self.orders.values()))

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The terms and their rows: E0, …, then R1 and R2 of each class."""
        basis, own = self.basis, Basis.full(self.dimension, self.base)
        found = {f"E{k}": tuple(basis.row(*own[r]) for r in own.rows_of_order(k)) for k in range(own.order + 1)}  # type: ignore[misc]
        for place, (kind, order) in enumerate(self.orders.items()):
            for k in range(1, order + 1):
                found[f"R{k}_{kind}"] = (basis.row(*(self.dimension + place,) * k),)
        return found


class RobustBatch(NamedTuple):
    """What `with_directions` makes.

    Args:
        inputs: rows `[R, batch, *image]`; second derivatives along image directions are 0, for D moves on a line.
        targets: rows `[R, batch, *outputs]`.
        regular: `[batch]`, bool: where the oracle's derivatives can be relied on; False where it is nearly singular.
    """

    inputs: Jet
    targets: Jet
    regular: Tensor


def with_directions(
    images: Jet, targets: Jet, directions: Tensor, rows: RobustRows, wanted: Targets = "oracle"
) -> RobustBatch:
    """Jets along the degrees of freedom of a manifold and along directions of the input space.

    Args:
        images: over `Basis.full(d, k)`; k not below `rows.base`, nor for the oracle below the orders along directions.
        targets: over the same basis.
        directions: D, `[K, batch, *image]`, one for each class of `rows`, in their order.
        rows: what is wanted.
        wanted: "oracle", or "zero".

    Returns:
        Inputs, targets and where these are good, over `rows.basis`. Constants: no autograd graph.

    Raises:
        ValueError: directions do not fit the images or their number, or derivatives that are needed are not there.

    Source:
        avrutskiy2023, sections 3.5 and 4.4.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import Cube
        >>> from jetprop.objectives import ImageDirections, RobustRows, with_directions
        >>> images, targets = Cube().sample(4, order=1)
        >>> low = ImageDirections("low", (41, 41), count=8)
        >>> rows = RobustRows(6, base=1, orders={"low": 1})
        >>> with_directions(images, targets, low(torch.arange(4))[None], rows).targets.rows.shape
        torch.Size([8, 4, 9])
    """
    orders, basis, d = list(rows.orders.values()), rows.basis, rows.dimension
    _check(images, targets, directions, rows, wanted)
    directions = directions.to(images.rows)
    x = images.rows.new_zeros(len(basis), *images.shape)
    y = targets.rows.new_zeros(len(basis), *targets.shape)
    own = Basis.full(d, rows.base)
    firsts, seconds = len(own.rows_of_order(1)), len(own.rows_of_order(2))
    at_direction = 1 + firsts
    at_second = at_direction + len(orders)
    for to, come in ((x, images.rows), (y, targets.rows)):
        to[: 1 + firsts] = come[: 1 + firsts]
        to[at_second : at_second + seconds] = come[1 + firsts : 1 + firsts + seconds]
    x[at_direction:at_second] = directions
    regular = torch.ones(images.rows.shape[1], dtype=torch.bool, device=images.device)
    if wanted == "oracle" and orders:
        oracle = Oracle(images, targets)
        regular = ~oracle.singular
        found = oracle.directional(directions, max(orders)).rows
        y[at_direction:at_second] = found[1 : 1 + len(orders)]
        curved = [1 + len(orders) + k for k, order in enumerate(orders) if order == 2]
        for to, come in enumerate(curved, at_second + seconds):  # a list as index would make a GPU wait
            y[to] = found[come]
    return RobustBatch(Jet._of(x, basis), Jet._of(y, basis), regular)


class RobustScales:
    """What R^I and R^II divide by, c · n_a for each output, measured over a set that comes in chunks.

        n_a = P95[∂O_a/∂D] − P5[∂O_a/∂D],   c = avg ‖(1/n_a) ∂O_a/∂D‖

    and likewise for second derivatives, for each class and order by itself. Samples where the oracle is singular are
    left out. Percentiles are interpolated linearly.

    Args:
        banks: the directions of each class.
        orders: for each class the highest order that is measured.

    Source:
        avrutskiy2023, (36) and section 4.4; measured with the pairing of images and directions of the first epoch.

    Example:
        >>> from jetprop.manifolds import Cube
        >>> from jetprop.objectives import ImageDirections, RobustScales
        >>> scales = RobustScales({"low": ImageDirections("low", (41, 41), count=64)}, {"low": 1})
        >>> scales.update(*Cube().sample(64, order=1))
        >>> scales.compute()["R1_low"].shape
        torch.Size([9])
    """

    def __init__(self, banks: Mapping[str, ImageDirections], orders: Mapping[str, int]) -> None:
        self.banks, self.orders = {kind: banks[kind] for kind in orders}, dict(orders)
        self._found: dict[str, list[Tensor]] = {
            f"R{k}_{kind}": [] for kind, order in orders.items() for k in range(1, order + 1)
        }
        self._seen = 0

    def update(self, images: Jet, targets: Jet) -> None:
        """Add the next samples of the set, in its order, with the derivatives that the oracle needs."""
        count = images.rows.shape[1]
        numbers = torch.arange(self._seen, self._seen + count)
        rows = RobustRows(len(images.basis.directions), 0, self.orders)
        drawn = torch.stack([bank(numbers).to(images.device) for bank in self.banks.values()])
        made = with_directions(images, targets, drawn, rows)
        for name, (row,) in rows.groups.items():
            if name in self._found:
                self._found[name].append(made.targets.rows[row][made.regular].to("cpu", torch.float64))
        self._seen += count

    def compute(self) -> dict[str, Tensor]:
        """The products c · n_a by term, each of the shape of one sample's output, float64, on the CPU.

        Raises:
            ValueError: fewer than two samples are regular, or the target of an output hardly varies.
        """
        return {name: _scale(name, torch.cat(parts), self._seen) for name, parts in self._found.items() if parts}


def _scale(name: str, derivatives: Tensor, seen: int) -> Tensor:
    if len(derivatives) < 2:
        raise ValueError(f"{name}: the oracle is regular for {len(derivatives)} of {seen} samples, too few to measure")
    flat = derivatives.flatten(1)
    low, high = torch.tensor([0.05, 0.95], dtype=torch.float64)
    n = torch.stack([torch.quantile(one, high) - torch.quantile(one, low) for one in flat.T])
    if not bool((n > 0).all()):
        raise ValueError(
            f"{name}: the oracle's derivative of output {int((n <= 0).nonzero()[0])} is the same at its 5th and its "
            "95th percentile, so there is nothing to divide by; drop this output, or this term"
        )
    c = (flat / n).norm(dim=1).mean()
    return (c * n).reshape(derivatives.shape[1:])


@lru_cache(maxsize=64)
def _basis(dimension: int, base: int, orders: Sequence[int]) -> Basis:
    lines = [(dimension + place,) * k for place, order in enumerate(orders) for k in range(1, order + 1)]
    return Basis((*Basis.full(dimension, base).labels, *lines))


def _check(images: Jet, targets: Jet, directions: Tensor, rows: RobustRows, wanted: Targets) -> None:
    if wanted not in ("oracle", "zero"):
        raise ValueError(f'targets along directions are those of the "oracle" or "zero", got {wanted!r}')
    if images.basis != targets.basis or images.shape[0] != targets.shape[0]:
        raise ValueError(
            f"images {images!r} and targets {targets!r} must have the same rows and as many samples as each other"
        )
    count, needed = len(rows.orders), max([rows.base, *(rows.orders.values() if wanted == "oracle" else ())])
    if images.basis.order < needed or (needed and images.basis != Basis.full(rows.dimension, images.basis.order)):
        raise ValueError(
            f"the terms {', '.join(rows.groups)} need all derivatives up to order {needed} along {rows.dimension} "
            f"degrees of freedom, the images carry {images.basis!r}; render them over Basis.full({rows.dimension}, "
            f"{needed})"
        )
    if directions.shape != (count, *images.shape):
        raise ValueError(
            f"directions of shape {list(directions.shape)} do not fit {count} classes and images of shape "
            f"{list(images.shape)}: expected {[count, *images.shape]}, [classes, batch, *image]"
        )

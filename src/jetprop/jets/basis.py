"""Which derivatives a jet carries, and how they multiply.

A `Basis` is a list of labels and one integer table. The labels say which derivative each row of a jet holds; the
table says how the rows of a product come from the rows of its factors (the Leibniz rule). Every other rule of the
engine, Faà di Bruno's included, follows from that table (see `jetprop.jets.algebra`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import torch.utils._pytree as pytree

__all__ = ["Basis", "Index", "Label", "Term", "Trace"]

Index = tuple[int, ...]
"""A multi-index: the directions differentiated along, sorted, one entry per order; `(0, 1)` is ∂²/∂x₀∂x₁."""


@dataclass(frozen=True, order=True)
class Trace:
    """The label of a weighted sum of pure second derivatives, Σ_i w_i ∂²/∂x_i², carried as one row.

    Args:
        weights: pairs (direction, weight), sorted by direction, no weight zero.
    """

    weights: tuple[tuple[int, float], ...]

    def __str__(self) -> str:
        if all(w == 1 for _, w in self.weights):
            return "Δ"
        return "Δ[" + ", ".join(f"{i}: {w:g}" for i, w in self.weights) + "]"


Label = Index | Trace


class Term(NamedTuple):
    """One term of the Leibniz table: `(uv)[row]` receives `factor * u[left] * v[right]`."""

    row: int
    left: int
    right: int
    factor: float


def _order(label: Label) -> int:
    return 2 if isinstance(label, Trace) else len(label)


def _sort_key(label: Label) -> tuple[int, bool, tuple]:
    return (_order(label), isinstance(label, Trace), label.weights if isinstance(label, Trace) else label)


def _directions(directions: int | Iterable[int]) -> list[int]:
    chosen = list(range(directions)) if isinstance(directions, int) else sorted(set(directions))
    if any(not isinstance(i, int) or i < 0 for i in chosen):
        raise ValueError(f"directions are numbered by integers ≥ 0, got {chosen}")
    return chosen


def _check_order(order: int) -> None:
    if not isinstance(order, int) or order < 0:
        raise ValueError(f"the order of a basis is an integer ≥ 0, got {order!r}")


class Basis:
    """The derivatives that a jet carries, in the order of its rows.

    Labels are multi-indices over numbered directions, closed under taking parts (whoever carries `(0, 1)` carries
    `()`, `(0,)` and `(1,)` too, because the product rule needs them), ordered by length, then lexicographically; a
    `Trace` counts as length 2 and comes after the multi-indices of that length. Row 0 is always `()`, the value.

    Prefer the constructors `full`, `directional` and `laplacian`, joined by `|` (shared numbering) and `+` (the second
    operand's directions numbered after the first's, no mixed terms).

    Args:
        labels: the labels; any order, duplicates are dropped.

    Raises:
        ValueError: a label is malformed, or a part that the product rule needs is missing.

    Example:
        >>> from jetprop import Basis
        >>> Basis.full(2, order=2).labels
        ((), (0,), (1,), (0, 0), (0, 1), (1, 1))
        >>> len(Basis.full(6, order=2)), len(Basis.directional(6, order=2)), len(Basis.laplacian(6))
        (28, 13, 8)
    """

    # Not a dataclass, though it looks like one: Lightning rebuilds dataclasses field by field, also inside a jet.
    __slots__ = ("_hash", "labels", "terms")

    labels: tuple[Label, ...]
    terms: tuple[Term, ...]

    def __init__(self, labels: Iterable[Label]) -> None:
        labels = tuple(sorted({_checked(label) for label in labels}, key=_sort_key))
        if not labels:
            raise ValueError("a basis needs at least the label () of the value")
        position = {label: row for row, label in enumerate(labels)}
        for label in labels:
            for part in _parts(label):
                if part not in position:
                    raise ValueError(
                        f"a basis with {label} needs {part} too, or the product rule cannot be applied; "
                        f"add it, or build the basis with Basis.full, Basis.directional or Basis.laplacian"
                    )
        self.labels = labels
        self.terms = tuple(_leibniz(labels, position))
        self._hash = hash(labels)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Basis) and self.labels == other.labels)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple:
        return Basis, (self.labels,)  # the hash of a tuple may differ between versions of Python

    @classmethod
    def full(cls, directions: int | Iterable[int], order: int) -> Basis:
        """All partial derivatives along `directions` (a count, or the numbers themselves) up to `order`."""
        _check_order(order)
        chosen = _directions(directions)
        return cls(tuple(c for k in range(order + 1) for c in combinations_with_replacement(chosen, k)))

    @classmethod
    def directional(cls, directions: int | Iterable[int], order: int) -> Basis:
        """The pure derivatives ∂ᵏ/∂x_iᵏ, k ≤ `order`, along each direction: no mixed terms."""
        _check_order(order)
        return cls(((), *((i,) * k for k in range(1, order + 1) for i in _directions(directions))))

    @classmethod
    def laplacian(
        cls, directions: int | Iterable[int], order: int = 2, weights: dict[int, float] | None = None
    ) -> Basis:
        """Value, gradient, and the Laplacian Σ_i w_i ∂²/∂x_i² as one row (d + 2 rows instead of (d+1)(d+2)/2).

        Args:
            directions: a count, or the direction numbers.
            order: 2, the only possible one: the rows (), (i), Δ determine Δ of any composition, but Δ² would need
                third derivatives that they do not hold.
            weights: the weight of each direction, 1 where it names none.
        """
        if order != 2:
            raise ValueError(
                f"Basis.laplacian carries Δ (order 2) only, got order={order}: Δ² does not close on the rows (), (i), "
                f"Δ; use Basis.full(directions, {order}) or polarised directions"
            )
        chosen = _directions(directions)
        if weights is not None and (unknown := set(weights) - set(chosen)):
            raise ValueError(f"weights name directions {sorted(unknown)}, which are not among {chosen}")
        return cls(((), *((i,) for i in chosen), Trace(tuple((i, (weights or {}).get(i, 1.0)) for i in chosen))))

    def __or__(self, other: Basis) -> Basis:
        """Every row of either, directions numbered alike in both."""
        return Basis(self.labels + other.labels)

    def __add__(self, other: Basis) -> Basis:
        """Every row of either, the directions of `other` numbered after those of `self`; no mixed terms."""
        shift = max(self.directions, default=-1) + 1
        return Basis(self.labels + tuple(_shifted(label, shift) for label in other.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __getitem__(self, row: int) -> Label:
        return self.labels[row]

    def __contains__(self, label: object) -> bool:
        return label in self.labels

    @property
    def order(self) -> int:
        """The highest order carried."""
        return _order(self.labels[-1])

    @property
    def directions(self) -> tuple[int, ...]:
        """The direction numbers in use, ascending."""
        return tuple(label[0] for label in self.labels if not isinstance(label, Trace) and len(label) == 1)

    def row(self, *label: int | Trace) -> int:
        """The row of a derivative: `row()` is the value, `row(0, 1)` is ∂²/∂x₀∂x₁ (in any order of the arguments).

        Raises:
            KeyError: the basis does not carry it.
        """
        wanted = label[0] if len(label) == 1 and isinstance(label[0], Trace) else tuple(sorted(label))  # type: ignore[type-var]
        if wanted not in self.labels:
            raise KeyError(f"the basis carries no {wanted}; it has {self._brief()}")
        return self.labels.index(wanted)  # type: ignore[arg-type]

    def rows_of_order(self, order: int) -> tuple[int, ...]:
        """The rows that hold derivatives of exactly this order."""
        return tuple(row for row, label in enumerate(self.labels) if _order(label) == order)

    def truncated(self, order: int) -> Basis:
        """The same basis without the rows above `order`."""
        return Basis(tuple(label for label in self.labels if _order(label) <= order))

    def _brief(self) -> str:
        names = ", ".join(str(label) for label in self.labels[:6])
        return f"{len(self)} rows: {names}" + (", …" if len(self) > 6 else "")

    def __repr__(self) -> str:
        return f"Basis({self._brief()})"


def _checked(label: Label) -> Label:
    if isinstance(label, Trace):
        weights = tuple(sorted((i, float(w)) for i, w in label.weights if w != 0))
        if not weights or len(dict(weights)) < len(weights) or weights[0][0] < 0:
            raise ValueError(
                f"a Trace needs a nonzero weight for some direction, and one for each; got {label.weights}"
            )
        return Trace(weights)
    if not isinstance(label, tuple) or any(not isinstance(i, int) or i < 0 for i in label):
        raise ValueError(f"a label is a tuple of direction numbers ≥ 0, or a Trace; got {label!r}")
    return tuple(sorted(label))


def _parts(label: Label) -> Iterator[Label]:
    yield ()
    if isinstance(label, Trace):
        yield from ((i,) for i, _ in label.weights)
    else:
        for size in range(1, len(label)):
            yield from set(combinations(label, size))


def _shifted(label: Label, shift: int) -> Label:
    if isinstance(label, Trace):
        return Trace(tuple((i + shift, w) for i, w in label.weights))
    return tuple(i + shift for i in label)


def _leibniz(labels: tuple[Label, ...], position: dict[Label, int]) -> Iterator[Term]:
    """The coproduct of every label: all ways to hand its differentiations to the two factors of a product."""
    for row, label in enumerate(labels):
        if isinstance(label, Trace):
            yield Term(row, 0, row, 1)
            yield Term(row, row, 0, 1)
            for i, weight in label.weights:
                yield Term(row, position[(i,)], position[(i,)], 2 * weight)
            continue
        counted: Counter[tuple[Index, Index]] = Counter()
        places = range(len(label))
        for size in range(len(label) + 1):
            for chosen in combinations(places, size):
                left = tuple(label[p] for p in chosen)
                right = tuple(label[p] for p in places if p not in chosen)
                counted[left, right] += 1
        for (left, right), factor in counted.items():
            yield Term(row, position[left], position[right], factor)


# To compilers a basis is a constant, guarded as a whole: its tables are neither traced nor guarded entry by entry.
pytree.register_constant(Basis)

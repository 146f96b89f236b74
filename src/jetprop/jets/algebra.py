"""The arithmetic of jets, row by row, as pure functions of lists of tensors.

Jets over one basis form a commutative algebra: rows add, and multiply by the Leibniz table of the basis. With
z = z₀ + n, z₀ the value and n the rest, n is nilpotent (a product of more than `basis.order` such factors vanishes),
so Taylor's formula is exact and gives Faà di Bruno's:

    f(z) = Σ_k f⁽ᵏ⁾(z₀) nᵏ / k!,      row r:  y_r = Σ_k f⁽ᵏ⁾(z₀) P_rk(n),   P_rk = (nᵏ)_r / k!.

The polynomials P_rk follow from the table alone; `composition` works them out once for each basis. Because P_rk is
homogeneous of degree k, the adjoint needs no more than their derivatives, with g the cotangent of y:

    Q_sk = Σ_r g_r ∂P_rk/∂n_s,     z̄_s = Σ_k f⁽ᵏ⁾ Q_sk  (s ≥ 1),     z̄₀ = f' g₀ + Σ_k f⁽ᵏ⁺¹⁾ (1/k) Σ_s n_s Q_sk.

Everything here is unrolled Python over tensors of one row each: eager code runs it as it stands, a compiler turns it
into one kernel, autograd can differentiate it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import factorial

from torch import Tensor

from jetprop.jets.basis import Basis, Term
from jetprop.jets.remember import remembered

__all__ = ["Composition", "Row", "compose", "compose_adjoint", "composition", "product", "product_adjoint"]

Monomial = tuple[int, ...]
Row = Tensor | None
"""A row; None stands for one that vanishes identically, so that no arithmetic is spent on it."""
UNROLLED_MULTIPLICATIONS = 500
"""Above this many multiplications an activation, Horner's scheme replaces the unrolled polynomials."""


@dataclass(frozen=True)
class Composition:
    """Faà di Bruno's formula over one basis.

    Args:
        terms: the Leibniz table of the basis (not the basis itself, which compilers do not look into).
        forward: `forward[r][k - 1]` holds P_rk as pairs (coefficient, rows multiplied); None for Horner's scheme.
        adjoint: `adjoint[s][k - 1]` holds Q_sk as triples (coefficient, row of g, rows multiplied); likewise.
        multiplications: tensor multiplications of one unrolled forward evaluation.
    """

    terms: tuple[Term, ...]
    forward: tuple[tuple[tuple[tuple[float, Monomial], ...], ...], ...] | None
    adjoint: tuple[tuple[tuple[tuple[float, int, Monomial], ...], ...], ...] | None
    multiplications: int


@remembered
def composition(basis: Basis) -> Composition:
    """Work out Faà di Bruno's polynomials for a basis, or find that they are too many to unroll."""
    rows, order = len(basis), basis.order
    power: list[dict[Monomial, float]] = [{(r,): 1.0} if r else {} for r in range(rows)]
    forward: list[list[dict[Monomial, float]]] = [[p] for p in power]
    multiplications = rows - 1
    for k in range(2, order + 1):
        raised: list[dict[Monomial, float]] = [defaultdict(float) for _ in range(rows)]
        for row, left, right, factor in basis.terms:
            if left and right:
                for monomial, coefficient in power[left].items():
                    raised[row][tuple(sorted((*monomial, right)))] += factor * coefficient
        power = raised
        for row in range(rows):
            forward[row].append({m: c / factorial(k) for m, c in power[row].items()})
            multiplications += len(power[row]) + bool(power[row])
        if multiplications > UNROLLED_MULTIPLICATIONS:
            return Composition(basis.terms, None, None, multiplications)
    adjoint: list[list[dict[tuple[int, Monomial], float]]] = [
        [defaultdict(float) for _ in range(order)] for _ in range(rows)
    ]
    for row in range(1, rows):
        for k in range(order):
            for monomial, coefficient in forward[row][k].items():
                for place, s in enumerate(monomial):
                    adjoint[s][k][row, monomial[:place] + monomial[place + 1 :]] += coefficient
    return Composition(
        basis.terms,
        tuple(tuple(tuple((c, m) for m, c in p.items()) for p in by_degree) for by_degree in forward),
        tuple(tuple(tuple((c, r, m) for (r, m), c in p.items()) for p in by_degree) for by_degree in adjoint),
        multiplications,
    )


def product(basis: Basis, u: Sequence[Row], v: Sequence[Row]) -> list[Row]:
    """(uv)_r = Σ c^r_st u_s v_t, the Leibniz rule."""
    out: list[Row] = [None] * len(basis)
    for row, left, right, factor in basis.terms:
        out[row] = _add(out[row], _scaled(factor, _times(u[left], v[right])))
    return out


def product_adjoint(basis: Basis, g: Sequence[Row], v: Sequence[Row]) -> list[Row]:
    """The cotangent of u in `product(basis, u, v)`: ū_s = Σ c^r_st g_r v_t."""
    return _pulled_back(basis.terms, g, v)


def _pulled_back(terms: tuple[Term, ...], g: Sequence[Row], v: Sequence[Row]) -> list[Row]:
    out: list[Row] = [None] * len(v)
    for row, left, right, factor in terms:
        out[left] = _add(out[left], _scaled(factor, _times(g[row], v[right])))
    return out


def compose(formula: Composition, tower: Sequence[Row], z: Sequence[Row]) -> list[Row]:
    """The rows of f(z), from the tower [f(z₀), f'(z₀), …, f⁽ᵏ⁾(z₀)], k = the order of the basis."""
    if formula.forward is None:
        return _horner(formula.terms, tower, z)
    products = _Products(z)
    out = [tower[0]]
    for by_degree in formula.forward[1:]:
        row: Row = None
        for derivative, polynomial in zip(tower[1:], by_degree, strict=True):
            if derivative is not None:
                row = _add(row, _times(derivative, _sum(_scaled(c, products[m]) for c, m in polynomial)))
        out.append(row)
    return out


def compose_adjoint(formula: Composition, tower: Sequence[Row], z: Sequence[Row], g: Sequence[Row]) -> list[Row]:
    """The cotangent of z in `compose(formula, tower, z)`; `tower` reaches one order further."""
    if formula.adjoint is None:
        return _pulled_back(formula.terms, g, _horner(formula.terms, tower[1:], z))
    order = len(tower) - 2
    products = _Products(z)
    contracted: list[Row] = [None] * order
    out: list[Row] = []
    for s, by_degree in enumerate(formula.adjoint[1:], start=1):
        bar: Row = None
        for k, polynomial in enumerate(by_degree):
            if tower[k + 1] is not None:
                q = _sum(_scaled(c, _times(g[r], products[m]) if m else g[r]) for c, r, m in polynomial)
                bar = _add(bar, _times(tower[k + 1], q))
                contracted[k] = _add(contracted[k], _times(z[s], q))
        out.append(bar)
    value = _times(tower[1], g[0])
    for k, total in enumerate(contracted):
        value = _add(value, _times(tower[k + 2], _scaled(1 / (k + 1), total)))
    return [value, *out]


def _horner(terms: tuple[Term, ...], tower: Sequence[Row], z: Sequence[Row]) -> list[Row]:
    """Σ_k f⁽ᵏ⁾ nᵏ/k!, from the innermost factor outwards."""
    rows, order = len(z), len(tower) - 1
    out: list[Row] = [_scaled(1 / factorial(order), tower[order]), *[None] * (rows - 1)]
    for k in range(order - 1, -1, -1):
        raised: list[Row] = [None] * rows
        for row, left, right, factor in terms:
            if right:
                raised[row] = _add(raised[row], _scaled(factor, _times(out[left], z[right])))
        raised[0] = _scaled(1 / factorial(k), tower[k])
        out = raised
    return out


class _Products:
    """The products of rows already formed, so that each is formed once."""

    def __init__(self, z: Sequence[Row]) -> None:
        self.known: dict[Monomial, Row] = {(r,): row for r, row in enumerate(z)}

    def __getitem__(self, monomial: Monomial) -> Row:
        if monomial not in self.known:
            self.known[monomial] = _times(self[monomial[:-1]], self.known[monomial[-1:]])
        return self.known[monomial]


def _times(a: Row, b: Row) -> Row:
    return None if a is None or b is None else a * b


def _add(total: Row, term: Row) -> Row:
    if term is None:
        return total
    return term if total is None else total + term


def _scaled(factor: float, row: Row) -> Row:
    return row if row is None or factor == 1 else row * factor


def _sum(rows: Iterable[Row]) -> Row:
    total: Row = None
    for row in rows:
        total = _add(total, row)
    return total

"""Which derivatives are carried, and how they multiply."""

from __future__ import annotations

import copy
import pickle
from collections import Counter
from itertools import product as pairs
from math import comb

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jetprop.jets import Basis, Trace, algebra
from jetprop.jets.algebra import compose, composition, product

# ---- labels ---------------------------------------------------------------------------------------------------------


def test_full() -> None:
    assert Basis.full(2, 2).labels == ((), (0,), (1,), (0, 0), (0, 1), (1, 1))
    assert Basis.full([4, 1], 1).labels == ((), (1,), (4,))
    assert Basis.full(3, 0).labels == ((),)
    assert Basis.full(0, 3).labels == ((),)


@given(st.integers(0, 5), st.integers(0, 4))
def test_full_holds_every_multiset(directions: int, order: int) -> None:
    assert len(Basis.full(directions, order)) == comb(directions + order, order)


def test_directional() -> None:
    assert Basis.directional(2, 3).labels == ((), (0,), (1,), (0, 0), (1, 1), (0, 0, 0), (1, 1, 1))
    assert Basis.directional([2], 2).labels == ((), (2,), (2, 2))


def test_laplacian() -> None:
    basis = Basis.laplacian(2)
    assert basis.labels == ((), (0,), (1,), Trace(((0, 1.0), (1, 1.0))))
    assert str(basis[-1]) == "Δ"
    assert Basis.laplacian([1, 3], weights={3: 2}).labels[-1] == Trace(((1, 1.0), (3, 2.0)))
    assert str(Basis.laplacian([1, 3], weights={3: 2})[-1]) == "Δ[1: 1, 3: 2]"


def test_directions_without_weight_stay_first_order() -> None:
    basis = Basis.laplacian(2, weights={0: 0.0})
    assert basis.labels == ((), (0,), (1,), Trace(((1, 1.0),)))
    assert not any(t.left == t.right == basis.row(0) for t in basis.terms)


def test_traces_are_normalised() -> None:
    assert Basis([(), (0,), (1,), Trace(((1, 2), (0, 1)))]) == Basis.laplacian(2, weights={1: 2.0})


def test_labels_are_sorted_and_unique() -> None:
    trace = Trace(((0, 1.0), (1, 1.0)))
    found = Basis([(1, 0), trace, (1,), (), (0,), (0, 1), (0,), (0, 1)]).labels
    assert found == ((), (0,), (1,), (0, 1), trace)


def test_union_shares_the_numbering() -> None:
    assert (Basis.full(1, 2) | Basis.full(2, 1)).labels == ((), (0,), (1,), (0, 0))
    assert (Basis.laplacian(2) | Basis.full(2, 2)).labels[-1] == Trace(((0, 1.0), (1, 1.0)))


def test_sum_numbers_the_second_after_the_first() -> None:
    assert (Basis.full(1, 2) + Basis.full(2, 1)).labels == ((), (0,), (1,), (2,), (0, 0))
    assert (Basis.full(2, 1) + Basis.laplacian(1)).labels == ((), (0,), (1,), (2,), Trace(((2, 1.0),)))
    assert Basis.full(2, 0) + Basis.full(2, 1) == Basis.full(2, 1)


def test_rows() -> None:
    basis = Basis.full(2, 2)
    assert basis.row() == 0
    assert basis.row(1, 0) == basis.row(0, 1) == 4
    assert basis[4] == (0, 1)
    assert (1, 1) in basis and (0, 0, 0) not in basis
    assert basis.rows_of_order(2) == (3, 4, 5)
    assert basis.rows_of_order(3) == ()
    assert basis.order == 2 and basis.directions == (0, 1)
    assert basis.truncated(1) == Basis.full(2, 1)
    laplacian = Basis.laplacian(2)
    assert (
        laplacian.row(Trace(((0, 1.0), (1, 1.0)))) == 3 and laplacian.order == 2 and laplacian.rows_of_order(2) == (3,)
    )


def test_a_missing_row_is_named() -> None:
    with pytest.raises(KeyError, match=r"carries no \(0, 0, 1\); it has 6 rows: \(\), \(0,\), \(1,\)"):
        Basis.full(2, 2).row(1, 0, 0)


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([(), (0,), (0, 1)], r"\(0, 1\) needs \(1,\) too"),
        ([(), (0,), (0, 0, 0)], r"\(0, 0, 0\) needs \(0, 0\) too"),
        ([(0,)], r"\(0,\) needs \(\) too"),
        ([(), Trace(((0, 1.0),))], r"needs \(0,\) too"),
        ([], r"at least the label \(\)"),
        ([(), (-1,)], "direction numbers ≥ 0"),
        ([(), (0.5,)], "direction numbers ≥ 0"),
        ([(), [0]], "direction numbers ≥ 0"),
        ([(), (0,), Trace(((0, 0.0),))], "nonzero weight"),
        ([(), (0,), Trace(((0, 1.0), (0, 2.0)))], "one for each"),
    ],
)
def test_labels_that_do_not_close(labels, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Basis(labels)


@pytest.mark.parametrize("order", [1, 3, 4])
def test_powers_of_the_laplacian_are_refused(order: int) -> None:
    with pytest.raises(ValueError, match=rf"Δ \(order 2\) only, got order={order}: Δ² does not close"):
        Basis.laplacian(3, order=order)


def test_weights_of_other_directions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights name directions \[5\]"):
        Basis.laplacian(2, weights={5: 1.0})


@pytest.mark.parametrize("build", [Basis.full, Basis.directional])
@pytest.mark.parametrize("order", [-1, 1.0, None])
def test_orders_are_counts(build, order) -> None:
    with pytest.raises(ValueError, match="integer ≥ 0"):
        build(2, order)


def test_directions_are_counts() -> None:
    with pytest.raises(ValueError, match="integers ≥ 0"):
        Basis.full([-2], 1)


# ---- the table ------------------------------------------------------------------------------------------------------

BASES = [
    Basis.full(3, 3),
    Basis.directional(2, 4),
    Basis.full(2, 2) | Basis.directional(2, 4),
    Basis.full(1, 3) + Basis.directional(2, 2),
]


@pytest.mark.parametrize("basis", BASES)
def test_the_table_is_that_of_products_of_polynomials(basis: Basis) -> None:
    """Derivatives at 0 of a product of two polynomials, multiplied out coefficient by coefficient."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randint(-5, 6, (len(basis),), generator=generator).tolist() for _ in range(2))
    expected = dict.fromkeys(basis, 0.0)
    for (a, x), (b, y) in pairs(_polynomial(basis, u).items(), _polynomial(basis, v).items()):
        label = tuple(sorted(a + b))
        if label in expected:
            expected[label] += x * y * _factorials(label)
    found = product(basis, [torch.tensor(float(x)) for x in u], [torch.tensor(float(x)) for x in v])
    assert [float(x) for x in found if x is not None] == pytest.approx(list(expected.values()))


def _polynomial(basis: Basis, derivatives: list[int]) -> dict[tuple[int, ...], float]:
    """Monomial to coefficient: ∂ˡ/l!."""
    return {label: d / _factorials(label) for label, d in zip(basis, derivatives, strict=True)}  # type: ignore[arg-type]


def _factorials(label) -> int:
    out = 1
    for count in Counter(label).values():
        for k in range(2, count + 1):
            out *= k
    return out


def test_the_table_of_the_laplacian() -> None:
    """Δ(uv) = uΔv + vΔu + 2 Σ w_i u_i v_i."""
    basis = Basis.laplacian(2, weights={1: 3.0})
    u, v = ([torch.tensor(float(x)) for x in xs] for xs in ([2, 3, 5, 7], [11, 13, 17, 19]))
    *_, found = product(basis, u, v)
    assert found == 2 * 19 + 7 * 11 + 2 * (3 * 13 + 3 * 5 * 17)


@pytest.mark.parametrize("basis", [*BASES, Basis.laplacian(3)])
def test_products_commute_and_associate(basis: Basis) -> None:
    u, v, w = (list(torch.randn(len(basis), dtype=torch.float64).unbind(0)) for _ in range(3))
    assert torch.allclose(_stack(product(basis, u, v)), _stack(product(basis, v, u)))
    left, right = product(basis, product(basis, u, v), w), product(basis, u, product(basis, v, w))
    assert torch.allclose(_stack(left), _stack(right))


def _stack(rows) -> torch.Tensor:
    return torch.stack([torch.zeros(()) if row is None else row for row in rows])


def test_sizes_that_the_documentation_names() -> None:
    assert len(Basis.full(6, 2)) == 28
    assert composition(Basis.full(6, 2)).multiplications == 69
    assert len(Basis.full(6, 3)) == 84
    assert len(Basis.directional(6, 2)) == 13
    assert len(Basis.laplacian(6)) == 8


@pytest.mark.parametrize("basis", [Basis.full(6, 2), Basis.full(6, 3), Basis.directional(6, 3), Basis.laplacian(4)])
def test_multiplications_are_counted_as_they_are_done(basis: Basis, monkeypatch) -> None:
    done = 0

    def times(a, b, of=algebra._times):
        nonlocal done
        done += a is not None and b is not None
        return of(a, b)

    monkeypatch.setattr(algebra, "_times", times)
    compose(composition(basis), list(torch.ones(basis.order + 1)), list(torch.ones(len(basis))))
    assert done == composition(basis).multiplications


def test_long_polynomials_are_not_unrolled() -> None:
    assert composition(Basis.full(6, 3)).forward is not None
    assert composition(Basis.full(6, 4)).forward is None


# ---- as an object ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", [*BASES, Basis.laplacian(3, weights={0: 0.5})])
def test_copies_are_equal(basis: Basis) -> None:
    for twin in (pickle.loads(pickle.dumps(basis)), copy.deepcopy(basis), copy.copy(basis), Basis(basis.labels)):
        assert twin == basis and hash(twin) == hash(basis)
        assert twin.terms == basis.terms
        assert composition(twin) is composition(basis)


def test_different_bases_differ() -> None:
    assert Basis.full(2, 1) != Basis.full(1, 2)
    assert Basis.full(2, 1) != "Basis"
    assert repr(Basis.full(6, 2)) == "Basis(28 rows: (), (0,), (1,), (2,), (3,), (4,), …)"
    assert list(Basis.full(1, 1)) == [(), (0,)]

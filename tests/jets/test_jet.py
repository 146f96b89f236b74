"""The jet as an object: how it is made, what it says of itself, how it is copied."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle

import pytest
import torch
import torch.utils._pytree as pytree

from jetprop import Basis, Jet
from jets.rule_cases import DTYPE, drawn

X = drawn(4, 3)


# ---- seeds ----------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_straight_line() -> None:
    v = drawn(2, 4, 3, seed=1)
    jet = Jet.seed(X, v, order=2)
    assert jet.basis == Basis.full(2, 2)
    assert torch.equal(jet.value, X) and torch.equal(jet.first, v)
    assert jet.second.shape == (3, 4, 3) and not jet.second.any()


def test_a_seed_without_directions_takes_the_coordinates() -> None:
    jet = Jet.seed(X)
    assert jet.basis == Basis.full(3, 1)
    assert torch.equal(jet.first[1], torch.tensor([0.0, 1.0, 0.0], dtype=DTYPE).expand(4, 3))


def test_directions_may_be_shared_by_the_batch() -> None:
    v = drawn(2, 3, seed=1)
    assert torch.equal(Jet.seed(X, v).first, v[:, None].expand(2, 4, 3))
    assert torch.equal(Jet.seed(X, v.float()).first, v.float().double()[:, None].expand(2, 4, 3))


def test_a_seed_over_another_basis() -> None:
    jet = Jet.seed(X, basis=Basis.laplacian(3))
    assert len(jet.rows) == 5 and not jet.rows[4].any()
    shifted = Jet.seed(X, drawn(1, 4, 3), basis=Basis.directional([7], 2))
    assert shifted.basis.directions == (7,)
    assert torch.equal(shifted.d(7), drawn(1, 4, 3)[0])


@pytest.mark.parametrize("arguments", [{}, {"directions": drawn(2, 4, 3)}])
def test_order_zero_carries_the_value(arguments) -> None:
    jet = Jet.seed(X, order=0, **arguments)
    assert jet.basis.labels == ((),) and torch.equal(jet.rows[0], X)
    assert jet.first.shape == (0, 4, 3)
    assert torch.equal(torch.nn.Tanh()(jet).value, X.tanh())


def test_a_constant_has_no_derivatives() -> None:
    jet = Jet.constant(X, Basis.full(2, 2))
    assert torch.equal(jet.value, X) and not jet.rows[1:].any()
    assert not torch.tanh(jet).rows[1:].any()  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"directions": torch.zeros(2, 5, 3)},
            r"\(2, 5, 3\) do not fit x of shape \(4, 3\): expected \[D, 4, 3\]",
        ),
        ({"directions": torch.zeros(2, 4)}, r"expected \[D, 4, 3\] or \[D, 3\]"),
        ({"basis": Basis.full(2, 1)}, "3 directions were given, the basis has 2"),
        ({"order": -1}, "integer ≥ 0"),
    ],
)
def test_seeds_that_do_not_fit(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Jet.seed(X, **arguments)


def test_a_scalar_has_no_coordinates() -> None:
    with pytest.raises(ValueError, match="last axis of coordinates, got a scalar"):
        Jet.seed(torch.tensor(1.0))
    assert Jet.seed(torch.tensor(1.0), torch.ones(1)).d(0) == 1


# ---- rows -----------------------------------------------------------------------------------------------------------


def test_rows_are_raw_derivatives() -> None:
    """x³ at 2: 8, 12, 12, 6, not divided by factorials."""
    y = Jet.seed(torch.tensor([2.0]), order=3) ** 3
    assert [float(y.d(*[0] * k)) for k in range(4)] == [8, 12, 12, 6]


def test_derivatives_by_their_indices() -> None:
    jet = Jet(drawn(6, 4, 3), Basis.full(2, 2))
    assert torch.equal(jet.d(), jet.value)
    assert torch.equal(jet.d(1, 0), jet.rows[4]) and torch.equal(jet.d(0, 1), jet.rows[4])
    assert torch.equal(jet.first, jet.rows[1:3]) and torch.equal(jet.second, jet.rows[3:])
    lower = jet.truncated(1)
    assert lower.basis == Basis.full(2, 1) and torch.equal(lower.rows, jet.rows[:3])


def test_missing_derivatives_are_named() -> None:
    with pytest.raises(KeyError, match=r"the basis carries no \(5,\); it has 4 rows: \(\), \(0,\), \(1,\), \(2,\)"):
        Jet.seed(X).d(5)
    with pytest.raises(KeyError, match=r"no \(0, 0\)"):
        Jet.seed(X).d(0, 0)


# ---- what a tensor would say ----------------------------------------------------------------------------------------


def test_it_speaks_of_its_value() -> None:
    jet = Jet.seed(X, order=2)
    assert jet.shape == X.shape == jet.size() and jet.shape[0] == 4
    assert jet.size(-1) == jet.size(1) == 3 and jet.dim() == jet.ndim == 2
    assert jet.numel() == 12 and len(jet) == 4
    assert jet.dtype == DTYPE and jet.device == X.device and jet.layout == torch.strided
    assert jet.is_floating_point() and not jet.is_complex() and jet.is_contiguous()
    assert not (jet.is_cuda or jet.is_nested or jet.is_sparse or jet.is_quantized)
    assert not jet.requires_grad and jet.requires_grad_().requires_grad
    assert repr(jet) == (
        "Jet(value [4, 3], torch.float64, cpu, requires_grad; Basis(10 rows: (), (0,), (1,), (2,), (0, 0), (0, 1), …))"
    )
    assert [part.shape for part in jet] == [(3,)] * 4


def test_it_is_compared_by_value_and_hashed_by_identity() -> None:
    a, b = Jet.seed(X), Jet.seed(X)
    assert (a == b).all() and not (a != b).any()
    assert a in [a]
    assert {a: 1}[a] == 1 and b not in {a: 1}
    assert (a == None) is False and (a != None) is True  # noqa: E711
    assert (a == "x") is False


# ---- copies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", [Basis.full(3, 2), Basis.laplacian(3, weights={0: 0.5})])
def test_copies(basis: Basis) -> None:
    jet = Jet.seed(X, basis=basis)
    buffer = io.BytesIO()
    torch.save({"jet": jet}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=False)["jet"]
    for twin in (pickle.loads(pickle.dumps(jet)), copy.deepcopy(jet), dataclasses.replace(jet), saved):
        assert type(twin) is Jet and twin.basis == basis and torch.equal(twin.rows, jet.rows)
    deep = copy.deepcopy(jet)
    deep.mul_(2)
    assert torch.equal(jet.value, X)


def test_it_is_a_node_of_trees() -> None:
    jet = Jet.seed(X, order=2)
    leaves, spec = pytree.tree_flatten({"x": [jet, 1]})
    assert len(leaves) == 2 and leaves[0] is jet.rows
    back = pytree.tree_unflatten(leaves, spec)["x"][0]
    assert type(back) is Jet and back.rows is jet.rows and back.basis == jet.basis
    doubled = pytree.tree_map(lambda leaf: 2 * leaf, jet)
    assert torch.equal(doubled.rows, 2 * jet.rows)
    assert pytree.tree_flatten(jet)[1] == pytree.tree_flatten(Jet.seed(2 * X, order=2))[1]
    assert pytree.tree_flatten(jet)[1] != pytree.tree_flatten(Jet.seed(X, order=1))[1]


def test_dtypes() -> None:
    assert Jet.seed(X.half()).float().dtype == torch.float32
    assert Jet.seed(X).to(torch.bfloat16).rows.dtype == torch.bfloat16
    y = Jet.seed(X.to(torch.complex128)) ** 2
    assert torch.allclose(y.d(0)[:, 0], 2 * X[:, 0].to(torch.complex128))


@pytest.mark.parametrize("left", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("right", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow"])
def test_dtypes_are_promoted_as_those_of_tensors(left, right, shape, name: str) -> None:
    x, y = torch.ones(4, 3, dtype=left), torch.full(shape, 2, dtype=right)
    function = getattr(torch, name)
    for a, b in [(x, y), (y, x), (x.sum(), y), (y, x.sum())]:
        for u, v in [(lift(a), b), (a, lift(b)), (lift(a), lift(b))]:
            if isinstance(u, Jet) or isinstance(v, Jet):
                assert function(u, v).dtype == function(a, b).dtype


def lift(x: torch.Tensor):
    return Jet.constant(x, Basis.full(1, 1)) if x.is_floating_point() else x

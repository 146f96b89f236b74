"""`match` against the sums written out, and against everything that must not get through."""

from __future__ import annotations

import math
from itertools import product

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from jetprop import Basis, Jet
from jetprop.objectives import Match, match

BASES = [Basis.full(2, 0), Basis.full(3, 1), Basis.full(2, 2), Basis.directional(2, 3), Basis.laplacian(2)]


def jets(basis: Basis, batch: int = 4, outputs: tuple[int, ...] = (3,)) -> tuple[Jet, Jet]:
    shape = (len(basis), batch, *outputs)
    return Jet(torch.randn(shape, dtype=torch.float64), basis), Jet(torch.randn(shape, dtype=torch.float64), basis)


def written_out(
    prediction: Jet, target: Jet, orders: dict[int, float], w: Tensor, u: Tensor, n: Tensor, mask: Tensor
) -> tuple[float, dict[str, float]]:
    """The formula of the docstring, term by term."""
    terms = {f"E{k}": 0.0 for k in range(prediction.basis.order + 1) if prediction.basis.rows_of_order(k)}
    rows, batch, outputs = prediction.rows.shape
    for k in range(prediction.basis.order + 1):
        for r, a in product(prediction.basis.rows_of_order(k), range(outputs)):
            there = [b for b in range(batch) if mask[r, b, a]]
            squares = [float(prediction.rows[r, b, a] - target.rows[r, b, a]) ** 2 for b in there]
            terms[f"E{k}"] += float(w[r] / n[r] ** 2 * u[a]) * sum(squares) / max(len(there), 1)
    return sum(orders.get(k, 0.0) * terms[f"E{k}"] for k in range(prediction.basis.order + 1)), terms


@pytest.mark.parametrize("basis", BASES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_written_out_sum(basis: Basis, masked: bool) -> None:
    prediction, target = jets(basis, batch=6)
    w, u = torch.rand(len(basis)).double(), torch.rand(3).double()
    n = 0.5 + torch.rand(len(basis)).double()
    mask = torch.rand(prediction.rows.shape) < 0.6 if masked else torch.ones(prediction.rows.shape, dtype=torch.bool)
    orders = {k: 0.3 + k for k in range(basis.order + 1)}
    found = match(
        prediction,
        target,
        weights=orders,
        row_weights=w,
        output_weights=u,
        normalizers=n,
        mask=mask if masked else None,
    )
    total, terms = written_out(prediction, target, orders, w, u, n, mask)
    assert float(found.total) == pytest.approx(total, rel=1e-12)
    assert {k: float(v) for k, v in found.terms.items()} == pytest.approx(terms, rel=1e-12)


def test_the_costs_of_the_paper() -> None:
    """(2), section 3.2 and section 4.2, as printed, means for sums."""
    basis = Basis.full(6, 2)
    prediction, target = jets(basis, outputs=(9,))
    n = 0.5 + torch.rand(28).double()
    found = match(prediction, target, normalizers=n).terms

    def squared(*index: int) -> Tensor:
        return (prediction.d(*index) - target.d(*index)).square().sum(-1).mean()

    e1 = sum(squared(i) / n[basis.row(i)] ** 2 for i in range(6))
    e2 = sum(squared(i, j) / n[basis.row(i, j)] ** 2 for i in range(6) for j in range(i, 6))
    for name, expected in {"E0": squared() / n[0] ** 2, "E1": e1, "E2": e2}.items():
        assert float(found[name]) == pytest.approx(float(expected), rel=1e-12)


def test_values_of_any_shape() -> None:
    basis = Basis.full(2, 1)
    image, other = jets(basis, outputs=(2, 5))
    flat = match(Jet(image.rows.flatten(2), basis), Jet(other.rows.flatten(2), basis))
    assert torch.equal(match(image, other).total, flat.total)
    scalar = match(Jet(image.rows[..., 0, 0], basis), Jet(other.rows[..., 0, 0], basis))
    assert torch.allclose(scalar.total, match(image[:, :1, 0], other[:, :1, 0]).total)


@pytest.mark.parametrize("masked", [False, True])
def test_it_can_be_differentiated_twice(masked: bool) -> None:
    basis = Basis.full(1, 2)
    prediction, target = jets(basis, batch=2, outputs=(2,))
    mask = torch.rand(3, 2, 2) < 0.7 if masked else None

    def total(p: Tensor, t: Tensor) -> Tensor:
        return match(Jet(p, basis), Jet(t, basis), weights=(1, 0.5, 0.1), mask=mask).total

    at = (prediction.rows.requires_grad_(), target.rows.requires_grad_())
    assert torch.autograd.gradcheck(total, at)
    assert torch.autograd.gradgradcheck(total, at)


def test_terms_can_be_differentiated() -> None:
    prediction, target = jets(Basis.full(2, 1))
    prediction.rows.requires_grad_()
    match(prediction, target).terms["E1"].backward()
    gradient = prediction.rows.grad
    assert gradient is not None
    assert bool((gradient[0] == 0).all()) and bool((gradient[1:] != 0).all())


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_masked_has_no_influence(poison: float) -> None:
    basis = Basis.full(2, 2)
    clean, target = jets(basis)
    mask = torch.rand(clean.rows.shape) < 0.5

    def gradient(labels: Tensor) -> tuple[Tensor, Tensor]:
        rows = clean.rows.clone().requires_grad_()
        found = match(Jet(rows, basis), Jet._of(labels, basis), mask=mask)
        found.total.backward()
        assert rows.grad is not None
        return torch.cat([found.total.detach()[None], found.rows.detach()]), rows.grad

    poisoned = target.rows.masked_fill(~mask, poison)
    for one, other in zip(gradient(target.rows), gradient(poisoned), strict=True):
        assert torch.equal(one, other) and bool(one.isfinite().all())


def test_masks_broadcast() -> None:
    prediction, target = jets(Basis.full(2, 1))
    per_sample = torch.tensor([True, True, False, True]).view(1, 4, 1)
    some = match(prediction, target, mask=per_sample)
    kept = torch.tensor([0, 1, 3])
    assert torch.allclose(some.total, match(prediction[kept], target[kept]).total)


def test_labels_missing_at_random_change_no_expectation() -> None:
    """The mean over all masks with a given number of labels is the value without a mask."""
    basis = Basis.full(1, 1)
    prediction, target = jets(basis, batch=4, outputs=(1,))
    masks = [torch.tensor(m).view(1, 4, 1) for m in product([True, False], repeat=4) if sum(m) == 2]
    mean = torch.stack([match(prediction, target, mask=m).total for m in masks]).mean()
    assert torch.allclose(mean, match(prediction, target).total)


def test_zero_weights_drop_an_order_but_report_it() -> None:
    prediction, target = jets(Basis.full(2, 2))
    found = match(prediction, target, weights=(1, 1, 0))
    assert torch.allclose(found.total, match(prediction.truncated(1), target.truncated(1)).total)
    assert float(found.terms["E2"].detach()) > 0


@given(st.lists(st.floats(0, 10), min_size=3, max_size=3).filter(any))
def test_weights_are_the_same_in_every_spelling(weights: list[float]) -> None:
    torch.manual_seed(0)
    prediction, target = jets(Basis.full(2, 2))
    totals = {
        float(match(prediction, target, weights=spelling).total)
        for spelling in (weights, tuple(weights), dict(enumerate(weights)))
    }
    assert len(totals) == 1
    assert totals.pop() == pytest.approx(
        sum(w * float(e) for w, e in zip(weights, match(prediction, target).terms.values(), strict=True))
    )


def test_one_comparison_serves_many_batches_and_dtypes() -> None:
    basis = Basis.full(2, 1)
    compare = Match(basis, normalizers=[1.0, 2.1, 4.3])
    prediction, target = jets(basis)
    total = match(prediction, target, normalizers=[1.0, 2.1, 4.3]).total
    assert torch.equal(compare(prediction, target).total, total)
    single = compare(Jet(prediction.rows.float(), basis), Jet(target.rows.float(), basis))
    assert single.total.dtype == torch.float32 and float(single.total) == pytest.approx(float(total), rel=1e-5)
    assert torch.equal(compare(prediction, target).total, total)
    assert torch.allclose(compare.total(compare(prediction, target).rows), total)


BASIS = Basis.full(2, 1)
NOTHING = torch.zeros(3, 4, 3, dtype=torch.bool)
NO_FIRST = torch.tensor([True, False, False]).view(3, 1, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": (1, -1)}, "order 1 is -1"),
        ({"weights": (1, math.nan)}, "order 1 is nan"),
        ({"weights": (1,)}, "give 2 weights"),
        ({"weights": (0, 0)}, "every weight is zero"),
        ({"weights": {2: 1.0}}, "carry orders 0 to 1 only"),
        ({"row_weights": [1.0, 1.0]}, "one for each row"),
        ({"row_weights": [1.0, -1.0, 1.0]}, "row_weights are finite numbers ≥ 0"),
        ({"output_weights": [1.0, -1.0, 1.0]}, "output_weights are finite numbers ≥ 0"),
        ({"output_weights": [1.0, 1.0]}, "one weight for each output"),
        ({"normalizers": [1.0, 0.0, 1.0]}, r"row 1 \(derivative \(0,\)\)"),
        ({"normalizers": [1.0, math.inf, 1.0]}, "must be finite"),
        ({"mask": torch.ones(3, 4, 3)}, "bool"),
        ({"mask": torch.ones(2, 4, 3, dtype=torch.bool)}, "does not broadcast to rows"),
        ({"mask": NOTHING}, "E0 means nothing"),
        ({"mask": NO_FIRST}, r"E1 means nothing.*truncated\(0\)"),
        ({"target": Jet(torch.zeros(6, 4, 3).double(), Basis.full(2, 2))}, "basis"),
        ({"target": Jet(torch.zeros(3, 4, 2).double(), BASIS)}, "last layer"),
        ({"target": torch.zeros(4, 3)}, "compares jets; the target is Tensor"),
        ({"prediction": torch.zeros(4, 3)}, "compares jets; the prediction is Tensor"),
    ],
)
def test_bad_arguments_are_named(change: dict, said: str) -> None:
    prediction, target = jets(BASIS)
    with pytest.raises((ValueError, TypeError), match=said):
        match(**{"prediction": prediction, "target": target, **change})

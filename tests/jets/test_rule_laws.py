"""Laws that every registered rule obeys, over the cases of `jets.cases`."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from jetprop.jets import RULES, Basis, Jet, push
from jetprop.jets.basis import Trace
from jets.cases.elementwise import AT_KINKS
from jets.cases.registry import CASES, VALUE_CASES
from jets.cases.value import X
from jets.rule_cases import DTYPE, HIGHEST, Case, missing
from jets.tolerances import RATE, RATE_FLOOR, ROUNDING

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")


def over(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases if available(case)])


def available(case: Case) -> bool:
    return torch.cuda.is_available() or not case.cuda


def test_every_rule_has_a_case() -> None:
    assert not missing(CASES, (name for name, _ in VALUE_CASES))


def test_a_rule_without_a_case_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "novelty", RULES["sigmoid"])
    assert missing(CASES, (name for name, _ in VALUE_CASES)) == {"novelty"}


def test_every_case_has_a_rule_and_a_name() -> None:
    assert {case.rule for case in CASES} | {name for name, _ in VALUE_CASES} <= RULES.keys()
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})


@over(CASES)
def test_the_value_row_is_the_plain_call(case: Case) -> None:
    jet = case.jet(Basis.full(2, 2).truncated(case.order))
    rows = case.function(jet).rows
    for words, function in {"": case.function, **case.spellings}.items():
        plain, carried = function(case.x.clone()), function(jet)
        assert isinstance(carried, Jet), words
        assert carried.shape == plain.shape, words
        assert carried.dtype == plain.dtype, words
        case.value_tolerance.check(carried.value, plain, words)
        ROUNDING.check(carried.rows, rows, words)
    assert torch.equal(jet.rows, case.jet(jet.basis).rows), "the argument was written to"


@over(CASES)
def test_rows_are_the_derivatives(case: Case) -> None:
    """At every order; rows of a smaller basis are those of the full one, and a trace is the sum it stands for."""
    jet = case.jet(Basis.full(2, case.order))
    expected = push(case.oracle or case.function, jet, backend="reference", create_graph=False).rows
    for order in range(case.order + 1):
        basis = Basis.full(2, order)
        found = case.function(case.jet(basis))
        assert found.basis == basis
        case.tolerance.check(found.rows, expected[: len(basis)])
    partial = [Basis.directional(2, case.order), Basis.full(1, 2) + Basis.full(1, 2)]
    partial += [Basis.laplacian(2, weights={1: -0.7}), Basis.laplacian(2) | Basis.full([0], 1)]
    for basis in partial:
        jet = Jet(_restricted(case.jet().rows, basis), basis)
        case.tolerance.check(case.function(jet).rows, _restricted(expected, basis))


def _restricted(rows: Tensor, basis: Basis) -> Tensor:
    return torch.stack(
        [
            sum((w * rows[HIGHEST.row(i, i)] for i, w in label.weights), torch.zeros_like(rows[0]))
            if isinstance(label, Trace)
            else rows[HIGHEST.row(*label)]
            for label in basis
        ]
    )


@over(CASES)
def test_first_derivatives_are_linear_in_the_direction(case: Case) -> None:
    jet = case.jet(Basis.full(2, 1))
    y = case.function(jet)
    combined = Jet(torch.stack([jet.value, 2 * jet.d(0) - 0.5 * jet.d(1)]), Basis.full(1, 1))
    expected = 2 * y.d(0) - 0.5 * y.d(1)
    case.precision.check(case.function(combined).d(0), expected)


@over(CASES)
def test_mixed_derivatives_are_symmetric(case: Case) -> None:
    """Numbering the directions the other way round renumbers the rows, and does nothing else."""
    basis = Basis.full(2, 3).truncated(case.order)
    swap = [basis.row(*(1 - i for i in label)) for label in basis]  # type: ignore[union-attr]
    jet = case.jet(basis)
    swapped = case.function(Jet(jet.rows[swap], basis))
    case.precision.check(swapped.rows, case.function(jet).rows[swap])


@over(case for case in CASES if case.smooth)
def test_taylor_remainders_shrink_at_the_rate_of_the_order(case: Case) -> None:
    """f(x + εv) − Σ εᵏ/k! ∂ᵛᵏf is O(ε⁴) with derivatives up to the third: no oracle is involved."""
    v = case.jet().d(0)
    y = case.function(Jet.seed(case.x, v.unsqueeze(0), order=3))

    def remainder(step: float) -> float:
        taylor = y.value + step * (y.d(0) + step / 2 * (y.d(0, 0) + step / 3 * y.d(0, 0, 0)))
        return float((case.function(case.x + step * v) - taylor).detach().abs().max())

    large, small = remainder(0.02), remainder(0.01)
    assert small < RATE_FLOOR or large / small > 2 ** (4 - RATE)


@over(case for case in CASES if case.per_sample)
def test_samples_do_not_meet(case: Case) -> None:
    jet = case.jet(Basis.full(2, 2))
    together = case.function(jet)
    for k in range(len(jet)):
        ROUNDING.check(case.function(jet[k : k + 1]).rows[:, 0], together.rows[:, k])


@pytest.mark.parametrize(("name", "function"), VALUE_CASES)
def test_what_has_no_derivatives_answers_for_the_value(name: str, function) -> None:
    jet = Jet.seed(X, order=2)
    torch.manual_seed(0)
    plain = function(X.clone())
    torch.manual_seed(0)
    found = function(jet)
    assert type(found) is type(plain)
    if isinstance(plain, Tensor):
        assert found.dtype == plain.dtype
        assert torch.equal(found, plain)
    else:
        assert found == plain


@pytest.mark.parametrize("name", AT_KINKS)
def test_slopes_at_kinks_are_those_of_pytorch(name: str) -> None:
    function, kinks = AT_KINKS[name]
    x = torch.tensor([kinks], dtype=DTYPE)
    expected = push(function, Jet.seed(x), backend="reference")
    ROUNDING.check(function(Jet.seed(x)).rows, expected.rows)

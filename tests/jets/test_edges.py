"""Values at the edges of what operations take: zeros, infinities, NaN, no entries, large offsets; trained constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets import Basis, Jet, push
from jets.rule_cases import DTYPE, drawn, tensor
from jets.tolerances import ENGINE, ROUNDING, SINGLE

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

ROWS = tensor([[0.0, 1.0, -2.0], [3.0, 3.0, 0.0], [0.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
INFINITE = tensor([[math.inf, 1.0, 2.0], [-math.inf] * 3, [math.nan, 1.0, 2.0], [-math.inf, 0.0, 1.0]])


def curve(x: Tensor) -> Any:
    """A jet at any value, which need not be finite."""
    basis = Basis.full(1, 1)
    return Jet._of(torch.stack([x, drawn(*x.shape, seed=1).to(x.dtype)]).requires_grad_(), basis)


VALUES: dict[str, Callable[[Any], Any]] = {
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "quantile": lambda x: torch.quantile(x, 0.3, -1, interpolation="lower"),
    "quantile of all": lambda x: torch.quantile(x, torch.tensor([0.2, 0.5], dtype=x.dtype), keepdim=True),
    "copysign": lambda x: torch.copysign(x, -1.0),
    "clamp_min": lambda x: torch.clamp_min(x, 0.5),
    "clamp_max": lambda x: torch.clamp_max(x, torch.full((3,), 0.5, dtype=x.dtype)),
    "hinge": lambda x: F.hinge_embedding_loss(x, torch.ones_like(x), reduction="none"),
    "margin": lambda x: F.margin_ranking_loss(x, x.detach().flip(0), torch.ones_like(x), 1.0, reduction="none"),
}


@pytest.mark.parametrize("name", VALUES)
def test_infinities_and_nan_are_passed_on_as_pytorch_does(name: str) -> None:
    for x in (INFINITE, ROWS):
        plain, found = VALUES[name](x), VALUES[name](curve(x)).value
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12, equal_nan=True)


SUBGRADIENTS: dict[str, Callable[[Any], Any]] = {
    "std": lambda x: x.std(-1),
    "std_mean": lambda x: torch.std_mean(x, -1)[0],
    "norm, p < 1": lambda x: torch.linalg.vector_norm(x, 0.5, -1),
    "norm, p < 0": lambda x: torch.linalg.vector_norm(x, -1, -1),
    "copysign": lambda x: torch.copysign(x, torch.tensor([-1.0, 1.0, -1.0], dtype=x.dtype)),
}


@pytest.mark.parametrize("name", SUBGRADIENTS)
def test_slopes_at_zero_are_those_of_pytorch(name: str) -> None:
    jet, x = curve(ROWS), ROWS.clone().requires_grad_()
    plain, found = SUBGRADIENTS[name](x), SUBGRADIENTS[name](jet)
    jacobian: Any = torch.autograd.functional.jacobian(SUBGRADIENTS[name], ROWS)
    ROUNDING.check(found.rows[1], (jacobian * jet.rows[1]).sum((-2, -1)))
    (ours,) = torch.autograd.grad(found.rows[0].sum(), jet.rows)
    ROUNDING.check(ours[0], torch.autograd.grad(plain.sum(), x)[0])


@pytest.mark.parametrize("function", [F.log_softmax, lambda x, dim: F.cross_entropy(x, torch.tensor([0, 1, 2, 3]))])
def test_large_offsets_do_not_cost_the_digits_of_a_log_softmax(function: Callable[..., Any]) -> None:
    x = 1e4 + drawn(4, 5).float()
    jet = Jet.seed(x)
    SINGLE.check(function(jet, dim=-1).value, function(x, dim=-1))


EMPTY: dict[str, Callable[[Any], Any]] = {
    "logsumexp": lambda x: torch.logsumexp(x, 0),
    "log_softmax": lambda x: F.log_softmax(x, 0),
    "prod": lambda x: x.prod(0),
    "prod of all": torch.prod,
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
    "rms_norm": lambda x: F.rms_norm(x, (3,)),
    "group_norm": lambda x: F.group_norm(x, 3),
}


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("name", EMPTY)
def test_batches_without_samples_go_forward_and_backward(name: str) -> None:
    jet, function = curve(torch.zeros(0, 3, dtype=DTYPE)), EMPTY[name]
    found = function(jet)
    ROUNDING.check(found.value, function(jet.value))
    if found.rows.requires_grad:
        assert torch.autograd.grad(found.rows.sum(), jet.rows)[0].shape == (2, 0, 3)


@pytest.mark.parametrize("function", [lambda x: x.amax(0), lambda x: x.amin(-1, True), lambda x: x.prod(0)])
def test_a_single_number_has_an_axis_to_reduce(function: Callable[[Any], Any]) -> None:
    jet = curve(torch.tensor(0.7, dtype=DTYPE))
    assert torch.equal(function(jet).rows, jet.rows)


FORMERLY_WRONG: dict[str, Callable[[Any], Any]] = {
    "squeeze of no axis": lambda x: x[:1].squeeze(()),
    "take_along_dim from the end": lambda x: torch.take_along_dim(x, torch.tensor([[-1, 0, -2]]), 1),
    "tensordot over an axis of length 1": lambda x: torch.tensordot(x[:, :1], x, ([1], [0])),  # type: ignore[arg-type]
    "tensordot over an axis of length 1, right": lambda x: torch.tensordot(x, x[:1], ([0], [0])),  # type: ignore[arg-type]
    "conversion with a memory format": lambda x: x.float().double(memory_format=torch.contiguous_format),
    "float_power of complex numbers": lambda x: torch.view_as_real(torch.complex(x, x + 1).float_power(2)),
    "maximum where two tie": lambda x: torch.maximum(x, torch.zeros(3, dtype=DTYPE)),
    "clamp between tensors": lambda x: torch.clamp(x, torch.zeros(3, dtype=DTYPE), x.flip(1).abs()),
}


@pytest.mark.parametrize("name", FORMERLY_WRONG)
def test_what_once_was_wrong(name: str) -> None:
    function, jet = FORMERLY_WRONG[name], Jet.seed(ROWS, drawn(1, *ROWS.shape, seed=2))
    plain = function(ROWS)
    assert function(jet).dtype == plain.dtype
    expected = push(function, jet, backend="reference", create_graph=False).rows
    (SINGLE if "conversion" in name else ENGINE).check(function(jet).rows, expected)


def test_complex_exponents_keep_their_imaginary_part() -> None:
    jet: Any = Jet.seed(drawn(2, 3))
    exponent = torch.tensor(1 + 1j, dtype=torch.complex128)
    found: Any = torch.ldexp(jet, exponent)
    ROUNDING.check(found.rows, (jet * torch.exp2(exponent)).rows)


POINT = torch.tensor(0)
OF_ONE_NUMBER: dict[str, Callable[[Any], Any]] = {
    "cumsum": lambda x: x.cumsum(-1),
    "gather": lambda x: x.gather(0, POINT),
    "gather, longer": lambda x: x.gather(0, POINT[None]),
    "scatter": lambda x: x.scatter(0, POINT, 2 * x),
    "scatter_add": lambda x: x.scatter_add(0, POINT[None], x[None]),
    "scatter_reduce": lambda x: x.scatter_reduce(0, POINT, 3 * x, "mean"),
    "index_add": lambda x: x.index_add(0, POINT[None], x, alpha=2),
    "index_copy": lambda x: x.index_copy(0, POINT[None], 2 * x),
    "index_select": lambda x: x.index_select(0, POINT),
    "flip": lambda x: x.flip(0),
    "transpose": lambda x: x.transpose(0, -1),
    "movedim": lambda x: x.movedim(0, -1),
    "mT": lambda x: x.mT,
}


@pytest.mark.filterwarnings("ignore:.*mT.*deprecated", "ignore:Tensor.mT")
@pytest.mark.parametrize("name", OF_ONE_NUMBER)
def test_a_single_number_has_an_axis_to_index(name: str) -> None:
    function, jet = OF_ONE_NUMBER[name], Jet(tensor([0.7, 0.3, -0.2]), Basis.full(1, 2))
    expected = push(function, jet, backend="reference", create_graph=False)
    assert function(jet).shape == expected.shape
    ROUNDING.check(function(jet).rows, expected.rows)


def along_one(x: Jet) -> Any:
    """A jet over another basis, with one derivative row."""
    return Jet.seed(x.value + 9, x.value[None])


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: torch.quantile(x, -0.1), ValueError, "in .0, 1."),
        (lambda x: torch.quantile(x, 1.2, -1), ValueError, "in .0, 1."),
        (lambda x: torch.quantile(x[:0], 0.5), ValueError, "expected entries"),
        (lambda x: torch.quantile(x, torch.ones(1, 1, dtype=DTYPE)), ValueError, "a number or a vector"),
        (lambda x: F.cross_entropy(x, torch.ones(4, 3, dtype=torch.long)), TypeError, "expected probabilities"),
        (lambda x: torch.diff(x, prepend=along_one(x)), ValueError, "bases"),
        (lambda x: torch.remainder(x, along_one(x)), ValueError, "bases"),
        (lambda x: torch.fmod(along_one(x), x), ValueError, "bases"),
    ],
)
def test_what_has_no_meaning_is_refused(function: Callable[[Any], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        function(Jet.seed(ROWS))


def test_a_trained_magnitude_gets_the_sign_of_a_jet() -> None:
    """The value depends on the constant, though no derivative row does."""
    jet, c = Jet.seed(drawn(2, 3), order=2), drawn(2, 3, seed=1).requires_grad_()
    sign: Any = jet
    found: Any = torch.copysign(c, sign)
    expected = push(lambda x: torch.copysign(c, x), jet, backend="reference")
    ENGINE.check(found.rows, expected.rows)
    (ours,), (theirs,) = (torch.autograd.grad(y.rows.sum(), c) for y in (found, expected))
    ROUNDING.check(ours, theirs)

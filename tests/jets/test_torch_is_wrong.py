"""Where PyTorch's own higher derivatives are silently wrong, and jets are right. Finite differences judge.

Reported as failures once PyTorch mends them: then the docstring of `jetprop.jets.reference`, what CONTRIBUTING and the
documentation say of forward mode, and what the cases of normalisations compose can go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import jacfwd, jacrev

from jetprop.jets import Jet, MissingRuleError, push
from jets.cases.normalization import composed_batch_norm, composed_layer_norm
from jets.rule_cases import drawn
from jets.tolerances import ENGINE, FINITE_DIFFERENCES

# Forward mode compiles decompositions with a deprecated decorator when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

WRONG = 1e-2
"""Errors below it would not count as wrong: the true derivatives are of order 1."""


def mended(what: str) -> str:
    return f"PyTorch {torch.__version__} gets {what} right: mend the documentation as the docstring of this file says"


def second_difference(f: Callable[[float], Tensor], step: float = 1e-3) -> Tensor:
    """f''(0) to fourth order in the step."""
    a, b, c, d, e = (f(k * step) for k in (-2, -1, 0, 1, 2))
    return (-a + 16 * b - 30 * c + 16 * d - e) / (12 * step**2)


def third_difference(f: Callable[[float], Tensor], step: float = 3e-3) -> Tensor:
    """f'''(0) to fourth order in the step."""
    a, b, c, d, e, g = (f(k * step) for k in (-3, -2, -1, 1, 2, 3))
    return (a - 8 * b + 13 * c - 13 * d + 8 * e - g) / (8 * step**3)


def batch_norm(x: Any) -> Any:
    return F.batch_norm(x, None, None, training=True)


def weighted(function: Callable[[Any], Any], shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """A weighted sum of what comes out: plain sums of normalised values are constant."""
    weights = drawn(*shape, seed=4)
    return lambda x: (function(x.reshape(shape)) * weights).sum()


FUNCTIONS = {
    "batch_norm": weighted(batch_norm, (4, 2)),
    "instance_norm": weighted(F.instance_norm, (2, 2, 4)),
    "layer_norm": weighted(lambda x: F.layer_norm(x, (4,)), (2, 4)),
    "det": lambda x: torch.linalg.det(x.reshape(3, 3)),
    "slogdet": lambda x: torch.linalg.slogdet(x.reshape(3, 3))[1],
}
POINTS = {
    "batch_norm": drawn(8),
    "instance_norm": drawn(16),
    "layer_norm": drawn(8),
    "det": drawn(9),
    "slogdet": drawn(9) + 2 * torch.eye(3, dtype=torch.float64).flatten(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nested_forward_mode_is_wrong(name: str) -> None:
    function, x = FUNCTIONS[name], POINTS[name]
    v = drawn(*x.shape, seed=2)
    true = second_difference(lambda t: function(x + t * v))
    scale = float(true.abs())

    twice_backward = v @ jacrev(jacrev(function))(x) @ v
    FINITE_DIFFERENCES.check(twice_backward / scale, true / scale, "reverse over reverse")
    FINITE_DIFFERENCES.check(
        push(function, Jet.seed(x, v[None], order=2), backend="reference").d(0, 0) / scale, true / scale, "the oracle"
    )
    try:
        ours = function(Jet.seed(x, v[None], order=2)).d(0, 0)
        FINITE_DIFFERENCES.check(ours / scale, true / scale, "the engine")
    except MissingRuleError:
        assert name != "batch_norm"

    twice_forward = v @ jacfwd(jacfwd(function))(x) @ v
    assert abs(float(twice_forward - true)) > WRONG * scale, mended(f"nested forward mode through {name}")


@pytest.mark.parametrize(
    ("name", "composed"), [("batch_norm", composed_batch_norm), ("layer_norm", composed_layer_norm)]
)
def test_the_third_reverse_derivative_of_normalisations_is_wrong(name: str, composed: Callable[[Any], Any]) -> None:
    function, x = FUNCTIONS[name], POINTS[name]
    v = drawn(*x.shape, seed=2)
    true = third_difference(lambda t: function(x + t * v))
    scale = float(true.abs())
    jet = Jet.seed(x, v[None], order=3)
    FINITE_DIFFERENCES.check(function(jet).d(0, 0, 0) / scale, true / scale, "the engine")
    composed = weighted(composed, (4, 2) if name == "batch_norm" else (2, 4))
    ENGINE.check(function(jet).rows, push(composed, jet, backend="reference").rows)
    theirs = push(function, jet, backend="reference")
    ENGINE.check(theirs.rows[:3], function(jet).rows[:3])
    assert abs(float(theirs.d(0, 0, 0).detach() - true)) > WRONG * scale, mended(
        f"the third reverse derivative of {name}"
    )


def test_parameter_gradients_of_second_derivatives_through_batch_norm() -> None:
    """One derivative more than the rows: by reverse mode the third, so PyTorch's own would be wrong here as well."""
    x, v = drawn(4, 2), drawn(1, 4, 2, seed=2)
    w = drawn(2, 2, seed=3)
    target = drawn(4, 2, seed=5)

    def loss(norm: Callable[[Any], Any], w: Tensor, backend: Any) -> Tensor:
        second = push(lambda x: norm(torch.tanh(x @ w)), Jet.seed(x, v, order=2), backend=backend).d(0, 0)
        return (second * target).sum()

    def gradient(norm: Callable[[Any], Any], backend: Any) -> Tensor:
        leaf = w.clone().requires_grad_()
        return torch.autograd.grad(loss(norm, leaf, backend), leaf)[0]

    ours = gradient(batch_norm, "engine")
    ENGINE.check(ours, gradient(composed_batch_norm, "reference"))
    along, step = drawn(2, 2, seed=6), 1e-4
    higher, lower = (loss(batch_norm, w + sign * step * along, "engine") for sign in (1, -1))
    slope = (higher - lower) / (2 * step)
    FINITE_DIFFERENCES.check((ours * along).sum() / slope.abs(), slope / slope.abs())
    theirs = gradient(batch_norm, "reference")
    assert float((theirs - ours).abs().max()) > WRONG * float(ours.abs().max()), mended("the same by reverse mode")

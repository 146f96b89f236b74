"""Rows are differentiable, in the rows that went in and in the parameters, once and twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from jetprop.jets import Basis, Jet
from jets.cases.registry import CASES
from jets.rule_cases import DTYPE, Case, drawn

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

BASIS = Basis.full(1, 2)
CONSTANT = {"detach", "data"}
"""Cut off from autograd by their meaning."""
DIFFERENTIABLE = [
    case for case in CASES if case.precision.absolute < 1e-9 and not case.cuda and case.rule not in CONSTANT
]


def carried(function: Callable[..., Any], basis: Basis = BASIS) -> Callable[..., Tensor]:
    """A function of jets as a function of rows; further arguments are tensors."""
    return lambda rows, *parameters: function(Jet(rows, basis), *parameters).rows


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in DIFFERENTIABLE])
def test_once_and_twice_in_the_rows(case: Case) -> None:
    rows = case.jet(BASIS).rows.requires_grad_()
    assert gradcheck(carried(case.function), rows, fast_mode=True)
    assert gradgradcheck(carried(case.function), rows, fast_mode=True)


FUNCTIONS = {
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "relu": F.relu,
    "power": lambda x: (x * x + 0.5) ** 1.5,
    "product": lambda x: x[:, :1] * x,
    "quotient": lambda x: x / (2 + x[:, :1] ** 2),
    "softmax": lambda x: torch.softmax(x, -1),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "matmul": lambda x: x @ x.mT,
}
BASES = {
    "full, order 3": Basis.full(2, 3),
    "directional, order 4": Basis.directional(1, 4),
    "laplacian": Basis.laplacian(3, weights={1: 0.5}),
    "value alone": Basis.full(2, 0),
}


@pytest.mark.parametrize("basis", BASES.values(), ids=BASES.keys())
@pytest.mark.parametrize("name", FUNCTIONS)
def test_over_every_kind_of_basis(name: str, basis: Basis) -> None:
    rows = drawn(len(basis), 3, 2).requires_grad_()
    assert gradcheck(carried(FUNCTIONS[name], basis), rows)
    assert gradgradcheck(carried(FUNCTIONS[name], basis), rows, fast_mode=True)


def batch_norm(x: Any, weight: Tensor, bias: Tensor) -> Any:
    return F.batch_norm(x, None, None, weight, bias, training=True)


def frozen_batch_norm(x: Any, weight: Tensor, bias: Tensor) -> Any:
    return F.batch_norm(x, drawn(2, seed=5), drawn(2, low=0.5, high=2.0, seed=6), weight, bias)


PARAMETERS = {
    "linear": (F.linear, (3, 2), [(4, 2), (4,)]),
    "linear without bias": (F.linear, (3, 2), [(4, 2)]),
    "linear on three axes": (F.linear, (2, 3, 2), [(4, 2), (4,)]),
    "conv1d": (F.conv1d, (2, 2, 4), [(3, 2, 2), (3,)]),
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), (2, 2, 3, 3), [(3, 2, 2, 2), (3,)]),
    "conv3d": (F.conv3d, (1, 2, 2, 2, 2), [(1, 2, 2, 2, 2), (1,)]),
    "conv_transpose2d": (F.conv_transpose2d, (2, 2, 2, 2), [(2, 3, 2, 2), (3,)]),
    "prelu": (F.prelu, (3, 2), [(2,)]),
    "prelu, one slope": (F.prelu, (3, 2), [(1,)]),
    "batch norm": (batch_norm, (4, 2), [(2,), (2,)]),
    "batch norm of images": (batch_norm, (2, 2, 1, 2), [(2,), (2,)]),
    "batch norm, evaluation": (frozen_batch_norm, (3, 2), [(2,), (2,)]),
    "addmm": (lambda x, c, w: torch.addmm(c, x, w), (3, 2), [(4,), (2, 4)]),
    "scale and shift": (lambda x, w, b: w * x.tanh() + b, (3, 2), [(2,), (3, 1)]),
    "exponents": (lambda x, p: (x * x + 0.5) ** p, (3, 2), [(2,)]),
    "base": (lambda x, c: (c * c + 0.5) ** x, (3, 2), [(2,)]),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_once_and_twice_in_the_parameters(name: str) -> None:
    function, shape, parameters = PARAMETERS[name]
    rows = drawn(len(BASIS), *shape).requires_grad_()
    tensors = [drawn(*p, seed=k + 1).requires_grad_() for k, p in enumerate(parameters)]
    assert gradcheck(carried(function), (rows, *tensors))
    assert gradgradcheck(carried(function), (rows, *tensors), fast_mode=True)


def test_gradients_of_rows_are_rows_of_gradients() -> None:
    """∂/∂θ of a derivative along the input is the derivative along the input of ∂/∂θ, for a network as a whole."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)).to(DTYPE)
    x, v = drawn(3, 2), drawn(1, 3, 2, seed=1)
    theirs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(theirs).sum(), theirs, create_graph=True)
    expected = torch.autograd.grad((gradient * v[0]).sum(), list(model.parameters()), allow_unused=True)
    found = torch.autograd.grad(model(Jet.seed(x, v)).d(0).sum(), list(model.parameters()), allow_unused=True)
    for ours, oracle in zip(found, expected, strict=True):
        zero = torch.zeros((), dtype=DTYPE)  # the last bias has no part in first derivatives
        assert torch.allclose(zero if ours is None else ours, zero if oracle is None else oracle)

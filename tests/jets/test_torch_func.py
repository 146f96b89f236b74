"""Transforms of `torch.func` over models that carry jets: they differentiate and batch the rows as anything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from jetprop.jets import Jet
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import ROUNDING


class Block(nn.Module):
    """A layer of each kind that has a backward pass of its own: linear, product, normalisation, tower, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        h = self.first(x)
        return torch.softmax(self.last(torch.tanh(self.norm(h) * h)), -1)


torch.manual_seed(0)
MODEL = Block().to(DTYPE)
PARAMETERS: dict[str, Tensor] = dict(MODEL.named_parameters())
X = drawn(4, 3)


def rows(parameters: dict[str, Tensor], x: Tensor, order: int = 2) -> Tensor:
    return functional_call(MODEL, parameters, (Jet.seed(x, order=order),)).rows


def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    return rows(parameters, x).square().sum()


def test_grad_is_that_of_autograd() -> None:
    found = grad(loss)(PARAMETERS, X)
    expected = torch.autograd.grad(loss(PARAMETERS, X), list(PARAMETERS.values()))
    for name, gradient in zip(PARAMETERS, expected, strict=True):
        ROUNDING.check(found[name], gradient, name)


def test_grad_of_grad_is_that_of_autograd() -> None:
    found = grad(lambda x: grad(loss, 1)(PARAMETERS, x).square().sum())(X)
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(PARAMETERS, x), x, create_graph=True)
    ROUNDING.check(found, torch.autograd.grad(slope.square().sum(), x)[0])


def test_vmap_is_a_loop_over_samples() -> None:
    ROUNDING.check(vmap(lambda x: rows(PARAMETERS, x[None])[:, 0], out_dims=1)(X), rows(PARAMETERS, X))


def test_gradients_of_samples_add_up() -> None:
    found = vmap(grad(loss), (None, 0))(PARAMETERS, X[:, None])
    expected = torch.autograd.grad(loss(PARAMETERS, X), list(PARAMETERS.values()))
    for name, gradient in zip(PARAMETERS, expected, strict=True):
        ROUNDING.check(found[name].sum(0), gradient, name)


def test_jacobians_of_first_derivatives_are_the_second() -> None:
    found: Any = jacrev(lambda x: rows(PARAMETERS, x[None], 1)[1:, 0])(X[0])
    jet = functional_call(MODEL, PARAMETERS, (Jet.seed(X[:1], order=2),))
    for i in range(3):
        for k in range(3):
            ROUNDING.check(found[i, :, k], jet.d(*sorted((i, k)))[0])


def test_what_looks_at_values_does_not_under_a_transform() -> None:
    """Checks that would ask a batched tensor for its entries are left out."""
    matrices = drawn(2, 3, 3, seed=1)
    for function in (torch.linalg.det, torch.linalg.svdvals, lambda a: torch.linalg.eigvalsh(a + a.mT)):
        found = vmap(lambda a, f=function: f(Jet.seed(a, order=1)).rows, out_dims=1)(matrices)
        expected = torch.stack([function(Jet.seed(a, order=1)).rows for a in matrices], 1)
        ROUNDING.check(found, expected)

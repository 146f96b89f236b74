"""Generated cases: any rule, over a basis drawn at random, along random rows, against nested reverse mode.

A few in every run; as many as wanted by `pytest tests/jets/test_generated.py --generated 10000 -n 2`.
"""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from jetprop.jets import Basis, Jet, push
from jetprop.jets.basis import Label, Trace
from jets.cases.registry import CASES
from jets.rule_cases import Case

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

CONSTANT = {"detach", "data"}
"""Cut off from autograd by their meaning: their gradient is nobody's."""
HERE = [case for case in CASES if not case.cuda or torch.cuda.is_available()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("seed", range(int(str(metafunc.config.getoption("--generated")))))


def drawn_basis(draw: random.Random, directions: int, order: int) -> Basis:
    """Some labels up to an order, whatever parts they need, and perhaps a trace."""
    every = Basis.full(directions, order).labels
    labels: list[Label] = [()]
    for _ in range(draw.randint(1, 3)):
        label = draw.choice(every)
        assert isinstance(label, tuple)
        labels += [tuple(i for k, i in enumerate(label) if mask >> k & 1) for mask in range(2 ** len(label))]
    if order >= 2 and draw.random() < 0.3:
        weights = tuple((i, draw.choice([1.0, -0.5, 2.0])) for i in range(directions))
        labels += [(i,) for i in range(directions)] + [Trace(weights)]
    return Basis(labels)


def restricted(rows: Tensor, full: Basis, basis: Basis) -> Tensor:
    """The rows of a basis from those of the full one."""
    return torch.stack(
        [
            torch.stack([w * rows[full.row(i, i)] for i, w in label.weights]).sum(0)
            if isinstance(label, Trace)
            else rows[full.row(*label)]
            for label in basis
        ]
    )


def test_a_case(seed: int) -> None:
    draw = random.Random(seed)
    case: Case = draw.choice(HERE)
    directions = draw.randint(1, 3)
    order = draw.randint(1, min(case.order, 4 - (directions > 1)))
    full, basis = Basis.full(directions, order), drawn_basis(draw, directions, order)
    rows = torch.randn(len(full), *case.x.shape, dtype=case.x.dtype, generator=torch.Generator().manual_seed(seed))
    rows *= draw.choice([0.1, 0.6])
    rows[0] = case.x
    leaf = restricted(rows, full, basis).requires_grad_()
    found = case.function(Jet(leaf, basis)).rows
    weights = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(~seed & 0xFFFF))

    graph = order <= 2 and case.rule not in CONSTANT and found.requires_grad
    every = rows.clone().requires_grad_(graph)
    oracle = push(case.oracle or case.function, Jet(every, full), backend="reference", create_graph=graph).rows
    expected = restricted(oracle, full, basis)
    case.tolerance.check(found, expected, f"{case.name} over {basis!r}")
    if graph:
        (ours,) = torch.autograd.grad((found * weights).sum(), leaf)
        (theirs,) = torch.autograd.grad((expected * weights).sum(), every)
        case.tolerance.check(ours[0], theirs[0], f"gradient in the value, {case.name} over {basis!r}")

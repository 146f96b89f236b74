"""Compilation: a caller's own, of a whole step; and the engine's, of its kernels."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetprop.jets import Basis, Jet, algebra, compilation, compile_kernels, kernels, towers
from jetprop.jets.algebra import compose, compose_adjoint, composition
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import EXACT, ROUNDING

pytestmark = pytest.mark.filterwarnings(
    "ignore::jetprop.jets.KinkWarning",
    "ignore::DeprecationWarning:torch",
    "ignore:.*torch.jit:DeprecationWarning",
    "ignore:.*Dynamo:UserWarning",
)

BASIS = Basis.full(2, 2)

# ---- a caller's compiler --------------------------------------------------------------------------------------------


def step(model: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    """A loss on value and derivatives."""
    y = model(Jet.seed(x, v, basis=BASIS))
    return y.value.square().mean() + y.first.square().mean() + y.second.square().mean()


def loss_and_gradients(model: nn.Module, run: Any) -> list[Tensor]:
    model.zero_grad()
    x, v = drawn(4, 3), drawn(2, 4, 3, seed=1)
    loss = run(model, x, v)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


class Mixed(nn.Module):
    """A bit of everything that a model does between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)
        self.norm, self.slope = nn.BatchNorm1d(4), nn.PReLU(4)
        self.conv, self.scale = nn.Conv1d(1, 2, 3, padding=1), nn.Parameter(torch.ones(4))

    def forward(self, x: Any) -> Any:
        identity = h = self.norm(F.gelu(self.first(x)))
        h = self.second(h)
        h += identity
        h = self.slope(h) * self.scale + torch.softmax(h, -1)
        h = F.max_pool1d(self.conv(h.unsqueeze(1)), 2).flatten(1)
        out = torch.cat([h[:, 1:], h[:, :1] ** 3, torch.ones_like(h[:, :1])], dim=-1)
        out[:, 0] = 0.5
        return torch.where(out > 0, out, 2 * out).sum(-1) / (1 + out.max(-1).values ** 2)


def test_a_whole_model_is_traced_in_one_graph() -> None:
    model = Mixed().to(DTYPE)
    eager = loss_and_gradients(model, step)
    traced = loss_and_gradients(model, torch.compile(step, fullgraph=True, backend="aot_eager"))
    for found, expected in zip(traced, eager, strict=True):
        ROUNDING.check(found, expected)


C = drawn(3, 3, low=0.4, high=1.6, seed=8)


def augmented(x: Any, y: Any) -> Any:
    x = x.clone()
    x += y
    x -= 2 * y
    x *= y
    x /= y
    return x


OPERATORS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": lambda x, y: x**y,
    "comparisons": lambda x, y: torch.where((x < y) | (x >= 1.2) | (y == 1.0), x * 1, y * 2),
    "augmented": augmented,
    "functions": lambda x, y: torch.sub(x * C, y * C) * torch.matmul(x * C, y * C) + torch.maximum(x * C, y * C),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_traced_as_they_run(name: str) -> None:
    """Dynamo calls its own choice of methods for them, now and then with the operands exchanged."""
    operate: Any = OPERATORS[name]
    calls: dict[str, Any] = {
        "jet, tensor": lambda jet: operate(jet, C),
        "jet, jet": lambda jet: operate(jet, jet.T),
        "jet, number": lambda jet: operate(jet, 2.0),
        "tensor, jet": lambda jet: operate(C, jet),
        "number, jet": lambda jet: operate(2.0, jet),
    }
    jet = Jet(drawn(len(BASIS), 3, 3, low=0.4, high=1.6), BASIS)
    for operands, call in calls.items():
        if name == "augmented" and not operands.startswith("jet"):
            continue
        compiled = torch.compile(call, fullgraph=True, backend="eager")(jet)
        ROUNDING.check(compiled.rows, call(jet).rows, operands)


def indexed(x: Any) -> Any:
    index, mask = torch.tensor([2, 0]), torch.tensor([True, False, True])
    out = x[index] * x[:, index].T.sum() + x[0, 1:, None] * x[0]
    out[0].add_(1.0)
    summed = torch.stack(list(x.unbind(0))).sum() + x.reshape(x.shape[0], -1).size(-1)
    return out.masked_fill(mask, 0.0) + summed


def test_indexing_is_traced_as_it_runs() -> None:
    jet = Jet(drawn(len(BASIS), 3, 3), BASIS)
    ROUNDING.check(torch.compile(indexed, fullgraph=True, backend="eager")(jet).rows, indexed(jet).rows)


def test_matrix_products_by_operator_are_not_confused() -> None:
    """Dynamo calls `jet @ tensor` as `tensor.matmul(jet)`: refused in one graph, right where it may break."""
    jet = Jet(drawn(len(BASIS), 3, 3), BASIS)
    for product in (lambda x: x @ C, lambda x: C @ x):
        with pytest.raises(RuntimeError, match="torch.compile confuses `jet @ tensor`"):
            torch.compile(product, fullgraph=True, backend="eager")(jet)
        ROUNDING.check(torch.compile(product, backend="eager")(jet).rows, product(jet).rows)


def through_a_view(x: Any) -> Any:
    x = x.clone()
    view = x[0]
    view += C[0]
    return x


@pytest.mark.xfail(reason="Dynamo calls `jet += tensor` as `tensor.add(jet)`, which writes nowhere", strict=True)
def test_augmented_assignment_of_a_tensor_to_a_view() -> None:
    jet = Jet(drawn(len(BASIS), 3, 3), BASIS)
    ROUNDING.check(torch.compile(through_a_view, backend="eager")(jet).rows, through_a_view(jet).rows)


@pytest.mark.xfail(reason="Dynamo looks for jets in lists, not in tuples", strict=True, raises=RuntimeError)
def test_tuples_of_jets() -> None:
    jet = Jet(drawn(len(BASIS), 3, 3), BASIS)
    torch.compile(lambda x: torch.cat((x, x)), fullgraph=True, backend="eager")(jet)


@pytest.mark.compiled
def test_a_step_compiles_as_a_whole() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(DTYPE)
    eager = loss_and_gradients(model, step)
    compiled = loss_and_gradients(model, torch.compile(step, fullgraph=True))
    for found, expected in zip(compiled, eager, strict=True):
        ROUNDING.check(found, expected)


# ---- the kernels' compiler ------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels as after import, compiling from the first element."""
    monkeypatch.setattr(kernels, "COMPILE_FROM", 1)
    state = {"_compiled": {}, "_seconds": {}, "_fallback": None, "_mode": "auto", "_rows_met": defaultdict(int)}
    for name, value in state.items():
        monkeypatch.setattr(kernels, name, value)


def gelu_and_product(rows: Tensor) -> list[Tensor]:
    rows = rows.detach().requires_grad_()
    jet = Jet(rows, BASIS)
    y: Any = F.gelu(jet)  # type: ignore[arg-type]
    out = (y * jet).rows
    (slope,) = torch.autograd.grad(out.square().sum(), rows)
    return [out.detach(), slope]


@pytest.mark.compiled
def test_compiled_kernels_equal_the_eager_ones(fresh, monkeypatch) -> None:
    sizes = [(3, 5), (7,), (2, 3, 2)]  # one kernel serves all
    found = [gelu_and_product(drawn(len(BASIS), *size)) for size in sizes]
    record = compilation()
    assert record["mode"] == "auto" and record["eager_because"] is None
    assert set(record["kernels"]) == {
        "gelu forward, 6 rows, float64",
        "gelu adjoint, 6 rows, float64",
        "product forward, 6 rows, float64",
        "product adjoint, 6 rows, float64",
    }
    assert all(seconds > 0 for seconds in record["kernels"].values())
    monkeypatch.setattr(kernels, "_mode", "never")
    for size, pair in zip(sizes, found, strict=True):
        for ours, eager in zip(pair, gelu_and_product(drawn(len(BASIS), *size)), strict=True):
            ROUNDING.check(ours, eager)


def test_without_a_compiler_it_says_so_once(fresh, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "_compiler_present", lambda device: False)
    rows = drawn(len(BASIS), 3)
    with pytest.warns(RuntimeWarning, match="runs its kernels eagerly .* no compiler for cpu found") as caught:
        first = gelu_and_product(rows)
    assert len(caught) == 1
    assert "no compiler for cpu" in compilation()["eager_because"] and compilation()["kernels"] == {}
    for again, before in zip(gelu_and_product(rows), first, strict=True):
        EXACT.check(again, before)


def test_a_compiler_that_fails_is_not_fatal(fresh, monkeypatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("C++ compile error\nwith details")

    monkeypatch.setattr(kernels, "_compiler_present", lambda device: True)
    monkeypatch.setattr(kernels, "make_fx", broken)
    with pytest.warns(RuntimeWarning, match="eagerly .* RuntimeError: C.. compile error"):
        found = gelu_and_product(drawn(len(BASIS), 3))
    monkeypatch.setattr(kernels, "_mode", "never")
    for ours, eager in zip(found, gelu_and_product(drawn(len(BASIS), 3)), strict=True):
        EXACT.check(ours, eager)
    assert compilation()["eager_because"] == "RuntimeError: C++ compile error"


def test_small_calls_are_not_compiled(fresh, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "COMPILE_FROM", 1 << 17)
    gelu_and_product(drawn(len(BASIS), 3))
    assert compilation()["kernels"] == {} and compilation()["eager_because"] is None


@pytest.mark.compiled
def test_small_calls_are_compiled_once_they_have_become_many(fresh, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "COMPILE_FROM", 1 << 17)
    monkeypatch.setattr(kernels, "COMPILE_AFTER", 3 * len(BASIS))
    rows = drawn(len(BASIS), 3)
    found = [[tensor.clone() for tensor in gelu_and_product(rows)] for _ in range(2)]
    assert "gelu forward, 6 rows, float64" not in compilation()["kernels"]
    found.append(gelu_and_product(rows))
    assert "gelu forward, 6 rows, float64" in compilation()["kernels"]
    for pair in found[1:]:
        for ours, eager in zip(pair, found[0], strict=True):
            ROUNDING.check(ours, eager)


@pytest.mark.compiled
def test_a_kernel_that_first_meets_one_entry_serves_many(fresh, monkeypatch) -> None:
    monkeypatch.setattr(kernels.tiles, "tiled", lambda graph, dtype: None)  # as on a GPU
    found = [gelu_and_product(drawn(len(BASIS), n)) for n in (1, 5)]
    assert compilation()["eager_because"] is None
    monkeypatch.setattr(kernels, "_mode", "never")
    for n, pair in zip((1, 5), found, strict=True):
        for ours, eager in zip(pair, gelu_and_product(drawn(len(BASIS), n)), strict=True):
            ROUNDING.check(ours, eager)


@pytest.mark.compiled
def test_by_size_alone_small_calls_stay_eager_whatever_was_before(fresh, monkeypatch) -> None:
    rows = drawn(len(BASIS), 3)
    gelu_and_product(rows)  # compiles
    monkeypatch.setattr(kernels, "COMPILE_FROM", 1 << 17)
    compile_kernels("large")
    found = gelu_and_product(rows)
    compile_kernels("never")
    for ours, eager in zip(found, gelu_and_product(rows), strict=True):
        EXACT.check(ours, eager)


def test_compilation_can_be_forbidden(fresh) -> None:
    compile_kernels("never")
    gelu_and_product(drawn(len(BASIS), 3))
    assert compilation() == {"mode": "never", "kernels": {}, "eager_because": None}
    with pytest.raises(ValueError, match='"auto", "large" or "never", got \'always\''):
        compile_kernels("always")  # type: ignore[arg-type]


# ---- Horner's scheme ------------------------------------------------------------------------------------------------

TOWERS = {
    "gelu": towers.gelu,
    "relu": towers.relu,
    "square": towers.square,
    "cube": lambda z, order: towers.pow(z, order, 3.0),
    "step": towers.stepwise(torch.sign),
}
BASES = [
    Basis.full(2, 4),
    Basis.directional(2, 3),
    Basis.laplacian(3, weights={1: 0.5}),
    Basis.full(3, 1),
    Basis.full(2, 0),
]


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("name", TOWERS)
def test_horners_scheme_equals_the_unrolled_polynomials(name: str, basis: Basis, monkeypatch) -> None:
    z, g = drawn(len(basis), 5).unbind(0), drawn(len(basis), 5, seed=1).unbind(0)
    tower = TOWERS[name](z[0], basis.order + 1)

    def both() -> list[Tensor]:
        formula = composition(basis)
        rows = [*compose(formula, tower[: basis.order + 1], z), *compose_adjoint(formula, tower, z, g)]
        return [torch.zeros_like(z[0]) if row is None else row for row in rows]

    unrolled = both()
    monkeypatch.setattr(algebra, "UNROLLED_MULTIPLICATIONS", -1)
    composition.cache_clear()
    try:
        assert composition(basis).forward is None or basis.order < 2
        for found, expected in zip(both(), unrolled, strict=True):
            ROUNDING.check(found, expected)
    finally:
        composition.cache_clear()


def test_horners_scheme_takes_over_in_a_network() -> None:
    """A basis too large to unroll, against a smaller one that is part of it."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)).to(DTYPE)
    large, small = Basis.full(5, 4), Basis.full([1, 3], 4)
    assert composition(large).forward is None and composition(small).forward is not None
    rows = drawn(len(large), 2, 5)
    part = [large.row(*label) for label in small]  # type: ignore[arg-type]
    found, expected = model(Jet(rows, large)).rows[part], model(Jet(rows[part], small)).rows
    ROUNDING.check(found, expected)

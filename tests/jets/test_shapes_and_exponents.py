"""Shapes, axes, indices, operands and exponents, generated."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jetprop.jets import Basis, Jet, push
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import ENGINE, ROUNDING

pytestmark = pytest.mark.filterwarnings("ignore::jetprop.jets.KinkWarning")

BASIS = Basis.full(2, 2)
FEW = settings(max_examples=40)

shapes = st.lists(st.integers(1, 3), min_size=0, max_size=4).map(tuple)
seeds = st.integers(0, 99)


def jet(shape: tuple[int, ...], seed: int = 0, low: float = -1.5, high: float = 1.5) -> Jet:
    rows = drawn(len(BASIS), *shape, seed=seed)
    rows[0] = drawn(*shape, low=low, high=high, seed=seed + 1)
    return Jet(rows, BASIS)


def row_by_row(function, x: Jet) -> Tensor:
    """What a linear function makes of the rows, one after the other."""
    return torch.stack([function(row) for row in x.rows])


def check(function, x: Jet) -> None:
    """Against plain rows if linear: the slow way says the same of the value's axes."""
    found = function(x)
    plain = function(x.value)
    assert found.shape == plain.shape and found.dtype == plain.dtype
    ROUNDING.check(found.rows, row_by_row(function, x))


# ---- reductions, axes -----------------------------------------------------------------------------------------------


@st.composite
def reductions(draw) -> tuple[tuple[int, ...], Any, bool]:
    shape = draw(shapes)
    n = len(shape)
    some = st.lists(st.integers(0, max(n, 1) - 1), max_size=n, unique=True).flatmap(
        lambda axes: st.tuples(*(st.sampled_from([a, a - max(n, 1)]) for a in axes))
    )
    return shape, draw(st.none() | st.integers(-max(n, 1), max(n, 1) - 1) | some), draw(st.booleans())


@FEW
@given(reductions(), st.sampled_from(["sum", "mean"]))
def test_sums_over_axes(case, name: str) -> None:
    shape, dim, keepdim = case
    if not shape:
        check(lambda x: getattr(x, name)(), jet(shape))
    elif dim is None:
        check(lambda x: getattr(x, name)() + getattr(torch, name)(x, None, keepdim), jet(shape))
    else:
        check(lambda x: getattr(x, name)(dim, keepdim), jet(shape))
        check(lambda x: getattr(torch, name)(x, dim=dim, keepdim=keepdim), jet(shape))


@FEW
@given(reductions(), st.sampled_from(["var", "logsumexp"]))
def test_other_reductions_over_axes(case, name: str) -> None:
    shape, dim, keepdim = case
    dim = 0 if dim is None else dim
    if not shape or dim == () or (name == "var" and torch.zeros(shape).sum(dim).numel() == math.prod(shape)):
        return
    x = jet(shape)
    ENGINE.check(
        getattr(torch, name)(x, dim, keepdim=keepdim).rows,
        push(lambda x: getattr(torch, name)(x, dim, keepdim=keepdim), x, backend="reference").rows,
    )


@FEW
@given(shapes, st.data())
def test_one_axis(shape, data) -> None:
    n = max(len(shape), 1)
    dim = data.draw(st.integers(-n, n - 1))
    other = data.draw(st.integers(-n, n - 1))
    x = jet(shape)
    check(lambda x: x.unsqueeze(dim), x)
    check(lambda x: x.squeeze(dim), x)
    check(lambda x: x.squeeze(), x)
    check(lambda x: torch.stack([x, x], dim), x)
    check(lambda x: x.flatten(), x)
    if not shape:
        return
    check(lambda x: x.cumsum(dim), x)
    check(lambda x: x.transpose(dim, other), x)
    check(lambda x: x.movedim(dim, other), x)
    check(lambda x: x.flip(dim), x)
    check(lambda x: x.roll(1, dim), x)
    check(lambda x: torch.cat([x, x], dim), x)
    check(lambda x: x.unbind(dim)[-1], x)
    check(lambda x: x.chunk(2, dim)[0], x)
    check(lambda x: x.split(1, dim)[-1], x)
    check(lambda x: x.narrow(dim, 0, 1), x)
    check(lambda x: x.select(dim, -1), x)
    check(lambda x: x.repeat_interleave(2, dim), x)
    check(lambda x: x.index_select(dim, torch.tensor([0, 0])), x)
    check(lambda x: x.unflatten(dim, (1, -1)), x)
    found, index = x.max(dim, keepdim=True)
    assert torch.equal(found.rows, row_by_row(lambda row: row.gather(dim, index), x))
    for name in ("softmax", "log_softmax", "prod"):
        function = getattr(torch, name)
        ENGINE.check(function(x, dim).rows, push(lambda x, f=function: f(x, dim), x, backend="reference").rows)


@FEW
@given(shapes, st.randoms(use_true_random=False))
def test_permutations(shape, random) -> None:
    axes = list(range(len(shape)))
    random.shuffle(axes)
    axes = [a if random.random() < 0.5 else a - len(shape) for a in axes]
    check(lambda x: x.permute(axes), jet(shape))
    check(lambda x: x.permute(*axes) if axes else x, jet(shape))


@pytest.mark.parametrize("dim", [2, -3])
@pytest.mark.parametrize("name", ["unbind", "softmax", "cumsum", "flip", "sum"])
def test_axes_out_of_range_do_not_reach_the_rows(name: str, dim: int) -> None:
    with pytest.raises(IndexError, match=f"range.*{dim}|{dim}.*range"):
        getattr(jet((2, 3)), name)(dim)


# ---- indexing -------------------------------------------------------------------------------------------------------


@st.composite
def indices(draw) -> tuple[tuple[int, ...], tuple]:
    """A shape and an index of each kind for some of its axes, with an ellipsis and new axes in between."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
    parts = []
    arrays = draw(st.booleans())
    for size in shape[: draw(st.integers(0, len(shape)))]:
        bound = st.integers(-size, size - 1)
        slices = st.builds(slice, st.none() | bound, st.none() | bound, st.none() | st.integers(1, 2))
        kinds = [bound, slices, bound.map(torch.tensor)]
        if arrays:
            kinds.append(st.lists(bound, min_size=2, max_size=2).map(torch.tensor))
            kinds.append(st.lists(st.booleans(), min_size=size, max_size=size).map(torch.tensor))
            arrays = False  # one array at most: where several go is tested elsewhere
        parts.append(draw(st.one_of(kinds)))
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return shape, tuple(parts)


@settings(max_examples=150)
@given(indices())
def test_indexing(case) -> None:
    shape, index = case
    x = jet(shape)
    assert torch.equal(x[index].rows, row_by_row(lambda row: row[index], x))
    if len(index) == 1:
        assert torch.equal(x[index[0]].rows, row_by_row(lambda row: row[index[0]], x))


@settings(max_examples=100)
@given(indices(), st.booleans())
def test_writing_by_index(case, constant: bool) -> None:
    shape, index = case
    x = jet(shape)
    inner = tuple(x.value[index].shape)
    value = drawn(*inner, seed=7) if constant else jet(inner, seed=7)
    expected = x.rows.clone()
    for row in range(len(BASIS)):
        expected[row][index] = (value if row == 0 else 0.0) if isinstance(value, Tensor) else value.rows[row]
    x[index] = value
    assert torch.equal(x.rows, expected)


def test_arrays_next_to_each_other() -> None:
    x = jet((3, 3, 3))
    i, j = torch.tensor([0, 2]), torch.tensor([1, 1])
    for index in [(i, j), (slice(None), i, j), (..., i, j), (i, j, 0), ([0, 1], [1, 2]), (i[:, None], j)]:
        assert torch.equal(x[index].rows, row_by_row(lambda row, k=index: row[k], x))


@pytest.mark.parametrize("index", [([0, 1], slice(None), [0, 1]), (torch.tensor([0]), None, torch.tensor([1]))])
def test_arrays_apart_raise(index) -> None:
    with pytest.raises(TypeError, match=r"separated places \[0, 2\]"):
        jet((3, 3, 3))[index]


# ---- two operands ---------------------------------------------------------------------------------------------------


@st.composite
def broadcastable(draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    whole = draw(st.lists(st.integers(1, 3), max_size=3).map(tuple))

    def part() -> tuple[int, ...]:
        kept = tuple(size if draw(st.booleans()) else 1 for size in whole)
        return kept[draw(st.integers(0, len(kept))) :]

    return part(), part()


BINARY = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": lambda x, y: x**y,
    "maximum": torch.maximum,
    "where": lambda x, y: torch.where(torch.tensor([True, False, True])[: max(_last(x), _last(y))], x, y),
    "lerp": lambda x, y: torch.lerp(x, y, 0.3),
    "addcmul": lambda x, y: torch.addcmul(x, y, y),
}


def _last(x: Any) -> int:
    return x.shape[-1] if x.dim() else 1


@settings(max_examples=100)
@given(broadcastable(), st.sampled_from(sorted(BINARY)), st.sampled_from(["both", "left", "right"]))
def test_operands_broadcast(sizes, name: str, jets: str) -> None:
    function = BINARY[name]
    x, y = (jet(shape, seed, low=0.4, high=2.0) for shape, seed in zip(sizes, (1, 2), strict=True))
    operands = {"both": (x, y), "left": (x, y.value), "right": (x.value, y)}[jets]
    found = function(*operands)
    assert found.shape == function(x.value, y.value).shape
    flat = Jet(torch.cat([x.rows.reshape(len(BASIS), -1), y.rows.reshape(len(BASIS), -1)], 1), BASIS)

    def joined(z: Any) -> Any:
        a, b = z[: x.numel()].reshape(x.shape), z[x.numel() :].reshape(y.shape)
        return function(a if jets != "right" else x.value, b if jets != "left" else y.value)

    ENGINE.check(found.rows, push(joined, flat, backend="reference").rows)


@st.composite
def factors(draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    n, k, m = (draw(st.integers(1, 3)) for _ in range(3))
    batch = draw(st.lists(st.integers(1, 2), max_size=2).map(tuple))

    def part() -> tuple[int, ...]:
        kept = tuple(size if draw(st.booleans()) else 1 for size in batch)
        return kept[draw(st.integers(0, len(kept))) :]

    left = draw(st.sampled_from(["vector", "matrix"]))
    right = draw(st.sampled_from(["vector", "matrix"]))
    return ((k,) if left == "vector" else (*part(), n, k)), ((k,) if right == "vector" else (*part(), k, m))


@settings(max_examples=100)
@given(factors(), st.sampled_from(["both", "left", "right"]))
def test_matrix_products_of_every_rank(sizes, jets: str) -> None:
    x, y = (jet(shape, seed) for shape, seed in zip(sizes, (1, 2), strict=True))
    zero = torch.zeros((), dtype=DTYPE)
    u = [*x.rows] if jets != "right" else [x.value, *[zero] * (len(BASIS) - 1)]
    v = [*y.rows] if jets != "left" else [y.value, *[zero] * (len(BASIS) - 1)]
    plain = x.value @ y.value
    expected = [torch.zeros_like(plain) for _ in BASIS]
    for row, left, right, factor in BASIS.terms:
        if u[left] is not zero and v[right] is not zero:
            expected[row] += factor * (u[left] @ v[right])
    found = {"both": lambda: x @ y, "left": lambda: x @ y.value, "right": lambda: x.value @ y}[jets]()
    ROUNDING.check(found.rows, torch.stack(expected))


# ---- exponents ------------------------------------------------------------------------------------------------------

EXPONENTS = [0, 1, 2, 3, 5, -1, -2, 0.5, 1.5, -0.5, 2.0, 0.0]
as_number = st.sampled_from(EXPONENTS) | st.floats(-3, 3).map(lambda p: round(p, 3))


@settings(max_examples=80)
@given(as_number, st.sampled_from(["number", "0-d tensor", "tensor", "trained tensor"]), st.integers(1, 4))
def test_exponents(p: float, form: str, order: int) -> None:
    basis = Basis.full(1, order)
    rows = drawn(len(basis), 2, seed=3)
    rows[0] = torch.tensor([0.4, 1.7])
    x = Jet(rows, basis)
    exponent: Any = {
        "number": p,
        "0-d tensor": torch.tensor(p, dtype=DTYPE),
        "tensor": torch.tensor([p, p], dtype=DTYPE),
        "trained tensor": torch.tensor([p, p], dtype=DTYPE, requires_grad=True),
    }[form]
    found = x**exponent
    expected, factor = [x.value**p], 1.0
    for k in range(order):
        factor *= p - k
        expected.append(factor * x.value ** (p - k - 1))
    straight = Jet.seed(x.value, torch.ones(1, 2), order=order) ** exponent
    ENGINE.check(straight.rows, torch.stack(expected))
    ENGINE.check(found.rows, push(lambda z: z**p, x, backend="reference").rows)


@pytest.mark.parametrize("p", [0, 1, 2, 3, 2.0])
@pytest.mark.parametrize("form", [lambda p: p, torch.tensor, lambda p: torch.tensor([p]), lambda p: torch.ones(1) * p])
def test_integer_powers_at_zero(p: float, form) -> None:
    """No 0·∞: derivatives beyond the exponent vanish, those below it too, and the p-th is p!."""
    y = Jet.seed(torch.zeros(1, dtype=DTYPE), torch.ones(1, 1), order=4) ** form(p)
    expected = [math.factorial(int(p)) if k == p else 0.0 for k in range(5)]
    assert y.rows[:, 0].tolist() == expected


@pytest.mark.parametrize("p", [2, 3, -1, -2])
def test_integer_powers_of_negative_numbers(p: int) -> None:
    x = jet((3,), low=-2.0, high=-0.5)
    expected = push(lambda x: x**p, x, backend="reference").rows
    for exponent in (p, torch.tensor(p), torch.tensor([p] * 3), torch.tensor([float(p)] * 3)):
        ENGINE.check((x**exponent).rows, expected)


def test_zero_to_the_power_of_a_jet() -> None:
    y = torch.zeros(2, dtype=DTYPE) ** Jet.seed(torch.ones(2, dtype=DTYPE), torch.ones(1, 2), order=2)
    assert y.rows.tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("x", [torch.zeros(2, 3, dtype=DTYPE), torch.ones(0, 3, dtype=DTYPE)])
def test_empty_and_zero_batches(x: Tensor) -> None:
    layer = torch.nn.Linear(3, 2, dtype=DTYPE)
    found = layer(Jet.seed(x, order=2).tanh())
    assert found.shape == (len(x), 2)
    assert found.softmax(-1).rows.shape == (10, len(x), 2)


@pytest.mark.parametrize("seed", range(20))
def test_chains_of_functions(seed: int) -> None:
    """Random chains of three functions, at order 3."""
    generator = torch.Generator().manual_seed(seed)
    pool = [torch.tanh, torch.sin, torch.exp, lambda x: 1 / (2 + x * x), lambda x: x * x.flip(-1)]
    pool += [lambda x: torch.softmax(x, -1), lambda x: torch.atan(x) ** 3, lambda x: x @ torch.ones(2, 2, dtype=DTYPE)]
    chosen = [pool[int(torch.randint(len(pool), (), generator=generator))] for _ in range(3)]

    def chain(x: Any) -> Any:
        for function in chosen:
            x = function(x)
        return x

    basis = Basis.full(2, 3)
    x = Jet(drawn(len(basis), 2, 2, seed=seed), basis)
    ENGINE.check(chain(x).rows, push(chain, x, backend="reference").rows)

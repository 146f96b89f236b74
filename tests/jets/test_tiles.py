"""The kernels for CPUs, against the same functions run eagerly."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from jetprop.jets import Basis, kernels, tiles, towers
from jets.rule_cases import DTYPE, drawn
from jets.tolerances import ROUNDING

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")


def traced(function: Any, *rows: Tensor) -> torch.fx.GraphModule:
    return make_fx(function, tiles.DECOMPOSITIONS, tracing_mode="symbolic")(*rows)


UNARY = """abs neg exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal tanh sin cos tan sinh cosh asin acos atan
    asinh atanh erf erfc lgamma digamma floor ceil trunc sigmoid relu sign""".split()
ROWS: dict[str, Any] = {name: getattr(torch, name) for name in UNARY} | {
    "acosh": lambda z: torch.acosh(1 + z),
    "arithmetic": lambda z: 2 - 3 * z / (z + 0.5) - z * z,
    "pow": lambda z: z**1.7 + z**-3,
    "masks": lambda z: torch.where(((z > 0.2) & (z <= 0.6)) | (z >= 0.8), z, 5.0) + (z < 0.5).to(z.dtype),
    "true": lambda z: torch.where(torch.ones_like(z, dtype=torch.bool) & (z > 0.5), z, -torch.inf),
    "extrema": lambda z: torch.maximum(z, 1 - z) * torch.minimum(z, 1 - z) * torch.clamp(z, 0.3, 0.7),
    "not a number": lambda z: torch.relu(torch.where(z > 0.5, torch.nan, z)) + torch.clamp(z * torch.nan, 0, 1),
    "constant": lambda z: torch.full_like(z, 0.3),
    "zero": torch.zeros_like,
    "the row itself": lambda z: z,
}


def every_operation(rows: Tensor) -> Tensor:
    return torch.stack([f(z) for f, z in zip(ROWS.values(), rows.unbind(0), strict=True)])


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_operation(dtype: torch.dtype) -> None:
    kernel = tiles.tiled(traced(every_operation, drawn(len(ROWS), 5).to(dtype)), dtype)
    assert kernel is not None
    for entries in (1, 64, 531, 2000):  # less than a vector; whole vectors; a tile and a rest; several tiles
        rows = drawn(len(ROWS), entries, low=0.05, high=0.95).to(dtype)
        for name, found, expected in zip(ROWS, kernel(rows), every_operation(rows), strict=True):
            torch.testing.assert_close(found, expected, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.compiled
@pytest.mark.parametrize("basis", [Basis.full(3, 2), Basis.full(2, 4), Basis.laplacian(3)], ids=str)
def test_compositions_and_their_adjoints(basis: Basis) -> None:
    rows = [drawn(len(basis), 300, seed=seed) for seed in (0, 1)]
    pair: list[tuple[Any, int]] = [(kernels._tower_forward, 1), (kernels._tower_adjoint, 2)]
    for function, count in pair:
        operands = rows[:count]
        kernel = tiles.tiled(traced(partial(function, tower=towers.gelu, basis=basis), *operands), DTYPE)
        assert kernel is not None
        ROUNDING.check(kernel(*operands), function(*operands, towers.gelu, basis))


TOWERS = "sigmoid tanh relu leaky_relu gelu silu softplus elu selu mish sin cos exp log clamp pow lgamma".split()


def test_the_towers_of_activations_have_expressions() -> None:
    """That of ln Γ has not: there are no vectors of polygamma functions in C++."""
    options: dict[str, dict] = {"clamp": {"min": -0.5, "max": 0.5}, "pow": {"exponent": 1.5}}
    missing = set()
    for name in TOWERS:
        tower: Any = partial(getattr(towers, name), **options.get(name, {}))
        graph = traced(partial(kernels._tower_forward, tower=tower, basis=BASIS), ONE)
        try:
            tiles._source(graph, DTYPE, "double")
        except tiles._UnknownError:
            missing.add(name)
    assert missing == {"lgamma"}


BASIS = Basis.full(1, 2)
ONE = drawn(len(BASIS), 4, low=0.1, high=0.9)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda rows: torch.stack([torch.polygamma(1, z) for z in rows.unbind(0)]), id="operation"),
        pytest.param(lambda rows: torch.stack(rows.unbind(0)[:2]), id="fewer rows"),
        pytest.param(lambda rows: torch.stack(rows.unbind(0), 1).t(), id="axis"),
        pytest.param(lambda rows: torch.stack([z.to(torch.float32).to(DTYPE) for z in rows.unbind(0)]), id="dtypes"),
        pytest.param(lambda rows: torch.stack([(z > 0.5) * z for z in rows.unbind(0)]), id="a mask as a number"),
        pytest.param(lambda rows: torch.stack([rows[:, 0]] * len(BASIS)), id="columns"),
        pytest.param(lambda rows: torch.stack(rows[:, :3].unbind(1)), id="unbound columns"),
        pytest.param(lambda rows: torch.stack([torch.rsub(z, 1.0, alpha=2) for z in rows.unbind(0)]), id="scaled"),
        pytest.param(lambda rows: torch.stack([torch.add(z, z, alpha=2) for z in rows.unbind(0)]), id="alpha"),
    ],
)
def test_what_has_no_expression_is_left_to_others(function: Any) -> None:
    assert tiles.tiled(traced(function, ONE), DTYPE) is None


def test_half_precision_is_left_to_others() -> None:
    assert tiles.tiled(traced(lambda rows: torch.stack(rows.unbind(0)), ONE.bfloat16()), torch.bfloat16) is None

"""Elementwise kernels for CPUs, row after row within a tile of entries.

A compiler that fuses a kernel into one loop over the entries reads and writes all rows in step. With 28 rows these are
56 streams, more than a processor foresees, and it waits for memory. Here a kernel walks through tiles of some hundred
entries and, within a tile, from row to row: few streams are open at a time, each is fetched a tile ahead, and what
several rows need (f', f'', …) waits in the first-level cache.

The arithmetic comes as a traced graph over rows: `unbind`, pointwise operations, `stack`. Its order is kept. It is cut
wherever a row of the result is complete, and each piece becomes a loop over the tile.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from operator import getitem
from re import findall
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._decomp import get_decompositions
from torch.fx import GraphModule, Node

__all__ = ["DECOMPOSITIONS", "tiled"]

aten = torch.ops.aten
log = logging.getLogger("jetprop")

_METHODS = """abs neg exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal tanh sin cos tan sinh cosh asin acos
    atan asinh acosh atanh erf erfc lgamma digamma floor ceil trunc""".split()
_EXPRESSIONS: dict[Any, str] = {getattr(aten, name).default: f"{{0}}.{name}()" for name in _METHODS} | {
    aten.add.Tensor: "{0} + {1}",
    aten.sub.Tensor: "{0} - {1}",
    aten.rsub.Scalar: "{1} - {0}",
    aten.mul.Tensor: "{0} * {1}",
    aten.div.Tensor: "{0} / {1}",
    aten.pow.Tensor_Scalar: "{0}.pow({1})",
    aten.sigmoid.default: "V(1) / (V(1) + {0}.neg().exp())",
    aten.relu.default: "at::vec::maximum({0}, V(0))",
    aten.sign.default: "V::blendv(V::blendv(V(0), V(1), {0} > V(0)), V(-1), {0} < V(0))",
    aten.gt.Scalar: "{0} > {1}",
    aten.ge.Scalar: "{0} >= {1}",
    aten.lt.Scalar: "{0} < {1}",
    aten.le.Scalar: "{0} <= {1}",
    aten.ne.Tensor: "{0} != {1}",
    aten.isnan.default: "{0} != {0}",
    aten.bitwise_and.Tensor: "{0} & {1}",
    aten.bitwise_or.Tensor: "{0} | {1}",
    aten.maximum.default: "at::vec::maximum({0}, {1})",
    aten.minimum.default: "at::vec::minimum({0}, {1})",
    aten.where.self: "V::blendv({2}, {1}, {0})",
    aten._to_copy.default: "V::blendv(V(0), V(1), {0})",
}
"""What a vector of entries does for an operation. Comparisons give masks, which only a copy turns into numbers."""
_MASKS = {aten.bitwise_and.Tensor: 2, aten.bitwise_or.Tensor: 2, aten.where.self: 1, aten._to_copy.default: 1}
"""How many of the first operands are masks; all others are numbers."""

_STRUCTURE = (aten.unbind.int, aten.stack.default, aten.sym_size.int)
_CONSTANTS: dict[Any, Callable[..., float]] = {
    aten.zeros_like.default: lambda _: 0,
    aten.new_zeros.default: lambda _, shape: 0,
    aten.ones_like.default: lambda _: 1,
    aten.full_like.default: lambda _, value: value,
    aten.scalar_tensor.default: lambda value: value,
}

_COMPOSITES = """silu gelu elu celu softplus mish leaky_relu log_sigmoid_forward hardtanh hardswish hardsigmoid
    threshold clamp""".split()
DECOMPOSITIONS: Mapping[Any, Callable] = get_decompositions([getattr(aten, name) for name in _COMPOSITES])
"""Activations in terms of the operations above."""

TILE = 512
"""Entries of a tile. Rows are fetched a tile ahead."""

_KERNEL = """
#include <torch/csrc/inductor/cpp_prefix.h>
using V = at::vec::Vectorized<{number}>;

extern "C" void kernel({parameters}, {number}* out, const int64_t n) {{
    constexpr int64_t tile = {tile}, width = V::size();
    #pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < n; start += tile) {{
        const int64_t stop = std::min(tile, n - start);
        const auto over_the_tile = [stop](const auto& piece) {{
            int64_t c = 0;
            for (; c + width <= stop; c += width) piece(c, std::integral_constant<int64_t, V::size()>());
            if (c < stop) piece(c, stop - c);
        }};
        {arrays}
        {pieces}
    }}
}}
"""
_PIECE = "over_the_tile([&](const int64_t c, const auto m) {{ {body} }});"


class _UnknownError(Exception):
    """The graph holds something that has no expression."""


def tiled(graph: GraphModule, dtype: torch.dtype) -> Callable[..., Tensor] | None:
    """Compile a traced kernel.

    Args:
        graph: takes one or more tensors `[R, N]` of rows and returns one.
        dtype: of all of them.

    Returns:
        The kernel, a function of contiguous CPU tensors `[R, …]`; None where the dtype or an operation of the graph
        has no vectors in C++.
    """
    number = {torch.float32: "float", torch.float64: "double"}.get(dtype)
    if number is None:
        return None
    try:
        from torch._inductor.codecache import CppPythonBindingsCodeCache

        inputs, source = _source(graph, dtype, number)
        parameters = [*[f"const {number}*"] * inputs, f"{number}*", "const int64_t"]
        kernel = CppPythonBindingsCodeCache.load_pybinding(parameters, source)
    except Exception as error:  # noqa: BLE001 - parts of PyTorch that are not public; its own loops remain
        log.debug("no tiles for a kernel: %s: %s", type(error).__name__, error)
        return None

    def run(*tensors: Tensor) -> Tensor:
        out = torch.empty_like(tensors[0])
        kernel(*tensors, out, out.numel() // out.shape[0])
        return out

    return run


def _source(graph: GraphModule, dtype: torch.dtype, number: str) -> tuple[int, str]:
    """How many tensors the kernel takes, and its C++."""
    graph.graph.eliminate_dead_code()
    inputs = graph.graph.find_nodes(op="placeholder")
    values, result = _Values(inputs, dtype), _result(graph)
    for node in graph.graph.nodes:
        values.take(node)
    order = {node: k for k, node in enumerate(values.computed)}
    ends = sorted({order[row] for row in result if row in order})
    pieces = [_Piece([], []) for _ in range(len(ends) or 1)]
    place = {node: bisect_left(ends, k) for node, k in order.items()}
    for node, address in values.loaded.items():
        users = sorted({place[user] for user in node.users if user in place}) or [0]
        place[node] = users[0]
        for here in users:
            pieces[here].inputs.append(f"const V {values.name[node]} = V::loadu({address}, m);")
        pieces[users[0]].inputs.append(f"__builtin_prefetch({address} + tile);")
    arrays = _Arrays()
    for node, expression in values.computed.items():
        name, here = values.name[node], place[node]
        pieces[here].body.append(f"const V {name} = {expression};")
        later = sorted({place[user] for user in node.users if user in place} - {here})
        if later:
            array = arrays.lend(here, later[-1])
            pieces[here].body.append(f"{name}.store({array} + c);")
            for there in later:
                pieces[there].inputs.append(f"const V {name} = V::loadu({array} + c);")
    for row, node in enumerate(result):
        pieces[place.get(node, 0)].body.append(f"{values.name[node]}.store(out + {row} * n + start + c, m);")
    return len(inputs), _KERNEL.format(
        number=number,
        tile=TILE,
        parameters=", ".join(f"const {number}* in{k}" for k in range(len(inputs))),
        arrays="\n        ".join(f"alignas(64) {number} {name}[tile];" for name in arrays.busy_until),
        pieces="\n        ".join(_PIECE.format(body=" ".join([*p.inputs, *p.body])) for p in pieces),
    )


class _Piece(NamedTuple):
    """A loop over a tile: what it reads, then what it computes and writes."""

    inputs: list[str]
    body: list[str]


class _Arrays:
    """Arrays of a tile's length for what later pieces need; one serves again once its last reader has come."""

    def __init__(self) -> None:
        self.busy_until: dict[str, int] = {}

    def lend(self, here: int, last: int) -> str:
        """An array to write in one piece and to read up to another (which reads before it writes)."""
        free = (name for name, until in self.busy_until.items() if until <= here)
        name = next(free, f"a{len(self.busy_until)}")
        self.busy_until[name] = last
        return name


def _result(graph: GraphModule) -> Sequence[Node]:
    """The rows that a graph stacks and returns, as many as it takes."""
    stacked: Any = graph.graph.output_node().args[0]
    if stacked.target is not aten.stack.default or any(stacked.args[1:]) or stacked.kwargs:
        raise _UnknownError
    rows: Any = stacked.args[0]
    if len(rows) != graph.graph.find_nodes(op="placeholder")[0].meta["val"].shape[0]:
        raise _UnknownError
    return rows


class _Values:
    """The values that the nodes of a graph have: what C++ calls them, where they lie or how they are computed.

    Args:
        inputs: the nodes of the tensors of rows.
        dtype: of the numbers.
    """

    def __init__(self, inputs: Sequence[Node], dtype: torch.dtype) -> None:
        self.inputs, self.dtype = list(inputs), dtype
        self.name: dict[Node, str] = {}
        self.loaded: dict[Node, str] = {}
        self.computed: dict[Node, str] = {}

    def take(self, node: Any) -> None:
        """Read one node; those before it in the trace have been read."""
        if node.op in ("placeholder", "output") or node.target in _STRUCTURE:
            return
        name = f"v{len(self.name)}"
        if node.target in (getitem, aten.select.int):
            source, axis, row = node.args if node.target is aten.select.int else _unbound(node)
            if source not in self.inputs or axis != 0:
                raise _UnknownError
            self.loaded[node] = f"in{self.inputs.index(source)} + {row} * n + start + c"
        elif node.target in _CONSTANTS:
            name = self._constant(node, _CONSTANTS[node.target](*node.args))
        elif node.target in _EXPRESSIONS and self._understood(node):
            self.computed[node] = _EXPRESSIONS[node.target].format(*map(self._text, node.args))
        else:
            raise _UnknownError
        self.name[node] = name

    def _text(self, operand: Any) -> str:
        if isinstance(operand, Node):
            return self.name[operand]
        return f"V({float(operand)!r})".replace("inf", "INFINITY").replace("nan", "NAN")

    def _constant(self, node: Node, value: float) -> str:
        if node.meta["val"].dtype == torch.bool:
            return "(V(0) == V(0))" if value else "(V(0) != V(0))"
        return self._text(value)

    def _understood(self, node: Any) -> bool:
        masks, places = _MASKS.get(node.target, 0), set(findall(r"{(\d)}", _EXPRESSIONS[node.target]))
        wanted = [torch.bool if k < masks else self.dtype for k in range(len(node.args))]
        return (
            len(places) == len(node.args)
            and node.kwargs.get("alpha", 1) == 1
            and node.meta["val"].dtype in (torch.bool, self.dtype)
            and all(x.meta["val"].dtype == d for x, d in zip(node.args, wanted, strict=True) if isinstance(x, Node))
        )


def _unbound(node: Any) -> tuple[Any, int, int]:
    """Tensor, axis and place of an item of `unbind`."""
    source, axis = (*node.args[0].args, 0)[:2]
    return source, axis, node.args[1]

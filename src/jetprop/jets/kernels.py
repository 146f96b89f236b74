"""The heavy elementwise work: pairs of pure functions, forward and explicit adjoint, compiled where that pays.

Every kernel takes whole row tensors `[R, …]` and is one custom autograd function with one exact adjoint. Only the
kernel's input is saved. Under `create_graph` the adjoint runs as ordinary differentiable operations, so that any
number of further derivatives is right.

Compilation: a kernel is compiled (once for each rule, basis and dtype; a few seconds) when it first meets
`COMPILE_FROM` elements, or has been called so often on fewer that it pays (`COMPILE_AFTER`), if a compiler is there.
Until then, and on machines without a compiler, the same functions run eagerly. Inside a caller's own `torch.compile`
the plain functions are traced instead.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from jetprop.jets import tiles
from jetprop.jets.algebra import Row, compose, compose_adjoint, composition, product, product_adjoint
from jetprop.jets.basis import Basis
from jetprop.jets.tracing import transformed

__all__ = [
    "Tower",
    "add_to_value",
    "apply_tower",
    "compilation",
    "compile_kernels",
    "linear",
    "multiply",
    "pullback",
    "tower_adjoint",
    "tower_forward",
]

Tower = Callable[[Tensor, int], "Sequence[Tensor | None]"]
"""`tower(z, order)` returns [f(z), f'(z), …, f⁽ᵒʳᵈᵉʳ⁾(z)], None standing for a derivative that vanishes identically."""

COMPILE_FROM = 1 << 15
"""Elements (all rows together) from which a kernel is compiled at once."""

COMPILE_AFTER = 20_000
"""Rows, counted over smaller calls, after which a kernel is compiled too: a row costs some ten microseconds eagerly."""

LARGEST = (1 << 31) - 1
"""Elements above which a kernel runs eagerly: compiled ones count with 32 bits."""

log = logging.getLogger("jetprop")

_mode: Literal["auto", "large", "never"] = "never" if os.environ.get("JETPROP_COMPILE") == "0" else "auto"
_compiled: dict[tuple, Callable[..., Tensor]] = {}
_rows_met: defaultdict[tuple, int] = defaultdict(int)
_seconds: dict[str, float] = {}
_fallback: str | None = None


def compile_kernels(mode: Literal["auto", "large", "never"]) -> None:
    """Choose which kernels are compiled.

    Args:
        mode: "auto", the default: those of large calls, and of small ones once they are many. "large": of large calls
            only, so that the last bits of a result do not depend on what the process has done before; `fit` does so,
            or a run that was resumed would differ from one that was not. "never": none; the environment variable
            `JETPROP_COMPILE=0` sets that from outside.

    Raises:
        ValueError: another mode.
    """
    global _mode
    if mode not in ("auto", "large", "never"):
        raise ValueError(f'kernels are compiled "auto", "large" or "never", got {mode!r}')
    _mode = mode


def compilation() -> dict[str, Any]:
    """What was compiled, for the record of a run: mode, first-call seconds of each kernel, reason for eager if any."""
    return {"mode": _mode, "kernels": dict(_seconds), "eager_because": _fallback}


def _run(name: str, function: Callable[..., Tensor], tensors: tuple[Tensor, ...], *constants: Any) -> Tensor:
    """`function(*tensors, *constants)`, compiled where that pays; the constants are hashable and decide the kernel."""
    first = tensors[0]
    if (
        _mode == "never"
        or _fallback is not None
        or torch.compiler.is_compiling()
        or type(first) is not Tensor
        or first.numel() > LARGEST
        or transformed()
    ):
        return function(*tensors, *constants)
    small = first.numel() < COMPILE_FROM
    if small and _mode == "large":
        return function(*tensors, *constants)
    key = (function, *constants, first.dtype, first.device)
    compiled = _compiled.get(key)
    if compiled is None:
        if small:
            _rows_met[key] += len(first)
            if _rows_met[key] < COMPILE_AFTER:
                return function(*tensors, *constants)
        example = [t.contiguous() for t in tensors]
        compiled = _compile(key, name, lambda *rows: function(*rows, *constants), example)
    return function(*tensors, *constants) if compiled is None else compiled(*[t.contiguous() for t in tensors])


def _compile(
    key: tuple, name: str, function: Callable[..., Tensor], example: list[Tensor]
) -> Callable[..., Tensor] | None:
    dtype, device = example[0].dtype, example[0].device.type
    name = f"{name}, {str(dtype).removeprefix('torch.')}"
    if not _compiler_present(device):
        return _give_up(f"no compiler for {device} found (a C++ compiler, e.g. g++; Triton on CUDA)")
    log.info("compiling %s (once, some seconds) …", name)
    start = time.perf_counter()
    try:
        # Traced and compiled without Dynamo: the key fixes all that its guards would check (contiguous tensors of one
        # dtype and device), and checking them would cost as much as a small kernel.
        #  Tracing takes axes of length 0 and 1 for fixed.
        flat = [_flat(t) if t[0].numel() > 1 else t.new_ones(len(t), 2) for t in example]
        graph = make_fx(function, tiles.DECOMPOSITIONS, tracing_mode="symbolic")(*flat)
        compiled = tiles.tiled(graph, dtype) if device == "cpu" else None
        compiled = compiled or _fused(graph, flat)
        compiled(*example)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises, the eager function is right
        return _give_up(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    _compiled[key] = compiled
    _seconds[name] = round(time.perf_counter() - start, 2)
    log.info("compiled %s in %.1f s", name, _seconds[name])
    return compiled


def _fused(graph: GraphModule, flat: list[Any]) -> Callable[..., Tensor]:
    """The kernel as one loop over the entries, which suits GPUs, by PyTorch's compiler."""
    options = {"config_patches": {"max_pointwise_cat_inputs": 1}}
    compiled = torch._inductor.standalone_compile(graph, flat, dynamic_shapes="from_graph", options=options)
    return lambda *tensors: compiled(*map(_flat, tensors)).view(tensors[0].shape)


def _flat(rows: Tensor) -> Tensor:
    return rows.detach().reshape(rows.shape[0], -1)


@cache
def _compiler_present(device: str) -> bool:
    if device == "cuda":
        from torch.utils._triton import has_triton

        return has_triton()
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "c++", "cl"))


def _give_up(reason: str) -> None:
    global _fallback
    _fallback = reason
    warnings.warn(f"jetprop runs its kernels eagerly (slower, same results): {reason}", RuntimeWarning, stacklevel=4)


# ---- elementwise functions ------------------------------------------------------------------------------------------


def _tower_forward(z: Tensor, tower: Tower, basis: Basis) -> Tensor:
    rows = z.unbind(0)
    return _stacked(compose(composition(basis), tower(rows[0], basis.order), rows), rows[0])


def _tower_adjoint(z: Tensor, g: Tensor, tower: Tower, basis: Basis) -> Tensor:
    rows = z.unbind(0)
    return _stacked(compose_adjoint(composition(basis), tower(rows[0], basis.order + 1), rows, g.unbind(0)), rows[0])


def tower_forward(z: Tensor, tower: Tower, basis: Basis, name: str) -> Tensor:
    """The rows of f(z), `[R, …]`, without a graph; arguments as of `apply_tower`."""
    return _run(f"{name} forward, {len(basis)} rows", _tower_forward, (z,), tower, basis)


def tower_adjoint(z: Tensor, g: Tensor, tower: Tower, basis: Basis, name: str) -> Tensor:
    """The cotangent of z, `[R, …]`, from the cotangent g of f(z), without a graph."""
    return _run(f"{name} adjoint, {len(basis)} rows", _tower_adjoint, (z, g), tower, basis)


def _stacked(rows: Sequence[Row], like: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(like) if row is None else row for row in rows])


class _Elementwise(Function):
    """y = f(z) for a jet z, `[R, …]` to `[R, …]`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, tower: Tower, basis: Basis, name: str) -> Tensor:  # noqa: ANN401
        ctx.tower, ctx.basis, ctx.name = tower, basis, name
        ctx.save_for_backward(z)
        return tower_forward(z, tower, basis, name)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:  # noqa: ANN401
        (z,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _tower_adjoint(z, g, ctx.tower, ctx.basis), None, None, None
        return tower_adjoint(z, g, ctx.tower, ctx.basis, ctx.name), None, None, None


ElementwiseNode: type = _Elementwise._backward_cls  # type: ignore[attr-defined]
"""What autograd keeps of an elementwise function: its input as `saved_tensors`, and `tower`, `basis` and `name`."""


def apply_tower(rows: Tensor, tower: Tower, basis: Basis, name: str) -> Tensor:
    """A function applied to a jet, given by its derivative tower.

    Args:
        rows: `[R, …]`.
        tower: hashable (the same object for the same function), made of differentiable operations.
        basis: R rows.
        name: how the kernel is called in logs and records.
    """
    if transformed():
        return _tower_forward(rows, tower, basis)
    return _Elementwise.apply(rows, tower, basis, name)


# ---- products -------------------------------------------------------------------------------------------------------


def _product_forward(u: Tensor, v: Tensor, basis: Basis) -> Tensor:
    return _stacked(product(basis, u.unbind(0), v.unbind(0)), u[0])


def _product_adjoint(g: Tensor, v: Tensor, basis: Basis) -> Tensor:
    return _stacked(product_adjoint(basis, g.unbind(0), v.unbind(0)), g[0])


class _Product(Function):
    """The product of two jets of one shape, by the Leibniz rule."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, v: Tensor, basis: Basis) -> Tensor:  # noqa: ANN401
        ctx.basis = basis
        ctx.save_for_backward(u, v)
        return _run(f"product forward, {len(basis)} rows", _product_forward, (u, v), basis)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:  # noqa: ANN401
        u, v = ctx.saved_tensors
        return _Pullback.apply(g, v, ctx.basis), _Pullback.apply(g, u, ctx.basis), None


class _Pullback(Function):
    """ū_s = Σ c^r_st g_r v_t, the adjoint of the product; bilinear itself."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, v: Tensor, basis: Basis) -> Tensor:  # noqa: ANN401
        ctx.basis = basis
        ctx.save_for_backward(g, v)
        return _run(f"product adjoint, {len(basis)} rows", _product_adjoint, (g, v), basis)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple:  # noqa: ANN401
        g, v = ctx.saved_tensors
        # <h, pullback(g, v)> = <product(h, v), g> = <pullback(g, h), v>
        return _Product.apply(h, v, ctx.basis), _Pullback.apply(g, h, ctx.basis), None


def multiply(u: Tensor, v: Tensor, basis: Basis) -> Tensor:
    """The rows of a product of two jets of the same value shape, `[R, …]` each."""
    return _product_forward(u, v, basis) if transformed() else _Product.apply(u, v, basis)


def pullback(g: Tensor, v: Tensor, basis: Basis) -> Tensor:
    """The cotangent of u in `multiply(u, v, basis)`, from that of the product."""
    return _product_adjoint(g, v, basis) if transformed() else _Pullback.apply(g, v, basis)


# ---- linear layers --------------------------------------------------------------------------------------------------


class _Linear(Function):
    """X Wᵀ with b added to the value row: one matrix product each for output, weights and inputs.

    What is saved is the input itself, or second derivatives would not reach it; what is returned is no view, so that it
    may be changed in place.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.biased = bias is not None
        out = F.linear(rows.contiguous(), weight)
        if bias is not None:
            out[0].add_(bias)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        rows, weight = ctx.saved_tensors
        for_rows, for_weight, for_bias = ctx.needs_input_grad
        flat = _matrix(g)
        return (
            torch.mm(flat, weight).view(rows.shape) if for_rows else None,
            torch.mm(flat.t(), _matrix(rows)) if for_weight else None,
            _matrix(g[0]).sum(0) if ctx.biased and for_bias else None,
        )


def _matrix(rows: Tensor) -> Tensor:
    return rows.reshape(-1, rows.shape[-1])


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """All rows through a linear layer: rows `[R, …, in]`, weight `[out, in]`, bias `[out]` for the value row."""
    if transformed():
        out = F.linear(rows, weight)
        return out if bias is None else add_to_value(out, bias)
    return _Linear.apply(rows, weight, bias)


# ---- constants ------------------------------------------------------------------------------------------------------


class _AddToHead(Function):
    """Add a tensor to the first entries along axis 0: a bias touches the value row, and no other.

    In place where autograd need not be told of it as a view; a compiler gets the pure form and fuses it.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, c: Tensor, count: int, in_place: bool) -> Tensor:  # noqa: ANN401
        ctx.count, ctx.shape, ctx.dtype = count, c.shape, c.dtype
        if in_place:
            ctx.mark_dirty(rows)
        else:
            rows = rows.clone()
        rows[:count].add_(c)
        return rows

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:  # noqa: ANN401
        needed = g[: ctx.count].sum_to_size(ctx.shape).to(ctx.dtype) if ctx.needs_input_grad[1] else None
        return g, needed, None, None


def add_to_value(rows: Tensor, c: Tensor, count: int = 1, fresh: bool = False) -> Tensor:
    """Rows with `c` added to the first `count` of them.

    Args:
        rows: `[R, …]`, or rows and batch flattened into one axis.
        c: broadcastable to `rows[:count]`.
        count: 1, or the batch size if rows and batch are flattened.
        fresh: whether `rows` was made just now, is nobody else's and no view: then it is written in place.
    """
    if transformed():
        return torch.cat([rows[:count] + c, rows[count:]])
    in_place = fresh and not torch.compiler.is_compiling()
    return _AddToHead.apply(rows, c, count, in_place)

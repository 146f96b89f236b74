"""Arithmetic between jets, tensors and numbers: sums, products, quotients, powers, matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets import towers
from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import add_to_value, multiply
from jetprop.jets.rules import elementwise as _elementwise  # noqa: F401 - registers `reciprocal`, `log`, `exp`
from jetprop.jets.rules.elementwise import elementwise
from jetprop.jets.rules.operands import aligned, common_basis, is_jet, lifted

__all__ = ["bilinear", "plus", "product_of"]

Operand = Jet | Tensor | float


def plus(x: Operand, y: Operand, alpha: float = 1) -> Jet:
    """x + αy; a constant reaches the value row only."""
    if not is_jet(x):
        if alpha == 1:
            return plus(y, x)
        return plus(product_of(y, alpha), x)
    if is_jet(y):
        basis = common_basis(x, y)
        ndim = max(x.dim(), y.dim())
        return Jet._of(torch.add(aligned(x.rows, ndim), aligned(y.rows, ndim), alpha=alpha), basis)
    c = lifted(y, x.basis, x.rows)
    c = c if alpha == 1 else alpha * c
    shape = torch.broadcast_shapes(x.shape, c.shape)
    rows = aligned(x.rows, len(shape)).expand(-1, *shape)
    dtype = torch.result_type(x.value, y)
    return Jet._of(add_to_value(rows.to(dtype), c), x.basis)


def product_of(x: Operand, y: Operand) -> Jet:
    """x·y, elementwise."""
    if is_jet(x) and is_jet(y):
        basis = common_basis(x, y)
        shape = torch.broadcast_shapes(x.shape, y.shape)
        dtype = torch.promote_types(x.dtype, y.dtype)
        u, v = (aligned(j.rows, len(shape)).expand(-1, *shape).to(dtype) for j in (x, y))
        return Jet._of(multiply(u, v, basis), basis)
    jet, c = (x, y) if is_jet(x) else (y, x)
    rows = aligned(jet.rows, c.dim()) if isinstance(c, Tensor) else jet.rows  # type: ignore[union-attr]
    return Jet._of(rows * c, jet.basis)  # type: ignore[union-attr]


def bilinear(operation: Callable[[Tensor, Tensor], Tensor], x: Operand, y: Operand) -> Jet:
    """A bilinear operation of two operands, at least one of them a jet, by the Leibniz rule.

    Args:
        operation: bilinear in its two tensors.
        x: a jet or a constant.
        y: a jet or a constant.
    """
    basis = common_basis(x, y)
    if not is_jet(y):
        return Jet._of(torch.stack([operation(u, y) for u in x.rows.unbind(0)]), basis)  # type: ignore[union-attr,arg-type]
    if not is_jet(x):
        return Jet._of(torch.stack([operation(x, v) for v in y.rows.unbind(0)]), basis)  # type: ignore[arg-type]
    u, v = x.rows.unbind(0), y.rows.unbind(0)  # type: ignore[union-attr]
    rows: list[Tensor | None] = [None] * len(basis)
    for row, left, right, factor in basis.terms:
        term = operation(u[left], v[right])
        term = term if factor == 1 else factor * term
        rows[row] = term if rows[row] is None else rows[row] + term
    return Jet._of(torch.stack(rows), basis)  # type: ignore[arg-type]


@rule("add", "linear")
def add(x: Operand, y: Operand, *, alpha: float = 1) -> Jet:
    """x + αy."""
    return plus(x, y, alpha)


@rule("sub", "linear", "subtract")
def sub(x: Operand, y: Operand, *, alpha: float = 1) -> Jet:
    """x − αy."""
    return plus(x, y, -alpha)


@rule("rsub", "linear")
def rsub(x: Operand, y: Operand, *, alpha: float = 1) -> Jet:
    """y − αx."""
    return plus(y, x, -alpha)


@rule("mul", "bilinear", "multiply")
def mul(x: Operand, y: Operand) -> Jet:
    """x·y."""
    return product_of(x, y)


@rule("div", "composition", "divide", "true_divide")
def div(x: Operand, y: Operand, *, rounding_mode: str | None = None) -> Jet:
    """x/y."""
    if rounding_mode is not None:
        raise TypeError(
            f"div on a jet takes rounding_mode=None, got {rounding_mode!r}: a rounded quotient has no derivatives"
        )
    if is_jet(y):
        return product_of(RULES["reciprocal"].apply(y), x)
    rows = aligned(x.rows, y.dim()) if isinstance(y, Tensor) else x.rows  # type: ignore[union-attr]
    return Jet._of(rows / y, x.basis)  # type: ignore[union-attr]


@rule("rdiv", "composition")
def rdiv(x: Jet, y: Operand) -> Jet:
    """y/x."""
    return div(y, x)


elementwise("power of a jet")(towers.pow)


@rule("pow", "composition", "float_power")
def pow(x: Operand, y: Operand) -> Jet:
    """x^y: numbers as exponents by the tower of powers, everything else by exp(y ln x)."""
    if is_jet(x) and not isinstance(y, (Tensor, Jet)):
        if y == 1:
            return x
        return RULES["square" if y == 2 else "power of a jet"].apply(x, *(() if y == 2 else (float(y),)))
    if (
        is_jet(x)
        and isinstance(y, Tensor)
        and y.dim() == 0
        and not y.requires_grad
        and not torch.compiler.is_compiling()
    ):
        return pow(x, y.item())
    logarithm = RULES["log"].apply(x) if is_jet(x) else torch.log(lifted(x, y.basis, y.rows))  # type: ignore[union-attr]
    return RULES["exp"].apply(product_of(y, logarithm))


@rule("rpow", "composition")
def rpow(x: Jet, y: Operand) -> Jet:
    """y^x."""
    return pow(y, x)


def _matmul_axes(x: Operand, y: Operand) -> tuple[Any, Any, bool, bool]:
    """Vectors as matrices, as `torch.matmul` takes them."""
    row_vector, column_vector = x.dim() == 1, y.dim() == 1  # type: ignore[union-attr]
    return (x.unsqueeze(0) if row_vector else x, y.unsqueeze(-1) if column_vector else y, row_vector, column_vector)  # type: ignore[union-attr]


@rule("matmul", "bilinear", "mm", "bmm", "mv", "dot", "inner")
def matmul(x: Operand, y: Operand) -> Jet:
    """The matrix product, batched and broadcast as PyTorch does it."""
    x, y, row_vector, column_vector = _matmul_axes(x, y)
    basis = common_basis(x, y)
    ndim = max(x.dim(), y.dim())  # type: ignore[union-attr]
    if is_jet(x) and is_jet(y):
        out = bilinear(torch.matmul, x, y)
    elif is_jet(x):
        out = Jet._of(torch.matmul(aligned(x.rows, ndim), y), basis)
    else:
        out = Jet._of(torch.matmul(x, aligned(y.rows, ndim)), basis)  # type: ignore[union-attr]
    if column_vector:
        out = out.squeeze(-1)
    return out.squeeze(-1 if column_vector else -2) if row_vector else out


@rule("rmatmul", "bilinear")
def rmatmul(x: Jet, y: Operand) -> Jet:
    """Y @ x."""
    return matmul(y, x)


@rule("addmm", "composition", "baddbmm", "addmv")
def addmm(c: Operand, x: Operand, y: Operand, *, beta: float = 1, alpha: float = 1) -> Jet:
    """β c + α x y."""
    product = matmul(x, y) if is_jet(x) or is_jet(y) else torch.matmul(x, y)  # type: ignore[arg-type]
    return plus(alpha * product if alpha != 1 else product, beta * c if beta != 1 else c)


@rule("addcmul", "composition")
def addcmul(c: Operand, x: Operand, y: Operand, *, value: float = 1) -> Jet:
    """C + value·x·y."""
    return c + (x * y) * value  # type: ignore[return-value]


@rule("addcdiv", "composition")
def addcdiv(c: Operand, x: Operand, y: Operand, *, value: float = 1) -> Jet:
    """C + value·x/y."""
    return c + (x / y) * value  # type: ignore[return-value]


@rule("lerp", "composition")
def lerp(start: Operand, end: Operand, weight: Operand) -> Jet:
    """Start + weight·(end − start)."""
    return start + (end - start) * weight  # type: ignore[return-value]


@rule("prod", "composition")
def prod(x: Jet, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """The product of the entries along an axis, or of all."""
    if dtype is not None:
        x = x.to(dtype)
    if dim is None:
        return prod(x.reshape(-1), 0)
    factors = list(x.unbind(dim))
    while len(factors) > 1:
        factors = [a * b for a, b in zip(factors[::2], factors[1::2], strict=False)] + factors[len(factors) // 2 * 2 :]
    return factors[0].unsqueeze(dim) if keepdim else factors[0]

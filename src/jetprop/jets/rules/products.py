"""Arithmetic between jets, tensors and numbers: sums, products, quotients, powers, matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets import towers
from jetprop.jets.algebra import Row, compose, composition
from jetprop.jets.dispatch import RULES, SPELLINGS, rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import add_to_value, multiply
from jetprop.jets.rules import elementwise as _elementwise  # noqa: F401 - registers `reciprocal`, `log`, `exp`
from jetprop.jets.rules.elementwise import elementwise
from jetprop.jets.rules.operands import aligned, autocast_as, common_basis, is_jet, lifted

__all__ = ["bilinear", "plus", "product_of"]

Operand = Jet | Tensor | float


def _promoted(x: Jet, y: Operand) -> torch.dtype:
    """The dtype that PyTorch gives a sum or product: 0-d tensors and numbers yield to the others."""
    other = y.value if is_jet(y) else y
    if isinstance(other, Tensor) and other.dtype == x.dtype:
        return x.dtype
    return torch.result_type(x.value, other)


def plus(x: Operand, y: Operand, alpha: float = 1) -> Jet:
    """The sum `x + αy`; a constant reaches the value row only."""
    if not is_jet(x):
        assert is_jet(y)
        return plus(y if alpha == 1 else product_of(y, alpha), x)
    if is_jet(y):
        basis, dtype = common_basis(x, y), _promoted(x, y)
        ndim = max(x.dim(), y.dim())
        return Jet._of(torch.add(aligned(x.rows, ndim), aligned(y.rows, ndim), alpha=alpha).to(dtype), basis)
    c = lifted(y, x)
    dtype = _promoted(x, c)
    shape = torch.broadcast_shapes(x.shape, c.shape)
    rows = aligned(x.rows, len(shape)).expand(-1, *shape)
    return Jet._of(add_to_value(rows.to(dtype), c if alpha == 1 else alpha * c), x.basis)


def product_of(x: Operand, y: Operand) -> Jet:
    """The product `x·y`, entry by entry."""
    if not is_jet(x):
        assert is_jet(y)
        return product_of(y, x)
    if is_jet(y):
        basis, dtype = common_basis(x, y), _promoted(x, y)
        shape = torch.broadcast_shapes(x.shape, y.shape)
        u, v = (aligned(j.rows, len(shape)).expand(-1, *shape).to(dtype) for j in (x, y))
        return Jet._of(multiply(u, v, basis), basis)
    if not isinstance(y, Tensor) and not getattr(y, "shape", ()):
        return Jet._of(x.rows * y, x.basis)
    c = lifted(y, x)
    return Jet._of((aligned(x.rows, c.dim()) * c).to(_promoted(x, c)), x.basis)


def bilinear(operation: Callable[[Tensor, Tensor], Tensor], x: Operand, y: Operand) -> Jet:
    """A bilinear operation of two operands, at least one of them a jet, by the Leibniz rule.

    Args:
        operation: bilinear in its two tensors.
        x: a jet or a constant.
        y: a jet or a constant.
    """
    basis = common_basis(x, y)
    if is_jet(x) and is_jet(y):
        u, v = x.rows.unbind(0), y.rows.unbind(0)
        rows: list[Row] = [None] * len(basis)
        for row, left, right, factor in basis.terms:
            term = operation(u[left], v[right])
            term = term if factor == 1 else factor * term
            total = rows[row]
            rows[row] = term if total is None else total + term
        return _stacked(rows, basis)
    if is_jet(x):
        assert isinstance(y, Tensor)
        return Jet._of(torch.stack([operation(u, y) for u in x.rows.unbind(0)]), basis)
    assert isinstance(x, Tensor) and is_jet(y)
    return Jet._of(torch.stack([operation(x, v) for v in y.rows.unbind(0)]), basis)


def _stacked(rows: list[Row], basis: Any) -> Jet:
    value = rows[0]
    assert value is not None
    return Jet._of(torch.stack([torch.zeros_like(value) if r is None else r.expand_as(value) for r in rows]), basis)


@rule("add", "linear")
def add(x: Operand, y: Operand, *, alpha: float = 1) -> Jet:
    """`x + αy`."""
    return plus(x, y, alpha)


@rule("sub", "linear", "subtract")
def sub(x: Operand, y: Operand, *, alpha: float = 1) -> Jet:
    """`x − αy`."""
    return plus(x, y, -alpha)


@rule("rsub", "linear")
def rsub(x: Operand, y: Operand, *, alpha: float = 1) -> Jet:
    """`y − αx`."""
    return plus(y, x, -alpha)


@rule("mul", "bilinear", "multiply")
def mul(x: Operand, y: Operand) -> Jet:
    """`x·y`."""
    return product_of(x, y)


@rule("div", "composition", "divide", "true_divide")
def div(x: Operand, y: Operand, *, rounding_mode: str | None = None) -> Jet:
    """`x/y`."""
    if rounding_mode is not None:
        raise TypeError(
            f"div on a jet takes rounding_mode=None, got {rounding_mode!r}: a rounded quotient has no derivatives"
        )
    if is_jet(y):
        return product_of(RULES["reciprocal"].apply(y), x)
    assert is_jet(x)
    if not isinstance(y, Tensor) and not getattr(y, "shape", ()):
        return Jet._of(x.rows / y, x.basis)
    c = lifted(y, x)
    return Jet._of((aligned(x.rows, c.dim()) / c).to(_promoted(x, c)), x.basis)


@rule("rdiv", "composition")
def rdiv(x: Jet, y: Operand) -> Jet:
    """`y/x`."""
    return div(y, x)


elementwise("power of a jet")(towers.pow)


@rule("pow", "composition")
def pow(x: Any, y: Any) -> Jet:
    """The power of x to y, each a jet, a tensor or a number.

    Above an exponent that is a non-negative integer all derivatives vanish, at x = 0 too. Jets as exponents of jets
    need x > 0.
    """
    if is_jet(y):
        if is_jet(x):
            return RULES["exp"].apply(product_of(y, RULES["log"].apply(x)))
        return _exponential(lifted(x, y), y)
    assert is_jet(x)
    if isinstance(y, Tensor) and y.dim() == 0 and not y.requires_grad and not torch.compiler.is_compiling():
        x, y = x.to(_promoted(x, y)), float(y)
    if not isinstance(y, Tensor) and not getattr(y, "shape", ()):
        if y == 1:
            return Jet._of(x.rows.clone(), x.basis)
        return RULES["square"].apply(x) if y == 2 else RULES["power of a jet"].apply(x, float(y))
    return _powers(x, lifted(y, x))


def _powers(x: Jet, exponent: Tensor) -> Jet:
    """x^p for exponents that differ from entry to entry, or are trained."""
    dtype = _promoted(x, exponent)
    shape = torch.broadcast_shapes(x.shape, exponent.shape)
    rows = aligned(x.rows, len(shape)).expand(-1, *shape).to(dtype).unbind(0)
    p, z = exponent.to(dtype), rows[0]
    factor, tower = torch.ones_like(p), [torch.pow(z, p)]
    for k in range(x.basis.order):
        factor = factor * (p - k)
        vanishing = (factor == 0) & (z == 0)  # 0 times infinity otherwise
        slope = factor * torch.pow(torch.where(vanishing, 1, z), p - k - 1)
        tower.append(torch.where(vanishing, 0, slope))
    return _stacked(compose(composition(x.basis), tower, rows), x.basis)


def _exponential(base: Tensor, y: Jet) -> Jet:
    """bʸ, its derivatives bʸ (ln b)ᵏ, and 0 for b = 0; NaN for b < 0, as PyTorch has them."""
    dtype = _promoted(y, base)
    shape = torch.broadcast_shapes(y.shape, base.shape)
    rows = aligned(y.rows, len(shape)).expand(-1, *shape).to(dtype).unbind(0)
    value, logarithm = torch.pow(base, rows[0]), torch.log(torch.where(base == 0, 1, base.to(dtype)))
    tower = [value, *(value * logarithm**k for k in range(1, y.basis.order + 1))]
    return _stacked(compose(composition(y.basis), tower, rows), y.basis)


@rule("rpow", "composition")
def rpow(x: Jet, y: Operand) -> Jet:
    """The power of y to x."""
    return pow(y, x)


@rule("float_power", "composition")
def float_power(x: Operand, y: Operand) -> Jet:
    """`pow` in double precision."""
    return pow(_double(x), _double(y))


def _double(x: Operand) -> Operand:
    return x.to(torch.float64) if isinstance(x, Jet | Tensor) else x


def _matmul_axes(x: Jet | Tensor, y: Jet | Tensor) -> tuple[Jet | Tensor, Jet | Tensor, bool, bool]:
    """Vectors as matrices, as `torch.matmul` takes them."""
    row_vector, column_vector = x.dim() == 1, y.dim() == 1
    return x.unsqueeze(0) if row_vector else x, y.unsqueeze(-1) if column_vector else y, row_vector, column_vector


@rule("matmul", "bilinear", "mm", "bmm", "mv", "dot")
def matmul(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """The matrix product, batched and broadcast as PyTorch does it."""
    x, y, row_vector, column_vector = _matmul_axes(x, y)
    basis = common_basis(x, y)
    ndim = max(x.dim(), y.dim())
    if is_jet(x) and is_jet(y):
        out = bilinear(torch.matmul, x, y)
    elif is_jet(x):
        assert isinstance(y, Tensor)
        out = Jet._of(torch.matmul(aligned(x.rows, ndim), y), basis)
    else:
        assert is_jet(y)
        out = Jet._of(torch.matmul(x, aligned(y.rows, ndim)), basis)
    if column_vector:
        out = out.squeeze(-1)
    return out.squeeze(-1 if column_vector else -2) if row_vector else out


def _matmul_of_tensors(x: Any, y: Any) -> Jet:
    """`tensor.matmul(jet)` and `tensor @ jet`, as which torch.compile also calls `jet @ tensor`, exchanged."""
    if torch.compiler.is_compiling() and not is_jet(x):
        raise RuntimeError(
            "torch.compile confuses `jet @ tensor` with `tensor @ jet`; write torch.matmul(x, y) or a torch.nn.Linear"
        )
    return matmul(x, y)


for _method in (Tensor.matmul, Tensor.__matmul__):
    SPELLINGS[_method] = _matmul_of_tensors


@rule("rmatmul", "bilinear")
def rmatmul(x: Jet, y: Jet | Tensor) -> Jet:
    """`y @ x`."""
    return matmul(y, x)


@rule("inner", "bilinear")
def inner(x: Jet | Tensor, y: Jet | Tensor) -> Jet:
    """Products summed over the last axes of both."""
    if x.dim() == 0 or y.dim() == 0:
        return product_of(x, y)
    flat = matmul(x, y.reshape(-1, y.shape[-1]).transpose(0, 1))
    return flat.reshape(*x.shape[:-1], *y.shape[:-1])


@rule("addmm", "composition", "baddbmm", "addmv")
def addmm(c: Any, x: Jet | Tensor, y: Jet | Tensor, *, beta: float = 1, alpha: float = 1) -> Jet:
    """`β c + α x y`."""
    product: Any = matmul(x, y) if is_jet(x) or is_jet(y) else torch.matmul(x, y)
    if torch.is_autocast_enabled(product.device.type):
        c = c.to(product.dtype)
    return plus(alpha * product if alpha != 1 else product, beta * c if beta != 1 else c)


@rule("addcmul", "composition")
def addcmul(c: Any, x: Any, y: Any, *, value: float = 1) -> Jet:
    """`c + value·x·y`."""
    return c + (x * y) * value


@rule("addcdiv", "composition")
def addcdiv(c: Any, x: Any, y: Any, *, value: float = 1) -> Jet:
    """`c + value·x/y`."""
    return c + (x / y) * value


@rule("lerp", "composition")
def lerp(start: Any, end: Any, weight: Any) -> Jet:
    """`start + weight·(end − start)`."""
    return start + (end - start) * weight


@rule("prod", "composition")
def prod(x: Jet, dim: int | None = None, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Jet:
    """The product of the entries along an axis, or of all."""
    x = autocast_as(torch.prod, x if dtype is None else x.to(dtype))
    if dim is None:
        return prod(x.reshape(-1), 0)
    factors = list(x.unbind(dim))
    while len(factors) > 1:
        factors = [a * b for a, b in zip(factors[::2], factors[1::2], strict=False)] + factors[len(factors) // 2 * 2 :]
    return factors[0].unsqueeze(dim) if keepdim else factors[0]

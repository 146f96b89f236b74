"""Arithmetic between jets, tensors and numbers, entry by entry: sums, products, quotients, powers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jetprop.jets import towers
from jetprop.jets.algebra import Row, compose, composition, product
from jetprop.jets.basis import Basis
from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet
from jetprop.jets.kernels import add_to_value, multiply
from jetprop.jets.remember import remembered
from jetprop.jets.rules import elementwise as _elementwise  # noqa: F401 - registers `reciprocal`, `log`, `exp`
from jetprop.jets.rules.elementwise import elementwise
from jetprop.jets.rules.operands import aligned, autocast_as, common_basis, is_jet, jet_of, lifted
from jetprop.jets.tracing import traced

__all__ = ["Run", "bilinear", "plus", "product_of", "runs", "stacked_rows"]

Operand = Jet | Tensor | complex


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
    c = c.to(dtype) if dtype.is_complex else c
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
        if dtype.is_complex:  # the kernel's adjoint is that of real rows
            return stacked_rows(product(basis, u.unbind(0), v.unbind(0)), basis)
        return Jet._of(multiply(u, v, basis), basis)
    if not isinstance(y, Tensor) and not getattr(y, "shape", ()):
        return Jet._of(x.rows * y, x.basis)
    c = lifted(y, x)
    return Jet._of((aligned(x.rows, c.dim()) * c).to(_promoted(x, c)), x.basis)


class Run(NamedTuple):
    """Products of rows that one call forms: `u[left]` times `v[right]`, a slice for one of the two or for both.

    `receivers[k]` holds, for the k-th product, pairs (row of the result, factor).
    """

    left: slice | int
    right: slice | int
    receivers: tuple[tuple[tuple[int, float], ...], ...]


@remembered
def runs(basis: Basis) -> tuple[Run, ...]:
    """The Leibniz table of a basis in few runs: one row against consecutive ones, or consecutive rows in step."""
    receivers: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for row, left, right, factor in basis.terms:
        receivers.setdefault((left, right), []).append((row, factor))
    found: list[Run] = []
    while receivers:
        longest: list[tuple[int, int]] = []
        for left, right in receivers:
            for down, along in ((0, 1), (1, 0), (1, 1)):
                if (left - down, right - along) in receivers:
                    continue
                length = 1
                while (left + down * length, right + along * length) in receivers:
                    length += 1
                if length > len(longest):
                    longest = [(left + down * k, right + along * k) for k in range(length)]
        (left, right), (last_left, last_right) = longest[0], longest[-1]
        found.append(
            Run(
                slice(left, last_left + 1) if last_left > left or len(longest) == 1 else left,
                slice(right, last_right + 1) if last_right > right else right,
                tuple(tuple(receivers.pop(pair)) for pair in longest),
            )
        )
    return tuple(found)


def bilinear(operation: Callable[[Tensor, Tensor], Tensor], x: Operand, y: Operand, stacked: bool = False) -> Jet:
    """A bilinear operation of two operands, at least one of them a jet, by the Leibniz rule.

    Args:
        operation: bilinear in its two tensors.
        x: a jet or a constant.
        y: a jet or a constant.
        stacked: whether the operation also takes either operand, or both, with an axis of rows in front, and then gives
            its result with one: a few calls serve all pairs of rows, and one call those of a constant.
    """
    basis = common_basis(x, y)
    if not (is_jet(x) and is_jet(y)):
        rows, constant = (x.rows, y) if is_jet(x) else (y.rows, x)  # type: ignore[union-attr]
        assert isinstance(constant, Tensor)
        apply = operation if is_jet(x) else lambda row, c: operation(c, row)
        return Jet._of(apply(rows, constant) if stacked else torch.stack([apply(r, constant) for r in rows]), basis)
    total: list[Row] = [None] * len(basis)
    u, v = x.rows.unbind(0), y.rows.unbind(0)
    if stacked:
        for left, right, receivers in runs(basis):
            # One `unbind` for single rows: the adjoint of each `rows[k]` would fill a tensor of all rows with zeros.
            a = x.rows[left] if isinstance(left, slice) else u[left]
            b = y.rows[right] if isinstance(right, slice) else v[right]
            for term, rows in zip(operation(a, b).unbind(0), receivers, strict=True):
                for row, factor in rows:
                    total[row] = _added(total[row], term, factor)
        return stacked_rows(total, basis)
    for row, left, right, factor in basis.terms:
        total[row] = _added(total[row], operation(u[left], v[right]), factor)
    return stacked_rows(total, basis)


def _added(total: Row, term: Tensor, factor: float) -> Tensor:
    if total is None:
        return term if factor == 1 else factor * term
    return torch.add(total, term, alpha=factor)


def stacked_rows(rows: Sequence[Row], basis: Basis) -> Jet:
    """The jet of these rows, broadcast to the value; None stands for zeros."""
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
    constant = isinstance(y, Tensor) and y.dim() == 0 and not (y.requires_grad or y.is_complex())
    if constant and not traced():
        x, y = x.to(_promoted(x, y)), float(y)
    if not isinstance(y, (Tensor, complex)) and not getattr(y, "shape", ()):
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
    return stacked_rows(compose(composition(x.basis), tower, rows), x.basis)


def _exponential(base: Tensor, y: Jet) -> Jet:
    """bʸ, its derivatives bʸ (ln b)ᵏ, and 0 for b = 0; NaN for b < 0, as PyTorch has them."""
    dtype = _promoted(y, base)
    shape = torch.broadcast_shapes(y.shape, base.shape)
    rows = aligned(y.rows, len(shape)).expand(-1, *shape).to(dtype).unbind(0)
    value, logarithm = torch.pow(base, rows[0]), torch.log(torch.where(base == 0, 1, base.to(dtype)))
    tower = [value, *(value * logarithm**k for k in range(1, y.basis.order + 1))]
    return stacked_rows(compose(composition(y.basis), tower, rows), y.basis)


@rule("rpow", "composition")
def rpow(x: Jet, y: Operand) -> Jet:
    """The power of y to x."""
    return pow(y, x)


@rule("float_power", "composition")
def float_power(x: Operand, y: Operand) -> Jet:
    """`pow` in double precision."""
    dtype = torch.complex128 if any(_is_complex(z) for z in (x, y)) else torch.float64
    return pow(*(z.to(dtype) if isinstance(z, Jet | Tensor) else z for z in (x, y)))


def _is_complex(x: Operand) -> bool:
    return x.is_complex() if isinstance(x, Jet | Tensor) else isinstance(x, complex)


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
    if x.dim() == 0:
        return x.clone()
    if not x.shape[dim]:
        return jet_of(torch.prod(x.value, dim, keepdim), x)
    factors = list(x.unbind(dim))
    while len(factors) > 1:
        factors = [a * b for a, b in zip(factors[::2], factors[1::2], strict=False)] + factors[len(factors) // 2 * 2 :]
    return factors[0].unsqueeze(dim) if keepdim else factors[0]

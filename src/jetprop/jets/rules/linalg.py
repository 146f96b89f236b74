"""Systems, inverses, determinants, factorisations: Leibniz's rule on the equation that defines the result.

With A X = B, for one, the rows of X follow from those of lower order by one factorisation of the value A₀:

    X_r = A₀⁻¹ (B_r − Σ' A_s X_t),      the sum over the Leibniz terms of row r with s ≠ 0.

Sums marked ″ have neither s = 0 nor t = 0. Symmetric and Hermitian matrices are such by their Hermitian part, as in
PyTorch's own derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, return_types

from jetprop.jets.basis import Basis, Term
from jetprop.jets.dispatch import RULES, rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.contractions import matmul
from jetprop.jets.rules.operands import aligned, common_basis, is_jet, jet_of
from jetprop.jets.rules.products import product_of
from jetprop.jets.tracing import traced

__all__ = ["less", "linear_algebra", "solve", "solve_triangular", "terms"]

_linalg_eigh, _linalg_slogdet = (getattr(return_types, f"linalg_{name}") for name in ("eigh", "slogdet"))


def linear_algebra(name: str, *spellings: str | Callable) -> Callable[[Callable], Callable]:
    """Register a rule that computes in single precision at least, autocast or not, as PyTorch does."""

    def register(function: Callable) -> Callable:
        @wraps(function)
        def apply(*args: Any, **kwargs: Any) -> Any:
            jet = next(a for a in (*args, *kwargs.values()) if is_jet(a))
            if not torch.is_autocast_enabled(jet.device.type):
                return function(*args, **kwargs)
            args = tuple(_raised(a) for a in args)
            with torch.autocast(jet.device.type, enabled=False):
                return function(*args, **{k: _raised(a) for k, a in kwargs.items()})

        rule(name, "composition", *spellings)(apply)
        return apply

    return register


def _raised(x: Any) -> Any:
    return x.float() if getattr(x, "dtype", None) in (torch.float16, torch.bfloat16) else x


def terms(basis: Basis, row: int, left: bool = False, right: bool = False) -> Iterator[Term]:
    """The Leibniz terms of a row, those without s = 0 and without t = 0 alone if `left` and `right` say so."""
    return (t for t in basis.terms if t.row == row and not (left and t.left == 0) and not (right and t.right == 0))


def less(x: Tensor, a: Sequence[Tensor], b: Sequence[Tensor], terms: Iterator[Term]) -> Tensor:
    """`x − Σ factor · a_s b_t`."""
    for _, s, t, factor in terms:
        x = torch.sub(x, a[s] @ b[t], alpha=factor)
    return x


# ---- systems --------------------------------------------------------------------------------------------------------


def _solved(a: Jet | Tensor, b: Jet | Tensor, inverse: Callable[[Tensor], Tensor]) -> Jet:
    """The rows of X in A X = B, order by order; `inverse` applies A₀⁻¹ to columns."""
    basis, like = common_basis(a, b), a if is_jet(a) else b
    assert is_jet(like)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    right = aligned(jet_of(b, like).rows, len(batch) + 2).expand(-1, *batch, *b.shape[-2:])
    if not is_jet(a):
        return Jet._of(_in_columns(inverse, right), basis)
    left, found = a.rows.unbind(0), []
    for order in range(basis.order + 1):
        level = [less(right[row], left, found, terms(basis, row, left=True)) for row in basis.rows_of_order(order)]
        found += _in_columns(inverse, torch.stack(level)).unbind(0)
    return Jet._of(torch.stack(found), basis)


def _in_columns(inverse: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Rows `[R, …, n, k]` as n × Rk matrices: one call of `inverse` for all."""
    count, columns = rows.shape[0], rows.shape[-1]
    wide = rows.movedim(0, -2).flatten(-2)
    return inverse(wide).unflatten(-1, (count, columns)).movedim(-2, 0)


@linear_algebra("solve", torch.linalg.solve)
def solve(A: Any, B: Any, *, left: bool = True) -> Jet:
    """X in A X = B, or in X A = B; B a matrix, or a vector for each matrix."""
    vector = B.dim() == 1 or (A.dim() - 1 == B.dim() and B.shape == A.shape[:-1])
    if vector:
        if not left:
            raise ValueError("solve: expected B a matrix with left=False, got a vector")
        return solve(A, B.unsqueeze(-1)).squeeze(-1)
    if not left:
        return solve(A.mT, B.mT).mT
    return _solved(A, B, _lu(A.value if is_jet(A) else A, "solve"))


@linear_algebra("inv", "inverse")
def inv(A: Jet) -> Jet:
    """A⁻¹, from A X = 1."""
    inverse = torch.linalg.inv(A.value)
    identity = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape)
    return _solved(A, identity, lambda columns: inverse @ columns)


@linear_algebra("solve_triangular")
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Jet:
    """X in A X = B, or in X A = B, A triangular: nothing else of it is read."""
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    value = A.value if is_jet(A) else A
    if is_jet(A):
        beside = 1 if unitriangular else 0  # a diagonal of ones has no derivatives
        A = A.triu(beside) if upper else A.tril(-beside)
    return _solved(A, B, lambda b: torch.linalg.solve_triangular(value, b, upper=upper, unitriangular=unitriangular))


@linear_algebra("cholesky_solve")
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Jet:
    """X in L Lᴴ X = B, or in Uᴴ U X = B."""
    L = L.mH if upper else L
    half = torch.linalg.solve_triangular(L, B, upper=False)
    return torch.linalg.solve_triangular(L.mH, half, upper=True)  # type: ignore[return-value]


@linear_algebra("cholesky_inverse")
def cholesky_inverse(L: Jet, upper: bool = False) -> Jet:
    """The inverse of L Lᴴ, or of Uᴴ U."""
    return cholesky_solve(torch.eye(L.shape[-1], dtype=L.dtype, device=L.device).expand(L.shape), L, upper)


def _with_info(name: str, function: Callable[..., Jet]) -> None:
    """The form of an operator that reports failures, of which a jet has none: it raises."""
    kind = getattr(return_types, f"linalg_{name}_ex")

    def apply(A: Any, *args: Any, check_errors: bool = False, **kwargs: Any) -> Any:
        out = function(A, *args, **kwargs)
        return kind((out, torch.zeros(A.shape[:-2], dtype=torch.int32, device=A.device)))

    apply.__doc__ = f"`{name}`, and zeros: failures raise."
    rule(f"{name}_ex", "composition", getattr(torch.linalg, f"{name}_ex"))(apply)


_with_info("inv", inv)
_with_info("solve", solve)


@rule("matrix_power", "composition")
def matrix_power(A: Jet, n: int) -> Jet:
    """Aⁿ, by repeated squaring; of the inverse for n < 0."""
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        return jet_of(torch.linalg.matrix_power(A.value, 0), A)
    half = matrix_power(A, n // 2) if n > 1 else None
    if half is None:
        return Jet._of(A.rows.clone(), A.basis)
    square = matmul(half, half)
    return matmul(square, A) if n % 2 else square


# ---- determinants ---------------------------------------------------------------------------------------------------


def _log_of_determinant(A: Jet, name: str) -> Jet:
    """Ln det A − ln det A₀ = Σ_k (−1)ᵏ⁺¹ tr(Nᵏ)/k with N = A₀⁻¹(A − A₀), whose powers above the order vanish.

    Raises:
        ValueError: A₀ is singular (not noticed while compiling).
    """
    basis, value = A.basis, A.value
    moved = torch.cat([torch.zeros_like(A.rows[:1]), A.rows[1:]])
    n = _solved(value, Jet._of(moved, basis), _lu(value, name))
    total = n.diagonal(0, -2, -1).sum(-1)
    power = n
    for k in range(2, basis.order + 1):
        trace = product_of(power, n.mT).sum((-2, -1))
        total = total + trace * ((-1) ** (k + 1) / k)
        power = matmul(power, n) if k < basis.order else power
    return total


def _lu(value: Tensor, name: str) -> Callable[[Tensor], Tensor]:
    """What applies the inverse of a matrix to columns."""
    factors, pivots, singular = torch.linalg.lu_factor_ex(value)
    if not traced() and bool(singular.any()):
        raise ValueError(
            f"{name} of a jet: {int((singular > 0).sum())} of {singular.numel()} matrices are singular; expected "
            f"invertible ones, from whose inverses the derivative rows come. Add a multiple of the identity, or use "
            f'jetprop.jets.push(model, jet, backend="reference")'
        )
    return lambda columns: torch.linalg.lu_solve(factors, pivots, columns)


def _with_value(x: Jet, value: Tensor) -> Jet:
    return Jet._of(torch.cat([value.unsqueeze(0), x.rows[1:]]), x.basis)


@linear_algebra("det")
def det(A: Jet) -> Jet:
    """Det A₀ · exp(ln det A − ln det A₀): the value of A must be invertible."""
    return product_of(RULES["exp"].apply(_log_of_determinant(A, "det")), torch.linalg.det(A.value))


@linear_algebra("logdet")
def logdet(A: Jet) -> Jet:
    """The logarithm of the determinant; NaN where the determinant is negative."""
    return _with_value(_log_of_determinant(A, "logdet"), torch.logdet(A.value))


@linear_algebra("slogdet")
def slogdet(A: Jet) -> Any:
    """The sign of the determinant (its phase, if complex), and the logarithm of its magnitude."""
    logarithm = _log_of_determinant(A, "slogdet")
    sign, magnitude = torch.linalg.slogdet(A.value)
    if not A.is_complex():
        return _linalg_slogdet((jet_of(sign, A), _with_value(logarithm, magnitude)))
    phase = RULES["exp"].apply(product_of(logarithm.imag, 1j))
    return _linalg_slogdet((product_of(phase, sign), _with_value(logarithm.real, magnitude)))


# ---- factorisations -------------------------------------------------------------------------------------------------


def _hermitian(A: Jet) -> Jet:
    """The Hermitian part of every derivative row."""
    return Jet._of(torch.cat([A.rows[:1], (A.rows[1:] + A.rows[1:].mH) / 2]), A.basis)


@linear_algebra("cholesky", torch.linalg.cholesky)
def cholesky(A: Jet, upper: bool = False) -> Jet:
    """A = L Lᴴ: L_r = L₀ Φ(L₀⁻¹ (A_r − Σ″ L_s L_tᴴ) L₀⁻ᴴ), Φ the lower triangle with half the diagonal."""
    basis, rows = A.basis, _hermitian(A).rows.unbind(0)
    first = torch.linalg.cholesky(rows[0])
    found, adjoint = [first], [first.mH]
    for row in range(1, len(basis)):
        rest = less(rows[row], found, adjoint, terms(basis, row, left=True, right=True))
        half = torch.linalg.solve_triangular(first, rest, upper=False)
        middle = torch.linalg.solve_triangular(first.mH, half, upper=True, left=False)
        lower = middle.tril() - torch.diag_embed(middle.diagonal(0, -2, -1)) / 2
        found.append(first @ lower)
        adjoint.append(found[-1].mH)
    return Jet._of(torch.stack(adjoint if upper else found), basis)


_with_info("cholesky", cholesky)


@linear_algebra("eigh")
def eigh(A: Jet, UPLO: str = "L") -> Any:
    """A V = V Λ, VᴴV = 1, the eigenvalues all different.

    With V = V₀ U and B = V₀ᴴ A V₀: off the diagonal U_r = (Σ″ U_s Λ_t − Σ' B_s U_t)_ij / (λ_i − λ_j), on it
    −½ Σ″ U_sᴴ U_t, and Λ_r = (Σ' B_s U_t − Σ″ U_s Λ_t)_ii.

    Raises:
        ValueError: two eigenvalues are equal (not noticed while compiling).
    """
    basis = A.basis
    values, vectors = torch.linalg.eigh(A.value, UPLO)
    gaps = values.unsqueeze(-1) - values.unsqueeze(-2)
    diagonal = torch.eye(A.shape[-1], dtype=torch.bool, device=A.device)
    if not traced() and basis.order and bool(((gaps == 0) & ~diagonal).any()):
        raise ValueError(
            "eigh of a jet: two eigenvalues are equal, where neither they nor their vectors have derivatives; expected "
            "distinct ones. Break the symmetry, or use a function of the matrix itself (trace, det, inv, powers)"
        )
    gaps = gaps.masked_fill(diagonal, 1)
    b = (vectors.mH @ _hermitian(A).rows @ vectors).unbind(0)
    u: list[Tensor] = [torch.diag_embed(torch.ones_like(b[0].diagonal(0, -2, -1)))]
    lambdas: list[Tensor] = [torch.diag_embed(values).to(b[0].dtype)]
    adjoint = [u[0]]
    for row in range(1, len(basis)):
        proper = list(terms(basis, row, left=True, right=True))
        zero = torch.zeros_like(b[row])
        known = less(zero, b, u, terms(basis, row, left=True)) - less(zero, u, lambdas, iter(proper))
        overlap = less(zero, adjoint, u, iter(proper)) / 2
        lambdas.append(torch.where(diagonal, -known, 0))
        u.append(torch.where(diagonal, overlap, known / gaps))
        adjoint.append(u[-1].mH)
    found = torch.stack([values, *(x.diagonal(0, -2, -1).real for x in lambdas[1:])])
    turned = torch.stack([vectors, *(vectors @ x for x in u[1:])])
    return _linalg_eigh((Jet._of(found, basis), Jet._of(turned, basis)))


@linear_algebra("eigvalsh")
def eigvalsh(A: Jet, UPLO: str = "L") -> Jet:
    """The eigenvalues of `eigh`, all different."""
    return eigh(A, UPLO)[0]

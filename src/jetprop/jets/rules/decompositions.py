"""Factors that are not square or not symmetric: QR, singular values, eigenvalues, LU, and what follows from them.

As in `jetprop.jets.rules.linalg`, the rows of the factors come order by order from the equation that defines them: the
unknowns of row r enter it linearly, beside sums of products of lower rows, written Σ' (without s = 0) and Σ″ (with
neither s = 0 nor t = 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, return_types

from jetprop.jets.basis import Basis
from jetprop.jets.dispatch import rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.rules.contractions import matmul
from jetprop.jets.rules.linalg import less, linear_algebra, solve, solve_triangular, terms
from jetprop.jets.rules.operands import is_jet, jet_of
from jetprop.jets.rules.products import product_of
from jetprop.jets.tracing import traced

__all__: list[str] = []

_linalg_qr, _linalg_svd, _linalg_eig, _linalg_lstsq, _linalg_lu = (
    getattr(return_types, f"linalg_{name}") for name in ("qr", "svd", "eig", "lstsq", "lu")
)


def _gram(found: Sequence[Tensor], adjoint: Sequence[Tensor], basis: Basis, row: int) -> Tensor:
    """Σ″ X_sᴴ X_t: what the lower rows of a factor with XᴴX = 1 leave for −(X₀ᴴ X_r + X_rᴴ X₀)."""
    zero = torch.zeros_like(adjoint[0] @ found[0])
    return -less(zero, adjoint, found, terms(basis, row, left=True, right=True))


def _eye(x: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=x.dtype, device=x.device).expand(*x.shape[:-2], size, size)


def _refuse_equal(name: str, gaps: Tensor, what: str) -> None:
    """Raise where entries off the diagonal vanish (not noticed while compiling)."""
    if traced() or not gaps.numel():
        return
    apart = gaps.abs() + torch.eye(gaps.shape[-1], dtype=gaps.abs().dtype, device=gaps.device)
    if bool((apart == 0).any()):
        raise ValueError(
            f"{name} of a jet: two {what} are equal, where neither they nor their vectors have derivatives; expected "
            f"distinct ones. Break the symmetry, or use a function of the matrix itself (trace, det, pinv, powers)"
        )


# ---- QR -------------------------------------------------------------------------------------------------------------


def _qr_of_tall(A: Jet) -> tuple[Jet, Jet]:
    """A = QR with at least as many rows as columns, of full rank.

    With M = (A_r − Σ″ Q_s R_t) R₀⁻¹ = Q_r + Q₀ T and T = R_r R₀⁻¹ upper triangular, X = Q₀ᴴ Q_r has the strict lower
    triangle of Q₀ᴴ M, and X + Xᴴ = −Σ″ Q_sᴴ Q_t gives the rest; T = Q₀ᴴ M − X.
    """
    basis, rows = A.basis, A.rows.unbind(0)
    q0, r0 = torch.linalg.qr(rows[0])
    _refuse_singular("qr", r0.diagonal(0, -2, -1).detach())
    q, r, adjoint = [q0], [r0], [q0.mH]
    for row in range(1, len(basis)):
        rest = less(rows[row], q, r, terms(basis, row, left=True, right=True))
        m = torch.linalg.solve_triangular(r0, rest, upper=True, left=False)
        seen, gram = adjoint[0] @ m, _gram(q, adjoint, basis, row)
        lower = seen.tril(-1)
        diagonal = torch.diag_embed(seen.diagonal(0, -2, -1))
        x = lower - lower.mH - gram.triu(1) - torch.diag_embed(gram.diagonal(0, -2, -1)) / 2
        if x.is_complex():
            x = x + (diagonal - diagonal.conj()) / 2  # R has a real diagonal
        t = seen - x
        q.append(m - q0 @ t)
        r.append(t.triu() @ r0)
        adjoint.append(q[-1].mH)
    return Jet._of(torch.stack(q), basis), Jet._of(torch.stack(r), basis)


def _refuse_singular(name: str, pivots: Tensor) -> None:
    """Raise where a pivot vanishes to rounding, relative to the largest (not noticed while compiling)."""
    if traced() or not pivots.numel():
        return
    size = pivots.abs()
    if bool((size <= 8 * size.shape[-1] * torch.finfo(size.dtype).eps * size.amax(-1, True)).any()):
        raise ValueError(
            f"{name} of a jet: a matrix lacks full rank: its {pivots.shape[-1]} columns (or rows) are not independent, "
            f"and there the result has no derivatives. Drop dependent ones, or add a multiple of the identity (ridge)"
        )


@linear_algebra("qr", torch.linalg.qr)
def qr(A: Jet, mode: str = "reduced") -> Any:
    """A = QR with orthonormal columns of Q; the first columns of A, as many as there are rows at most, independent.

    Raises:
        ValueError: A lacks full rank, or `mode="complete"` with more rows than columns: the columns of Q beyond those
            of A are anybody's choice, and have no derivatives.
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: expected mode 'reduced', 'complete' or 'r', got {mode!r}")
    m, n = A.shape[-2:]
    if mode == "complete" and m > n:
        raise ValueError(f"qr of a jet: mode='complete' needs no more rows than columns, got {m} × {n}; use 'reduced'")
    q, r = _qr_of_tall(A if m >= n else A[..., :m])
    if m < n:
        beside: Any = [r, matmul(q.mH, A[..., m:])]
        r = torch.cat(beside, -1)
    return _linalg_qr((torch.empty(0, dtype=A.dtype, device=A.device) if mode == "r" else q, r))


def _old_qr(A: Jet, some: bool = True) -> Any:
    return qr(A, "reduced" if some else "complete")


for _spelling in (torch.qr, Tensor.qr):
    spell(_spelling, _old_qr)


@linear_algebra("pinv", torch.linalg.pinv, "pinverse")
def pinv(A: Jet, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Jet:
    """The pseudoinverse of a matrix of full rank: R⁻¹ Qᴴ with A = QR, or so of the adjoint.

    Raises:
        ValueError: a singular value is below the tolerances: where the rank changes, nothing is differentiable.
    """
    if not (hermitian or traced()):
        rank = torch.linalg.matrix_rank(A.value.detach(), atol=atol, rtol=rtol)
        if bool((rank < min(A.shape[-2:])).any()):
            raise ValueError(
                f"pinv of a jet: expected full rank, min{tuple(A.shape[-2:])}, got rank {int(rank.min())} within the "
                f"tolerances; where the rank can change, the pseudoinverse has no derivatives. Add a ridge"
            )
    if hermitian:
        raise TypeError("pinv on a jet takes hermitian=False; of a Hermitian matrix of full rank take torch.linalg.inv")
    if A.shape[-2] < A.shape[-1]:
        return pinv(A.mH, atol=atol, rtol=rtol).mH
    q, r = _qr_of_tall(A)
    return solve_triangular(r, q.mH, upper=True)


def _old_pinv(A: Jet, rcond: float = 1e-15) -> Jet:
    return pinv(A, rtol=rcond)


for _spelling in (torch.pinverse, Tensor.pinverse):
    spell(_spelling, _old_pinv)


@linear_algebra("lstsq")
def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X of smallest ‖A X − B‖ (and of those the smallest X), A of full rank; `residuals` are ‖A X − B‖².

    Raises:
        ValueError: A lacks full rank.
    """
    values = [x.value.detach() if is_jet(x) else x for x in (A, B)]
    plain = torch.linalg.lstsq(*values, rcond=rcond, driver=driver)
    vector = B.dim() == 1 or (A.dim() - 1 == B.dim() and B.shape == A.shape[:-1])
    if vector:
        B = B.unsqueeze(-1)
    m, n = A.shape[-2:]
    if not is_jet(A):
        x: Any = matmul(torch.linalg.pinv(A, rtol=rcond), B)
    elif m < n:
        q, r = _qr_of_tall(A.mH)  # A = Rᴴ Qᴴ
        x = matmul(q, solve_triangular(r.mH, B, upper=False))
    else:
        q, r = _qr_of_tall(A)
        x = solve_triangular(r, matmul(q.mH, B), upper=True)
    jet = A if is_jet(A) else B
    residuals, spectrum = (jet_of(t, jet) for t in (plain.residuals, plain.singular_values))  # empty, or replaced
    if spectrum.numel() and is_jet(A):
        spectrum = svdvals(A)
    if residuals.numel():
        difference = matmul(A, x) - B
        residuals = product_of(difference.conj(), difference).sum(-2)
        residuals = residuals.real if residuals.is_complex() else residuals
    x = x.squeeze(-1) if vector else x
    return _linalg_lstsq((x, residuals, plain.rank, spectrum))


# ---- singular values ------------------------------------------------------------------------------------------------


def _svd_of_tall(A: Jet, u0: Tensor, s0: Tensor, vh0: Tensor) -> tuple[Jet, Jet, Jet]:
    """A V = U S, given that of the value, with at least as many rows as columns, the singular values all different.

    With Y = V₀ᴴ V and X = U₀ᴴ U, K = Σ' A_s V_t − Σ″ U_s S_t, the equation of row r is S₀ Y_r + U₀ᴴ K = X_r S₀ + S_r.
    X_r = Ω − E/2, Y_r = Φ − G/2, where E = Σ″ U_sᴴ U_t, G = Σ″ V_sᴴ V_t and Ω, Φ are antihermitian. Two entries that
    face each other determine Ω_ij and Φ_ij; the diagonal determines S_r. Phases of complex vectors are those that leave
    the diagonal of Φ zero.
    """
    basis = A.basis
    squares = s0 * s0
    gaps = squares.unsqueeze(-1) - squares.unsqueeze(-2)
    if basis.order:
        _refuse_equal("svd", gaps.detach(), "singular values")
    if A.shape[-2] > A.shape[-1]:
        _refuse_singular("svd", s0.detach())
    diagonal = torch.eye(s0.shape[-1], dtype=torch.bool, device=s0.device)
    gaps, left, right = gaps.masked_fill(diagonal, 1), s0.unsqueeze(-1), s0.unsqueeze(-2)
    a = matmul(A, vh0.mH).rows.unbind(0)
    u, s, y = [u0], [torch.diag_embed(s0).to(u0.dtype)], [_eye(vh0, s0.shape[-1])]
    uh, yh = [u0.mH], [y[0]]
    for row in range(1, len(basis)):
        zero = torch.zeros_like(a[0])
        lower = less(zero, u, s, terms(basis, row, left=True, right=True))
        k = lower - less(zero, a, y, terms(basis, row, left=True))
        seen = uh[0] @ k
        e, g = _gram(u, uh, basis, row), _gram(y, yh, basis, row)
        j = seen - left * g / 2 + e * right / 2
        phi = torch.where(diagonal, 0, -(left * j + right * j.mH) / gaps)
        omega = torch.where(diagonal, 0, -(right * j + left * j.mH) / gaps)
        if j.is_complex():
            turned = torch.where(right == 0, 0, (j - j.mH) / 2 / torch.where(right == 0, 1, right))
            omega = omega + torch.where(diagonal, turned, 0)
        s.append(torch.where(diagonal, (j + j.mH) / 2, 0))
        y.append(phi - g / 2)
        u.append(u0 @ (omega - e / 2))
        if A.shape[-2] > A.shape[-1]:
            u[-1] = u[-1] + (k - u0 @ seen) / right
        uh.append(u[-1].mH)
        yh.append(y[-1].mH)
    values = torch.stack([s0, *(x.diagonal(0, -2, -1).real for x in s[1:])])
    turned_back = torch.stack([vh0, *(x.mH @ vh0 for x in y[1:])])
    return Jet._of(torch.stack(u), basis), Jet._of(values, basis), Jet._of(turned_back, basis)


@linear_algebra("svd", torch.linalg.svd)
def svd(A: Jet, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """A = U S Vᴴ, the singular values all different, and none 0 unless A is square.

    Raises:
        ValueError: two singular values are equal, one vanishes, or `full_matrices` of a matrix that is not square: the
            vectors beyond the reduced factors are anybody's choice, and have no derivatives.
    """
    m, n = A.shape[-2:]
    if full_matrices and m != n:
        raise ValueError(f"svd of a jet: expected full_matrices=False for a {m} × {n} matrix, got True")
    u, s, vh = torch.linalg.svd(A.value, full_matrices=False, driver=driver)
    if m >= n:
        return _linalg_svd(_svd_of_tall(A, u, s, vh))
    of_adjoint = _svd_of_tall(A.mH, vh.mH, s, u.mH)
    return _linalg_svd((of_adjoint[2].mH, of_adjoint[1], of_adjoint[0].mH))


def _old_svd(A: Jet, some: bool = True, compute_uv: bool = True) -> Any:
    if not compute_uv:
        raise TypeError("torch.svd on a jet takes compute_uv=True; use torch.linalg.svdvals")
    u, s, vh = svd(A, not some)
    return return_types.svd((u, s, vh.mH))


for _spelling in (torch.svd, Tensor.svd):
    spell(_spelling, _old_svd)


@linear_algebra("svdvals")
def svdvals(A: Jet, *, driver: str | None = None) -> Jet:
    """The singular values, all different."""
    return svd(A, full_matrices=False, driver=driver)[1]


# ---- eigenvalues ----------------------------------------------------------------------------------------------------


@linear_algebra("eig", torch.linalg.eig)
def eig(A: Jet) -> Any:
    """A V = V Λ with columns of norm 1, the eigenvalues all different; always complex.

    With V = V₀ U and B = V₀⁻¹ A V₀: off the diagonal U_r = (Σ″ U_s Λ_t − Σ' B_s U_t)_ij / (λ_i − λ_j), and
    Λ_r = (Σ' B_s U_t − Σ″ U_s Λ_t)_ii. The diagonal of U_r, real, keeps the norms: with W = V₀ᴴ V₀,
    2 Re (W U_r)_jj = −(Σ″ U_sᴴ W U_t)_jj.
    """
    basis = A.basis
    values, vectors = torch.linalg.eig(A.value)
    gaps = values.unsqueeze(-1) - values.unsqueeze(-2)
    if basis.order:
        _refuse_equal("eig", gaps.detach(), "eigenvalues")
    diagonal = torch.eye(A.shape[-1], dtype=torch.bool, device=A.device)
    gaps = gaps.masked_fill(diagonal, 1)
    b = solve(vectors, matmul(A.to(vectors.dtype), vectors)).rows.unbind(0)
    w = vectors.mH @ vectors
    u, lambdas = [_eye(w, A.shape[-1])], [torch.diag_embed(values)]
    adjoint, weighted = [u[0]], [w]
    for row in range(1, len(basis)):
        proper = list(terms(basis, row, left=True, right=True))
        zero = torch.zeros_like(b[row])
        known = less(zero, b, u, terms(basis, row, left=True)) - less(zero, u, lambdas, iter(proper))
        lambdas.append(torch.where(diagonal, -known, 0))
        beside = torch.where(diagonal, 0, known / gaps)
        norms = less(zero, adjoint, weighted, iter(proper)) / 2 - w @ beside
        u.append(torch.where(diagonal, norms.real.to(w.dtype), beside))
        adjoint.append(u[-1].mH)
        weighted.append(w @ u[-1])
    found = torch.stack([values, *(x.diagonal(0, -2, -1) for x in lambdas[1:])])
    turned = torch.stack([vectors, *(vectors @ x for x in u[1:])])
    return _linalg_eig((Jet._of(found, basis), Jet._of(turned, basis)))


@linear_algebra("eigvals")
def eigvals(A: Jet) -> Jet:
    """The eigenvalues of `eig`, all different."""
    return eig(A)[0]


# ---- functions ------------------------------------------------------------------------------------------------------

_PADE = [math.factorial(26 - k) / (math.factorial(k) * math.factorial(13 - k)) for k in range(14)]
"""Coefficients of the numerator of the Padé approximant of degree 13 to eˣ, up to a factor."""


@linear_algebra("matrix_exp", torch.linalg.matrix_exp)
def matrix_exp(A: Jet) -> Jet:
    """e^A, by squaring e^(A/2ˢ) s times; a Padé approximant of degree 13 gives that where ‖A₀/2ˢ‖ ≤ 1.

    Its error is of the 27th order in the norm, 10⁻²⁶, so that derivatives come out to rounding as the value does.
    """
    if not A.numel():
        return A
    size = float(torch.linalg.matrix_norm(A.value.detach(), 1).amax())
    halvings = max(0, math.ceil(math.log2(size))) if math.isfinite(size) and size > 0 else 0
    x = product_of(A, 0.5**halvings)
    b = [c / _PADE[0] for c in _PADE]
    identity = _eye(x.value, A.shape[-1])
    x2 = matmul(x, x)
    x4 = matmul(x2, x2)
    x6 = matmul(x2, x4)
    odd = matmul(x6, b[13] * x6 + b[11] * x4 + b[9] * x2) + b[7] * x6 + b[5] * x4 + b[3] * x2 + b[1] * identity
    even = matmul(x6, b[12] * x6 + b[10] * x4 + b[8] * x2) + b[6] * x6 + b[4] * x4 + b[2] * x2 + b[0] * identity
    odd = matmul(x, odd)
    out = solve(even - odd, even + odd)
    for _ in range(halvings):
        out = matmul(out, out)
    return out


@rule("matrix_rank", "value")
def matrix_rank(A: Any, *args: Any, **kwargs: Any) -> Tensor:
    """A whole number."""
    return torch.linalg.matrix_rank(A.value, *args, **kwargs)

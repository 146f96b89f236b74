"""Cases of linear algebra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jets.cases.fourier import as_complex, as_real
from jets.rule_cases import DTYPE, Case, drawn

EYE = torch.eye(2, dtype=DTYPE)
X, A = drawn(2, 2), drawn(2, 2, seed=1) + 2 * EYE
BATCH = drawn(2, 2, 2, seed=2)
VECTOR = drawn(2, seed=3)
L = torch.linalg


def regular(x: Any) -> Any:
    """An invertible matrix."""
    return x + 3 * EYE


def positive(x: Any) -> Any:
    """A Hermitian matrix with positive eigenvalues, no two alike."""
    return x @ x.mH + EYE + torch.diag(EYE[0])


def case(rule: str, function: Callable, label: str = "", x: torch.Tensor = X, **options: Any) -> Case:
    return Case(rule, function, x, label, **{"order": 3, **options})


def complex_case(rule: str, function: Callable) -> Case:
    return case(rule, lambda x: as_real(function(as_complex(x))), "complex")


def projector(a: Any) -> Any:
    """Eigenvectors up to their phase."""
    (_, v) = L.eigh(a)
    return v[:, :1] @ v[:, :1].mH


CASES = [
    case("solve", lambda x: L.solve(regular(x), x)),
    case("solve", lambda x: L.solve(A, x), "constant matrix", order=4),
    case("solve", lambda x: L.solve(regular(x), A), "constant right side"),
    case("solve", lambda x: L.solve(regular(x), x[0]), "vector"),
    case("solve", lambda x: L.solve(regular(x), A, left=False), "from the right"),
    case("solve", lambda x: L.solve(regular(x), BATCH), "batch of right sides"),
    case("solve", lambda x: L.solve(regular(x), VECTOR.expand(2, 2)), "vectors", BATCH),
    complex_case("solve", lambda z: L.solve(regular(z), z)),
    case(
        "inv",
        lambda x: L.inv(regular(x)),
        "",
        BATCH,
        spellings={"inverse": lambda x: torch.inverse(regular(x)), "method": lambda x: regular(x).inverse()},
        per_sample=True,
    ),
    complex_case("inv", lambda z: L.inv(regular(z))),
    case("solve_triangular", lambda x: L.solve_triangular(regular(x), x, upper=True)),
    case("solve_triangular", lambda x: L.solve_triangular(regular(x), A, upper=False, unitriangular=True), "unit"),
    case("solve_triangular", lambda x: L.solve_triangular(A, x, upper=False, left=False), "from the right"),
    case("cholesky_solve", lambda x: torch.cholesky_solve(x, regular(x).tril())),
    case("cholesky_solve", lambda x: torch.cholesky_solve(A, regular(x).triu(), upper=True), "upper"),
    case("cholesky_inverse", lambda x: torch.cholesky_inverse(regular(x).tril())),
    case("matrix_power", lambda x: L.matrix_power(x, 5), "5", spellings={"method": lambda x: x.matrix_power(5)}),
    case("matrix_power", lambda x: L.matrix_power(x, 1), "1"),
    case("matrix_power", lambda x: L.matrix_power(x, 0) @ x, "0"),
    case("matrix_power", lambda x: L.matrix_power(regular(x), -2), "-2"),
    case(
        "det",
        lambda x: L.det(x),
        "",
        BATCH,
        spellings={"torch": torch.det, "method": lambda x: x.det()},
        per_sample=True,
    ),
    complex_case("det", L.det),
    case("logdet", lambda x: torch.logdet(positive(x)), order=4),
    case("slogdet", lambda x: L.slogdet(x).logabsdet, spellings={"torch": lambda x: torch.slogdet(x)[1]}),
    case("slogdet", lambda x: L.slogdet(x).sign, "sign"),
    complex_case("slogdet", lambda z: L.slogdet(z)[0] * L.slogdet(z)[1]),
    case("cholesky", lambda x: L.cholesky(positive(x))),
    case("cholesky", lambda x: L.cholesky(positive(x), upper=True), "upper"),
    complex_case("cholesky", lambda z: L.cholesky(positive(z))),
    case("eigh", lambda x: L.eigh(positive(x)).eigenvectors),
    case("eigh", lambda x: L.eigh(x + x.mT, UPLO="U")[0], "values"),
    complex_case("eigh", lambda z: projector(positive(z))),
    case("eigvalsh", lambda x: L.eigvalsh(positive(x))),
    complex_case("eigvalsh", lambda z: L.eigvalsh(positive(z))),
    case(
        "tril",
        lambda x: x.tril(-1),
        "",
        BATCH,
        spellings={"torch": lambda x: torch.tril(x, diagonal=-1), "in place": lambda x: x.clone().tril_(-1)},
        per_sample=True,
    ),
    case("triu", lambda x: x.triu(), "", BATCH, per_sample=True),
    case("trace", torch.trace, spellings={"method": lambda x: x.trace()}),
    case("diag", lambda x: torch.diag(x, 1)),
    case("diag", lambda x: x[0].diag(-1), "of a vector"),
    case("diagflat", lambda x: torch.diagflat(x, 1)),
    case("diag_embed", lambda x: torch.diag_embed(x, 1, 0, -1)),
    case("diagonal_scatter", lambda x: torch.diagonal_scatter(x, x[0] ** 2)),
    case("diagonal_scatter", lambda x: torch.diagonal_scatter(A, x[0, :1], 1, -2, -1), "into a constant"),
]

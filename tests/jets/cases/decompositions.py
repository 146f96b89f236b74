"""Cases of QR, singular values, eigenvalues and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jets.cases.fourier import as_complex, as_real
from jets.rule_cases import Case, drawn

L = torch.linalg
TALL, WIDE, SQUARE = drawn(3, 2, seed=1), drawn(2, 3, seed=2), drawn(2, 2, seed=3)
BATCH = drawn(2, 3, 2, seed=4)
RIGHT, VECTOR = drawn(3, 2, seed=5), drawn(3, seed=6)


def case(rule: str, function: Callable, x: Tensor, label: str = "", **options: Any) -> Case:
    return Case(rule, function, x, label, **{"order": 3, **options})


def complex_case(rule: str, function: Callable, x: Tensor, label: str = "complex") -> Case:
    return case(rule, lambda x: as_real(function(as_complex(x))), x, label, order=2)


def rebuilt(a: Any) -> Any:
    """U S² Vᴴ, which does not know the phases of the vectors."""
    (u, s, vh) = L.svd(a, full_matrices=False)
    return (u * s**2) @ vh


def projector(a: Any) -> Any:
    """On one eigenvector, along the others."""
    (_, v) = L.eig(a)
    return v[:, :1] @ L.inv(v)[:1]


def normed(a: Any) -> Any:
    """The orthogonal projector on one eigenvector, which knows its norm."""
    (_, v) = L.eig(a)
    return v[:, :1] @ v[:, :1].mH


CASES = [
    case("qr", lambda x: L.qr(x)[0], BATCH, "Q", per_sample=True),
    case("qr", lambda x: L.qr(x).R, TALL, "R"),
    case("qr", lambda x: L.qr(x, "complete")[1], WIDE, "wide"),
    case("qr", lambda x: L.qr(x, mode="r")[1], TALL, "R alone", oracle=lambda x: L.qr(x)[1]),
    complex_case("qr", lambda z: L.qr(z)[0], TALL, "complex Q"),
    complex_case("qr", lambda z: L.qr(z)[1], TALL, "complex R"),
    case("svd", lambda x: L.svd(x, full_matrices=False)[0], TALL, "U", spellings={"old": lambda x: torch.svd(x)[0]}),
    case("svd", lambda x: L.svd(x, full_matrices=False).Vh, WIDE, "V", spellings={"old": lambda x: x.svd().V.mT}),
    case("svd", lambda x: L.svd(x)[0], SQUARE, "square"),
    complex_case("svd", rebuilt, TALL),
    complex_case("svd", rebuilt, WIDE, "complex, wide"),
    case("svdvals", L.svdvals, BATCH, "", per_sample=True),
    case("svdvals", L.svdvals, WIDE, "wide"),
    case("pinv", L.pinv, BATCH, spellings={"old": torch.pinverse, "method": lambda x: x.pinverse()}),
    case("pinv", lambda x: L.pinv(x, rtol=1e-3), WIDE, "wide"),
    complex_case("pinv", L.pinv, TALL),
    case("lstsq", lambda x: L.lstsq(x, RIGHT)[0], TALL),
    case("lstsq", lambda x: L.lstsq(x, x[:, :1] * x[:, 1:]).solution, TALL, "jets"),
    case("lstsq", lambda x: L.lstsq(x, RIGHT[:2])[0], WIDE, "wide"),
    case("lstsq", lambda x: L.lstsq(RIGHT, x)[0], TALL, "constant matrix"),
    case("lstsq", lambda x: L.lstsq(x, VECTOR.expand(2, 3))[0], BATCH, "vectors"),
    case(
        "lstsq",
        lambda x: L.lstsq(x, RIGHT, driver="gels").residuals,
        TALL,
        "residuals",
        oracle=lambda x: ((x @ L.lstsq(x, RIGHT)[0] - RIGHT) ** 2).sum(-2),
    ),
    complex_case("lstsq", lambda z: L.lstsq(z, RIGHT.to(z.dtype))[0], TALL),
    complex_case("eig", projector, SQUARE),
    complex_case("eig", normed, SQUARE, "complex, norms"),
    case("eig", lambda x: as_real(L.eig(x).eigenvalues), SQUARE, "of real matrices"),
    case("eigvals", lambda x: as_real(L.eigvals(x)), drawn(3, 3, seed=7)),
    case(
        "matrix_exp",
        torch.matrix_exp,
        drawn(2, 2, 2, seed=8),
        spellings={"method": lambda x: x.matrix_exp(), "linalg": L.matrix_exp},
        per_sample=True,
    ),
    case("matrix_exp", lambda x: torch.matrix_exp(4 * x), SQUARE, "large"),
    complex_case("matrix_exp", torch.matrix_exp, SQUARE),
    case("inv_ex", lambda x: L.inv_ex(x)[0], SQUARE),
    case("solve_ex", lambda x: L.solve_ex(x, RIGHT[:2]).result, SQUARE),
    case("cholesky_ex", lambda x: L.cholesky_ex(x @ x.mT, upper=True)[0], SQUARE),
]

VALUE_CASES = [("matrix_rank", L.matrix_rank), ("matrix_rank", lambda x: L.matrix_rank(x, atol=0.1))]

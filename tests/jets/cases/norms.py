"""Cases of norms and distances."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from jets.rule_cases import Case, drawn

X = drawn(2, 3)
OTHER = drawn(2, 3, seed=3)
MATRICES = drawn(2, 2, 3, seed=4)


def distances(x, y, p: float):
    """PyTorch's own has no second derivative."""
    return torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)


def pairs(x, p: float):
    """The distances of every row from every later one."""
    return torch.stack([torch.linalg.vector_norm(x[i] - x[j], p) for i in range(len(x)) for j in range(i + 1, len(x))])


CASES = [
    *(
        Case("vector_norm", lambda x, p=p: torch.linalg.vector_norm(x, p, -1), X, f"p={p:g}")
        for p in (2, 1, 3, 4, 2.5, -1, 0, math.inf, -math.inf)
    ),
    Case("vector_norm", torch.linalg.vector_norm, X, "all"),
    Case("vector_norm", lambda x: torch.linalg.vector_norm(x, 3.0, (0, -1), keepdim=True), X, "kept"),
    Case("vector_norm", lambda x: torch.linalg.vector_norm(x, math.inf, (0, 1), True), X, "largest, kept"),
    Case("vector_norm", lambda x: torch.linalg.vector_norm(x.sum()), X, "0-d"),
    Case("vector_norm", lambda x: torch.linalg.vector_norm(x, dim=1, dtype=torch.float64), X, "dtype"),
    *(
        Case("matrix_norm", lambda x, p=p: torch.linalg.matrix_norm(x, p), MATRICES, str(p))
        for p in ("fro", 1, -1, math.inf, -math.inf)
    ),
    *(
        Case("matrix_norm", lambda x, p=p: torch.linalg.matrix_norm(x, p), MATRICES, str(p), order=3)
        for p in ("nuc", 2, -2)
    ),
    Case("matrix_norm", lambda x: torch.linalg.matrix_norm(x, 2, (2, 0), keepdim=True), MATRICES, "2, kept", order=3),
    Case("matrix_norm", lambda x: torch.linalg.matrix_norm(x, 1, (0, -1), keepdim=True), MATRICES, "kept"),
    Case(
        "norm",
        lambda x: x.norm(),
        X,
        "",
        {"torch": torch.norm, "linalg": torch.linalg.norm, "fro": lambda x: torch.linalg.norm(x, "fro")},
    ),
    Case(
        "norm",
        lambda x: x.norm(3, 0, keepdim=True),
        X,
        "axis",
        {
            "linalg": lambda x: torch.linalg.norm(x, 3, 0, True),
            "torch": lambda x: torch.norm(x, p=3, dim=(0,), keepdim=True),
        },
    ),
    Case("norm", lambda x: torch.norm(x, 1, (1, 2)), MATRICES, "of a vector"),
    Case("norm", lambda x: torch.linalg.norm(x, 1, (1, 2)), MATRICES, "of a matrix"),
    Case("dist", lambda x: torch.dist(x, OTHER, 3), X, "", {"method": lambda x: OTHER.dist(x, 3)}),
    Case(
        "cdist",
        lambda x: torch.cdist(x, OTHER),
        X,
        "",
        {"mode": lambda x: torch.cdist(x, OTHER, 2.0, "donot_use_mm_for_euclid_dist")},
        oracle=lambda x: distances(x, OTHER, 2),
    ),
    Case("pdist", lambda x: F.pdist(x, 3.0), drawn(4, 2, seed=5), oracle=lambda x: pairs(x, 3)),
    Case("cdist", lambda x: torch.cdist(x, x + OTHER, p=3.0), X, "jets", oracle=lambda x: distances(x, x + OTHER, 3)),
]

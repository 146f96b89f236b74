"""Cases of matrix products and of what einsum and its relatives do."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from jets.rule_cases import Case, drawn

X = drawn(2, 3)
OTHER = drawn(2, 3, seed=3)
SQUARE = drawn(2, 2, seed=5)
THIRD = drawn(3, 2, seed=6)
WEIGHT, BIAS = drawn(2, 3, 3, seed=7), drawn(2, seed=8)
BLOCKS = drawn(2, 2, 2, seed=9)

PAIRS: Any = [0, -1], [1, 0]

EQUATIONS = {
    "ij,jk->ik": lambda x: (x, THIRD),
    "jk,ij->ki": lambda x: (THIRD, x),
    "ij,jk,kl": lambda x: (x, THIRD, OTHER),
    "jk,kl,ij->il": lambda x: (THIRD, OTHER, x),
    "ij,kj,lj->ikl": lambda x: (x, x, x),
    "...i,...i->...": lambda x: (x, x),
    "i...,j...": lambda x: (x, OTHER),
    "a...b, ...b -> ...a": lambda x: (x, x),
    "ij,j->i": lambda x: (x, x[0, :1]),
    "ij->ji": lambda x: (x,),
    "i j": lambda x: (x,),
    "ij->": lambda x: (x,),
    "...i->i": lambda x: (x,),
    "...ii->...": lambda x: (x @ THIRD,),
    "ii,ij->j": lambda x: (x @ THIRD, x),
}

CASES = [
    Case(
        "matmul",
        lambda x: x @ OTHER.T,
        X,
        "constant",
        {
            "torch": lambda x: torch.matmul(x, OTHER.T),
            "mm": lambda x: torch.mm(x, OTHER.T),
            "method": lambda x: x.matmul(OTHER.T),
        },
        per_sample=True,
    ),
    Case("matmul", lambda x: OTHER.T @ x, X, "constant first", {"mm": lambda x: OTHER.T.mm(x)}),
    Case("matmul", lambda x: x @ x.mT, X, "jets"),
    Case("matmul", lambda x: torch.bmm(x, drawn(2, 2, 3, seed=6)), drawn(2, 1, 2), "bmm"),
    Case("mv", lambda x: torch.mv(SQUARE, x), drawn(2), "", {"matmul": lambda x: SQUARE @ x}),
    Case("mv", lambda x: torch.mv(x, SQUARE[0]), SQUARE, "of a jet", {"matmul": lambda x: x @ SQUARE[0]}),
    Case("dot", lambda x: torch.dot(x, SQUARE[0]), drawn(2), "", {"method": lambda x: SQUARE[0].dot(x)}),
    Case("dot", lambda x: torch.dot(x, x), drawn(3), "of jets"),
    Case("rmatmul", lambda x: x.__rmatmul__(OTHER.T), X),
    Case("inner", lambda x: torch.inner(x, OTHER), X, "", {"method": lambda x: OTHER.inner(x).T}),
    Case("inner", lambda x: torch.inner(x, x), SQUARE, "jets"),
    Case("inner", lambda x: torch.inner(x[0], OTHER), X, "vector"),
    Case("inner", lambda x: torch.inner(x.sum(), OTHER), X, "0-d"),
    Case(
        "addmm",
        lambda x: torch.addmm(x[:, :2], x, OTHER.T, beta=0.5, alpha=2),
        X,
        "",
        {"method": lambda x: x[:, :2].addmm(x, OTHER.T, beta=0.5, alpha=2)},
    ),
    Case("addmm", lambda x: torch.addmm(x, SQUARE, OTHER), X, "constant product"),
    Case(
        "addmm", lambda x: torch.baddbmm(OTHER, x, OTHER[None].mT @ SQUARE.new_ones(1, 2, 3)), drawn(1, 2, 3), "baddbmm"
    ),
    Case("addmv", lambda x: torch.addmv(SQUARE[0], SQUARE, x), drawn(2)),
    Case("matmul", lambda x: torch.linalg.matmul(BLOCKS, x), drawn(2, 1), "constant of higher rank"),
    Case("matmul", lambda x: x[0] @ x.unsqueeze(-1) @ SQUARE[:1], drawn(2, 2), "jets of differing rank"),
    Case("addmm", lambda x: torch.addmm(X.new_full((2, 2), torch.nan), x, x.mT, beta=0), X, "without the first"),
    Case("addbmm", lambda x: torch.addbmm(SQUARE, x, BLOCKS, beta=0.5, alpha=2), drawn(2, 2, 2)),
    Case("addbmm", lambda x: torch.addbmm(x[0], BLOCKS, BLOCKS), drawn(1, 2, 2), "constant product"),
    Case(
        "addr",
        lambda x: torch.addr(OTHER, x[:, 0], x[0], beta=0.5, alpha=2),
        X,
        "",
        {"method": lambda x: OTHER.addr(x[:, 0], x[0], beta=0.5, alpha=2)},
    ),
    Case(
        "bilinear",
        lambda x: F.bilinear(x, OTHER, WEIGHT, BIAS),
        X,
        "",
        {"torch": lambda x: torch.bilinear(x, OTHER, WEIGHT, BIAS)},
        per_sample=False,
    ),
    Case("bilinear", lambda x: F.bilinear(x, x.roll(1, 0), WEIGHT), X, "jets"),
    Case("multi_dot", lambda x: torch.linalg.multi_dot([x, THIRD, OTHER]), X),
    Case("multi_dot", lambda x: torch.linalg.multi_dot([x[0], THIRD, x, x.mT, x[:, 0]]), X, "vectors at the ends"),
    Case("chain_matmul", lambda x: torch.linalg.multi_dot([THIRD, x, THIRD]), X),
    Case("vdot", lambda x: torch.vdot(x, OTHER[0]), drawn(3), "", {"method": lambda x: OTHER[0].vdot(x)}),
    Case("vecdot", lambda x: torch.linalg.vecdot(x, OTHER), X),
    Case("vecdot", lambda x: torch.linalg.vecdot(x, x[:1], dim=0), X, "jets"),
    Case("vecdot", lambda x: torch.linalg.vecdot(x[0], x), X, "broadcast"),
    Case(
        "outer",
        lambda x: torch.outer(x, OTHER[0]),
        drawn(2),
        "",
        {"ger": lambda x: torch.ger(x, OTHER[0]), "method": lambda x: x.outer(OTHER[0])},
    ),
    Case("outer", lambda x: torch.outer(x, x), drawn(2), "jets"),
    Case("kron", lambda x: torch.kron(x, THIRD), X, "", {"method": lambda x: x.kron(THIRD)}),
    Case("kron", lambda x: torch.kron(x[0], x), drawn(2, 2), "jets of differing rank"),
    Case(
        "cross",
        lambda x: torch.linalg.cross(x, OTHER),
        X,
        "",
        {"torch": lambda x: torch.cross(x, OTHER, dim=1)},
        per_sample=False,
    ),
    Case(
        "cross",
        lambda x: torch.cross(x.mT, x.flip(1).mT, dim=0),
        X,
        "jets",
        {"method": lambda x: x.mT.cross(x.flip(1).mT, dim=-2)},
    ),
    Case("tensordot", lambda x: torch.tensordot(x, THIRD, 1), X),
    Case("tensordot", lambda x: torch.tensordot(BLOCKS, x, PAIRS), SQUARE, "lists"),
    Case("tensordot", lambda x: torch.tensordot(x, x, 0), drawn(2), "no axis"),
    Case("tensordot", lambda x: torch.tensordot(x, x, 2), X, "every axis"),
    *(Case("einsum", lambda x, e=e, of=of: torch.einsum(e, *of(x)), X, e) for e, of in EQUATIONS.items()),
    Case("einsum", lambda x: torch.einsum(THIRD, [0, 1], x, [1, ...], [..., 0]), X, "numbers"),
    Case("einsum", lambda x: torch.einsum("ij,jk", [x, THIRD]), X, "operands in a list"),
]

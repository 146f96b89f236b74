"""Cases of stacks, splits, grids, quarter turns, and statistics of variables in rows."""

from __future__ import annotations

from typing import Any

import torch

from jets.rule_cases import Case, drawn, tensor

X, OTHER, VECTOR = drawn(2, 3), drawn(2, 3, seed=1), drawn(3, seed=2)
COUNTS, WEIGHTS = torch.tensor([1, 2, 3]), tensor(0.2, 0.5, 0.7)
POSITIVE = drawn(2, 2, low=2.0, high=4.0)


def case(rule: str, function: Any, label: str = "", x: Any = X, **spellings: Any) -> Case:
    return Case(rule, function, x, label, spellings)


CASES = [
    case("atleast_1d", lambda x: torch.atleast_1d(x[0, 0])),
    case("atleast_2d", lambda x: torch.atleast_2d(x[0]), several=lambda x: torch.atleast_2d((x[0], OTHER))[0]),
    case("atleast_3d", torch.atleast_3d),
    case("atleast_3d", lambda x: torch.atleast_3d(OTHER, x[0])[1], "vector"),
    case("hstack", lambda x: torch.hstack([x, OTHER])),
    case("hstack", lambda x: torch.hstack((x[0], VECTOR, x[0, 0])), "vectors"),
    case("vstack", lambda x: torch.vstack([VECTOR, x]), row_stack=lambda x: torch.row_stack([VECTOR, x])),
    case("dstack", lambda x: torch.dstack([x, OTHER])),
    case("dstack", lambda x: torch.dstack([VECTOR, x[0]]), "vectors"),
    case("column_stack", lambda x: torch.column_stack([x, x[:, 0], OTHER])),
    case("meshgrid", lambda x: torch.meshgrid(x[0], x[1], indexing="ij")[1]),
    case("meshgrid", lambda x: torch.meshgrid([VECTOR[:2], x[0], x[1]], indexing="xy")[1], "xy"),
    case("hsplit", lambda x: torch.hsplit(x, 3)[1], method=lambda x: x.hsplit([1, 2])[1]),
    case("hsplit", lambda x: torch.hsplit(x[0], [1])[1], "vector"),
    case("vsplit", lambda x: x.vsplit(2)[1]),
    case("dsplit", lambda x: torch.dsplit(x[None], [1, 2])[1]),
    case("fliplr", torch.fliplr),
    case("flipud", lambda x: x.flipud()),
    *(case("rot90", lambda x, k=k: torch.rot90(x, k), str(k)) for k in (0, 1, 2, 3)),
    case("rot90", lambda x: torch.rot90(x, -1, [-1, 0]), "axes"),
    case("select_scatter", lambda x: torch.select_scatter(x, x[0] ** 2, 0, 1)),
    case("select_scatter", lambda x: torch.select_scatter(OTHER, x[:, 0], 1, -1), "into a constant"),
    case("slice_scatter", lambda x: x.slice_scatter(OTHER[:, :1], 1, 1, 2)),
    case("slice_scatter", lambda x: torch.slice_scatter(OTHER, x[:, :2], -1, step=2), "into a constant"),
    case("cov", torch.cov, method=lambda x: x.cov()),
    case("cov", lambda x: torch.cov(x, fweights=COUNTS), "counts"),
    case("cov", lambda x: torch.cov(x, correction=0, fweights=COUNTS, aweights=WEIGHTS), "weights"),
    case("cov", lambda x: torch.cov(x[0]), "vector"),
    case("corrcoef", torch.corrcoef),
    case("gradient", lambda x: torch.gradient(x)[1]),
    case("gradient", lambda x: torch.gradient(x, spacing=2.0, dim=-1, edge_order=2)[0], "of one axis"),
    case("gradient", lambda x: torch.gradient(x, spacing=(tensor(0.0, 0.3),), dim=0)[0], "at points"),
    case("mvlgamma", lambda x: torch.mvlgamma(x, 3), x=POSITIVE, special=lambda x: torch.special.multigammaln(x, 3)),
]

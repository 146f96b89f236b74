"""Cases of entries picked and written by index or mask."""

from __future__ import annotations

import torch

from jets.cases.losses import quiet
from jets.rule_cases import Case, drawn, tensor

X = drawn(2, 3)
OTHER = drawn(2, 3, seed=3)
MASK = torch.tensor([[True, False, True], [False, True, True]])
INDEX = torch.tensor([[0, 2], [1, 1]])
APART = torch.tensor([[0, 2], [1, 0]])
SLICES = torch.tensor([2, 0])
PLACES = (torch.tensor([0, 1]), torch.tensor([2, 2]))


CASES = [
    Case(
        "scatter",
        lambda x: torch.scatter(x, 1, APART, x[:, 1:] * x[:, :2]),
        X,
        "jet",
        {
            "method": lambda x: x.scatter(-1, APART, src=x[:, 1:] * x[:, :2]),
            "in place": lambda x: x.clone().scatter_(1, APART, x[:, 1:] * x[:, :2]),
        },
    ),
    Case("scatter", lambda x: OTHER.scatter(1, APART, x[:, :2]), X, "into a constant"),
    Case("scatter", lambda x: x.scatter(1, APART, OTHER), X, "constant"),
    Case(
        "scatter",
        lambda x: x.scatter(1, APART, 0.5),
        X,
        "number",
        {"keyword": lambda x: x.scatter(1, APART, value=0.5)},
    ),
    Case(
        "scatter",
        quiet(lambda x: x.scatter(1, INDEX, OTHER, reduce="add")),
        X,
        "sum",
        oracle=lambda x: x.scatter_add(1, INDEX, OTHER),
    ),
    Case(
        "scatter_add",
        lambda x: torch.scatter_add(x, 1, INDEX, x[:, :2] ** 2),
        X,
        "",
        {"larger": lambda x: x.scatter_add(-1, INDEX, x * x)},
    ),
    Case("scatter_add", lambda x: OTHER.scatter_add(1, INDEX, x[:, :2]), X, "to a constant"),
    *(
        Case(
            "scatter_reduce",
            lambda x, r=r, s=s: x.scatter_reduce(1, INDEX, x[:, 1:] ** 2, r, include_self=s),
            X,
            f"{r}, {s}",
        )
        for r in ("sum", "mean")
        for s in (True, False)
    ),
    Case(
        "index_add",
        lambda x: torch.index_add(x, 1, SLICES, x[:, :2] * OTHER[:, :2], alpha=0.5),
        X,
        "",
        {"method": lambda x: x.index_add(-1, SLICES, x[:, :2] * OTHER[:, :2], alpha=0.5)},
    ),
    Case("index_copy", lambda x: torch.index_copy(x, 1, SLICES, x[:, :2] ** 2), X),
    Case("index_copy", lambda x: x.index_copy(1, SLICES, OTHER[:, :2]), X, "constant"),
    Case(
        "index_fill",
        lambda x: torch.index_fill(x, 1, SLICES, 0.5),
        X,
        "",
        {"method": lambda x: x.index_fill(-1, SLICES, tensor(0.5))},
    ),
    Case("index_fill", lambda x: x.index_fill(0, SLICES[1:], x[1, 1] * x[0, 1]), X, "jet"),
    Case(
        "index_put",
        lambda x: torch.index_put(x, PLACES, x[:, 0] * x[:, 1]),
        X,
        "",
        {"method": lambda x: x.index_put(PLACES, x[:, 0] * x[:, 1])},
    ),
    Case("index_put", lambda x: x.index_put(PLACES, OTHER[:, 0], accumulate=True), X, "added"),
    Case("put", lambda x: torch.put(x, SLICES, x[0, :2] * x[1, :2]), X),
    Case("put", lambda x: x.put(SLICES, OTHER[0, :2], accumulate=True), X, "added"),
    Case(
        "masked_scatter",
        lambda x: torch.masked_scatter(x, MASK, x * OTHER),
        X,
        "",
        {"method": lambda x: x.masked_scatter(MASK, x * OTHER)},
    ),
    Case("masked_scatter", lambda x: OTHER.masked_scatter(MASK[:1], x), X, "into a constant"),
    Case("masked_select", lambda x: torch.masked_select(x, MASK), X, "", {"method": lambda x: x.masked_select(MASK)}),
    Case("masked_select", lambda x: x[:1].masked_select(MASK), X, "broadcast"),
    Case("take", lambda x: torch.take(x, INDEX), X, "", {"method": lambda x: x.take(INDEX - 6)}),
    Case(
        "take_along_dim",
        lambda x: torch.take_along_dim(x, INDEX, 1),
        X,
        "",
        {"method": lambda x: x.take_along_dim(INDEX, dim=-1)},
    ),
    Case("take_along_dim", lambda x: x.take_along_dim(INDEX[:1], 1), X, "broadcast"),
    Case("take_along_dim", lambda x: x.take_along_dim(INDEX), X, "flat"),
]

"""Cases of the selections: the value decides, the rows follow."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from jets.cases.elementwise import BEYOND_KINKS
from jets.cases.linear import draws
from jets.rule_cases import Case, drawn, tensor

X = drawn(2, 3)
OTHER = drawn(2, 3, seed=3)
MASK = torch.tensor([[True, False, True], [False, True, True]])
INDEX = torch.tensor([[0, 2], [1, 1]])
SLOPE = tensor([0.3])
SLOPES = drawn(3, low=0.1, high=0.5, seed=4)


def pools(space: int) -> list[Case]:
    name, pool = f"max_pool{space}d", getattr(F, f"max_pool{space}d")
    adaptive = getattr(F, f"adaptive_max_pool{space}d")
    x, small = drawn(1, 1, *[4 if space < 3 else 2] * space, seed=5), drawn(1, 2, *[2] * space, seed=6)
    sizes = (2, *[1] * (space - 1))
    low_level = torch if space == 1 else sys.modules["torch._C._nn"]
    return [
        Case(
            name,
            lambda x: pool(x, 2),
            x,
            "",
            {
                "module": getattr(nn, f"MaxPool{space}d")(2),
                "torch": lambda x: getattr(torch, name)(x, 2),
                "indices": lambda x: pool(x, 2, return_indices=True)[0],
                "module with indices": lambda x: getattr(nn, f"MaxPool{space}d")(2, return_indices=True)(x)[0],
            },
            per_sample=True,
        ),
        Case(name, lambda x: pool(x, 2, stride=1, padding=1, ceil_mode=True), small, "padding, ceil"),
        Case(name, lambda x: pool(x, 2), drawn(1, *[2] * space, seed=7), "no batch"),
        Case(
            f"{name}_with_indices",
            lambda x: getattr(F, f"{name}_with_indices")(x, 2)[0],
            x,
            "",
            {} if space == 2 else {"torch": lambda x: getattr(F, f"{name}_with_indices")(x, kernel_size=2)[0]},
        ),
        Case(
            f"adaptive_{name}",
            lambda x: adaptive(x, sizes),
            small,
            "",
            {"module": getattr(nn, f"AdaptiveMaxPool{space}d")(sizes)},
        ),
        Case(
            f"adaptive_{name}_with_indices",
            lambda x: getattr(F, f"adaptive_{name}_with_indices")(x, sizes)[0],
            small,
            "",
            {
                "option": lambda x: adaptive(x, sizes, return_indices=True)[0],
                "operator": lambda x: getattr(low_level, f"adaptive_{name}")(x, sizes)[0],
            },
        ),
    ]


def fractional_pools(space: int) -> list[Case]:
    """Pools of lengths drawn at random: the same ones with and without jets."""
    name, x = f"fractional_max_pool{space}d", drawn(1, 1, *[4] * space, seed=8)
    pool, with_indices = getattr(F, name), getattr(F, f"{name}_with_indices")
    module = getattr(nn, f"FractionalMaxPool{space}d")(2, output_size=2)
    return [
        Case(
            name,
            draws(lambda x: pool(x, 2, output_size=2)),
            x,
            "",
            {"module": draws(module), "indices": draws(lambda x: pool(x, 2, 2, return_indices=True)[0])},
            order=2,
        ),
        Case(f"{name}_with_indices", draws(lambda x: with_indices(x, 2, output_ratio=(0.7,) * space)[0]), x, order=2),
    ]


def extrema(name: str, pairwise: str) -> list[Case]:
    function, both = getattr(torch, name), getattr(torch, pairwise)
    return [
        Case(name, function, X, "all", {"method": lambda x: getattr(x, name)()}),
        Case(
            name,
            lambda x: function(x, 1)[0],
            X,
            "one axis",
            {
                "method": lambda x: getattr(x, name)(dim=-1).values,
                "kept": lambda x: function(x, 1, keepdim=True)[0].squeeze(1),
            },
        ),
        Case(name, lambda x: function(x, OTHER), X, "two", {"right": lambda x: function(OTHER, other=x)}),
        Case(name, lambda x: function(x.sum(), 0)[0], X, "0-d"),
        Case(
            pairwise, lambda x: both(x, OTHER), X, "constant", {"right": lambda x: OTHER.__getattribute__(pairwise)(x)}
        ),
        Case(pairwise, lambda x: both(x, x[:1] * OTHER), X, "jets"),
    ]


def written(x: Any, index: Any, value: Any) -> Any:
    x = x.clone()
    x[index] = value
    return x


CASES = [
    Case(
        "where",
        lambda x: torch.where(MASK, x, OTHER),
        X,
        "",
        {
            "method": lambda x: x.where(MASK, OTHER),
            "method of the constant": lambda x: OTHER.where(~MASK, x),
            "other": lambda x: torch.where(~MASK, OTHER, x),
        },
    ),
    Case("where", lambda x: torch.where(MASK, x, 0.5), X, "number", {"method": lambda x: x.where(MASK, 0.5)}),
    Case("where", lambda x: torch.where(x > 0, x, -2 * x), X, "jets, by value"),
    Case("where", lambda x: torch.where(MASK, x[0], 2.0), X, "condition of higher rank"),
    Case(
        "masked_fill",
        lambda x: x.masked_fill(MASK, 0.5),
        X,
        "",
        {
            "torch": lambda x: torch.masked_fill(x, MASK, tensor(0.5)),
            "in place": lambda x: x.clone().masked_fill_(MASK, 0.5),
        },
    ),
    Case("masked_fill", lambda x: OTHER.masked_fill(MASK, x[0, 0]), X, "with a jet"),
    *(case for space in (1, 2, 3) for case in pools(space)),
    *(case for space in (2, 3) for case in fractional_pools(space)),
    *extrema("max", "maximum"),
    *extrema("min", "minimum"),
    Case(
        "clamp_min",
        lambda x: torch.clamp_min(x, 0.1),
        X,
        "",
        {"method": lambda x: x.clamp_min(0.1), "in place": lambda x: x.clone().clamp_min_(0.1)},
    ),
    Case("clamp_min", lambda x: torch.clamp_min(x, OTHER), X, "tensor", {"right": lambda x: torch.clamp_min(OTHER, x)}),
    Case("clamp_max", lambda x: torch.clamp_max(x, 0.1), X, "", {"method": lambda x: x.clamp_max(0.1)}),
    Case("clamp_max", lambda x: torch.clamp_max(x, OTHER), X, "tensor"),
    Case(
        "clamp",
        lambda x: torch.clamp(x, OTHER - 1, OTHER + 0.1),
        X,
        "tensors",
        {"in place": lambda x: x.clone().clip_(min=OTHER - 1, max=OTHER + 0.1)},
    ),
    Case("clamp", lambda x: torch.clamp(OTHER, x[:1], x[:1] + 0.3), X, "jets as bounds"),
    Case("clamp", lambda x: torch.clamp(x, max=x[:, :1]), X, "jet as the upper bound"),
    Case(
        "gather",
        lambda x: torch.gather(x, 1, INDEX),
        X,
        "",
        {"method": lambda x: x.gather(-1, INDEX), "keyword": lambda x: torch.gather(x, dim=1, index=INDEX)},
    ),
    Case("gather", lambda x: x[0, 0].gather(0, torch.tensor([0])), X, "0-d"),
    Case("prelu", lambda x: F.prelu(x, SLOPE), BEYOND_KINKS, "", {"torch": lambda x: torch.prelu(x, SLOPE)}),
    Case("prelu", lambda x: F.prelu(x, SLOPES), BEYOND_KINKS, "channels", {"method": lambda x: x.prelu(SLOPES)}),
    Case("prelu", lambda x: F.prelu(x, SLOPE), drawn(3), "one axis"),
    Case("rrelu", lambda x: F.rrelu(x, 0.1, 0.4), BEYOND_KINKS, "evaluation", {"module": nn.RReLU(0.1, 0.4).eval()}),
    Case(
        "rrelu",
        draws(lambda x: F.rrelu(x, 0.1, 0.4, training=True)),
        BEYOND_KINKS,
        "training",
        {
            "module": draws(nn.RReLU(0.1, 0.4)),
            "in place": draws(lambda x: F.rrelu(x.clone(), 0.1, 0.4, training=True, inplace=True)),
            "torch": draws(lambda x: torch.rrelu(x, 0.1, 0.4, True)),
        },
    ),
    Case("getitem", lambda x: x[0], X, "integer"),
    Case("getitem", lambda x: x[:, 1:], X, "slice"),
    Case("getitem", lambda x: x[..., -1], X, "ellipsis"),
    Case("getitem", lambda x: x[:, None, 0], X, "new axis"),
    Case("getitem", lambda x: x[MASK], X, "mask"),
    Case("getitem", lambda x: x[INDEX[:, 0], INDEX[:, 1]], X, "index tensors"),
    Case("getitem", lambda x: x[[1, 0]], X, "list"),
    Case("getitem", lambda x: x[torch.tensor(1), :, torch.tensor(0)], drawn(2, 2, 2), "0-d index tensors"),
    Case("setitem", lambda x: written(x, 0, 0.5), X, "number"),
    Case("setitem", lambda x: written(x, (slice(None), 1), OTHER[:, 0]), X, "tensor"),
    Case("setitem", lambda x: written(x, MASK, 0.5), X, "mask"),
    Case("setitem", lambda x: written(x, (..., 0), x[:, 1] * x[:, 2]), X, "jet"),
    Case("setitem", lambda x: written(x, slice(None), x[1]), X, "broadcast jet"),
    Case("copy_", lambda x: x.clone().copy_(x * x), X, "jet"),
    Case("copy_", lambda x: x.clone().copy_(OTHER), X, "tensor"),
    Case("fill_", lambda x: x.clone().fill_(0.5), X, "number"),
    Case("fill_", lambda x: x.clone().fill_(x[0, 0]), X, "jet"),
    Case("zero_", lambda x: x.clone().zero_(), X),
]

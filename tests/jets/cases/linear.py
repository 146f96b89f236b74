"""Cases of the linear rules: layers, convolutions, average pooling, sums, joining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jets.rule_cases import DTYPE, Case, drawn
from jets.tolerances import SINGLE

W, B = drawn(2, 3, seed=1), drawn(2, seed=2)
X = drawn(2, 3)
OTHER = drawn(2, 3, seed=3)


def kernel(outputs: int, inputs: int, space: int, size: int = 2) -> Tensor:
    return drawn(outputs, inputs, *[size] * space, seed=4)


def image(space: int, size: int = 3, batch: int | None = 1, channels: int = 2) -> Tensor:
    return drawn(*([] if batch is None else [batch]), channels, *[size] * space, seed=5)


def convolutions(space: int) -> list[Case]:
    name, convolve = f"conv{space}d", getattr(F, f"conv{space}d")
    w, b, x = kernel(1, 2, space), drawn(1, seed=6), image(space)
    layer = getattr(nn, f"Conv{space}d")(2, 1, 2, dtype=torch.float64)
    layer.load_state_dict({"weight": w, "bias": b})
    reflecting = getattr(nn, f"Conv{space}d")(2, 1, 2, padding=1, padding_mode="circular", dtype=torch.float64)
    reflecting.load_state_dict({"weight": w, "bias": b})
    small = image(space, size=2)
    return [
        Case(name, lambda x: convolve(x, w, b), x, "", {"module": layer}, per_sample=True),
        Case(name, lambda x: convolve(x, w), x, "no bias", {"torch": lambda x: getattr(torch, name)(x, w)}),
        Case(name, lambda x: convolve(x, w, b, stride=2), x, "stride", {"positional": lambda x: convolve(x, w, b, 2)}),
        Case(name, lambda x: convolve(x, w, b, padding=1, dilation=2), small, "padding, dilation"),
        Case(name, lambda x: convolve(x, kernel(1, 2, space, 3), b, padding="same"), small, "same"),
        Case(name, lambda x: convolve(x, kernel(2, 1, space), groups=2), image(space, size=2), "groups"),
        Case(name, lambda x: convolve(x, w, b), image(space, batch=None), "no batch"),
        Case(name, reflecting, small, "circular"),
        Case(name, lambda w: convolve(small, w, b), kernel(1, 2, space), "derivatives along the kernel"),
        Case(name, lambda b: convolve(small, w, b), drawn(1), "derivatives along the bias"),
        Case(name, lambda x: convolve(x, x[:1, :, :1] if space == 1 else x[:1, :, :1, :1]), small, "along both"),
    ]


def transposed_convolutions(space: int) -> list[Case]:
    name, convolve = f"conv_transpose{space}d", getattr(F, f"conv_transpose{space}d")
    w, b, x = kernel(2, 1, space), drawn(1, seed=6), image(space, size=1, batch=2)
    layer = getattr(nn, f"ConvTranspose{space}d")(2, 1, 2, dtype=torch.float64)
    layer.load_state_dict({"weight": w, "bias": b})
    return [
        Case(name, lambda x: convolve(x, w, b), x, "", {"module": layer}, per_sample=True),
        Case(name, lambda x: convolve(x, w, None, stride=2, output_padding=1), x, "stride, output padding"),
        Case(name, lambda x: convolve(x, w, b), image(space, size=1, batch=None), "no batch"),
        Case(name, lambda w: convolve(x, w, b), w, "derivatives along the kernel"),
        Case(name, lambda b: convolve(x[:1], w, b), drawn(1), "derivatives along the bias"),
    ]


def pools(space: int) -> list[Case]:
    name, pool = f"avg_pool{space}d", getattr(F, f"avg_pool{space}d")
    adaptive = getattr(F, f"adaptive_avg_pool{space}d")
    x, small = image(space), image(space, size=2, channels=1)
    sizes = (2, *[1] * (space - 1))
    return [
        Case(name, lambda x: pool(x, 2), x, "", {"module": getattr(nn, f"AvgPool{space}d")(2)}, per_sample=True),
        Case(name, lambda x: pool(x, 2, stride=1, padding=1, ceil_mode=True), small, "padding, ceil"),
        Case(name, lambda x: pool(x, 2), image(space, size=2, batch=None), "no batch"),
        Case(
            f"adaptive_{name}",
            lambda x: adaptive(x, sizes),
            image(space),
            "",
            {"module": getattr(nn, f"AdaptiveAvgPool{space}d")(sizes)},
        ),
        Case(f"adaptive_{name}", lambda x: adaptive(x, 1), image(space, batch=None), "no batch"),
    ]


def reductions(name: str) -> list[Case]:
    reduce: Callable[..., Any] = getattr(torch, name)
    x = drawn(2, 1, 3)
    words = {
        "method": lambda x: getattr(x, name)(1),
        "keyword": lambda x: reduce(x, dim=1),
        "input": lambda x: reduce(input=x, dim=1),
        "axis": lambda x: reduce(x, axis=1),
        "tuple": lambda x: reduce(x, (1,)),
        "list": lambda x: reduce(x, [-2]),
    }
    return [
        Case(name, lambda x: reduce(x, 1), x, "one axis", words),
        Case(name, reduce, x, "all", {"method": lambda x: getattr(x, name)(), "none": lambda x: reduce(x, dim=())}),
        Case(
            name,
            lambda x: reduce(x, (0, -1), keepdim=True),
            x,
            "axes, kept",
            {"positional": lambda x: reduce(x, (0, -1), True)},
        ),
        Case(name, lambda x: reduce(x[0, 0, 0]), x, "0-d"),
        Case(name, lambda x: reduce(x.float(), 1, dtype=DTYPE), x, "dtype", smooth=False, tolerance=SINGLE),
    ]


def draws(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same random numbers on every call."""

    def call(x: Any) -> Any:
        torch.manual_seed(3)
        return function(x)

    return call


def lower(case: Case, space: int) -> Case:
    """Order 4 in one dimension only: the oracle is slow for many outputs, and a linear rule does not mind the order."""
    return case if space == 1 else replace(case, order=2)


LINEAR = nn.Linear(3, 2, dtype=torch.float64)
LINEAR.load_state_dict({"weight": W, "bias": B})

CASES = [
    Case(
        "linear",
        lambda x: F.linear(x, W, B),
        X,
        "",
        {"module": LINEAR, "keywords": lambda x: F.linear(input=x, weight=W, bias=B)},
        per_sample=True,
    ),
    Case("linear", lambda x: F.linear(x, W), X, "no bias"),
    Case("linear", lambda x: F.linear(x, W, B), drawn(2, 2, 3), "three axes"),
    Case("linear", lambda x: F.linear(x, W, B), drawn(3), "one axis"),
    Case("linear", lambda x: F.linear(OTHER, x, B), W, "derivatives along the weight"),
    Case("linear", lambda x: F.linear(OTHER, W, x), B, "derivatives along the bias"),
    Case("linear", lambda x: F.linear(x, x[:1] + W, x.sum(1)), X, "along all three"),
    *(lower(case, space) for space in (1, 2, 3) for case in convolutions(space)),
    *(lower(case, space) for space in (1, 2, 3) for case in transposed_convolutions(space)),
    *(lower(case, space) for space in (1, 2, 3) for case in pools(space)),
    *reductions("sum"),
    *reductions("mean"),
    Case(
        "cumsum",
        lambda x: torch.cumsum(x, 1),
        X,
        "",
        {"method": lambda x: x.cumsum(-1), "in place": lambda x: x.clone().cumsum_(1)},
    ),
    Case(
        "neg",
        torch.neg,
        X,
        "",
        {
            "operator": lambda x: -x,
            "method": lambda x: x.neg(),
            "negative": torch.negative,
            "in place": lambda x: x.clone().neg_(),
        },
    ),
    Case("positive", torch.positive, X, "", {"operator": lambda x: +x, "method": lambda x: x.positive()}),
    Case(
        "dropout",
        draws(lambda x: F.dropout(x, 0.4)),
        drawn(3, 4),
        "training",
        {
            "module": draws(nn.Dropout(0.4)),
            "in place": draws(lambda x: F.dropout(x.clone(), 0.4, inplace=True)),
            "torch": draws(lambda x: torch.dropout(x, 0.4, True)),
        },
        order=2,
    ),
    Case("dropout", nn.Dropout(0.4).eval(), X, "evaluation", {"function": lambda x: F.dropout(x, 0.4, training=False)}),
    Case("pad", lambda x: F.pad(x, (1, 0)), X, "", {"module": nn.ConstantPad1d((1, 0), 0.0)}),
    Case(
        "pad", lambda x: F.pad(x, (1, 0, 0, 1), value=0.7), X, "value", {"module": nn.ConstantPad2d((1, 0, 0, 1), 0.7)}
    ),
    Case("pad", lambda x: F.pad(x, (-1, 0)), X, "cropping"),
    Case(
        "pad", lambda x: F.pad(x, (1, 1), mode="reflect"), drawn(1, 1, 3), "reflect", {"module": nn.ReflectionPad1d(1)}
    ),
    Case(
        "pad",
        lambda x: F.pad(x, (1, 0, 0, 1), mode="replicate"),
        drawn(1, 1, 2, 2),
        "replicate",
        {"module": nn.ReplicationPad2d((1, 0, 0, 1))},
    ),
    Case("pad", lambda x: F.pad(x, (1, 0), mode="circular"), drawn(1, 2, 2), "circular"),
    Case(
        "cat",
        lambda x: torch.cat([x, x[:, :1]], 1),
        X,
        "jets",
        {
            "keyword": lambda x: torch.cat(tensors=(x, x[:, :1]), dim=-1),
            "axis": lambda x: torch.cat((x, x[:, :1]), axis=1),  # pyright: ignore[reportCallIssue]
            "concat": lambda x: torch.concat((x, x[:, :1]), 1),
            "concatenate": lambda x: torch.concatenate((x, x[:, :1]), 1),
        },
    ),
    Case("cat", lambda x: torch.cat([OTHER, x, OTHER]), X, "constants"),
    Case(
        "stack",
        lambda x: torch.stack([x, 2 * x], 1),
        X,
        "jets",
        {"negative": lambda x: torch.stack((x, 2 * x), dim=-2)},
    ),
    Case("stack", lambda x: torch.stack([OTHER, x], -1), X, "constants"),
    Case(
        "add",
        lambda x: x + OTHER,
        X,
        "constant",
        {
            "right": lambda x: OTHER + x,
            "torch": lambda x: torch.add(x, OTHER),
            "other": lambda x: torch.add(OTHER, other=x),
            "alpha": lambda x: torch.add(x, 0.5 * OTHER, alpha=2),
            "alpha right": lambda x: torch.add(OTHER, 0.5 * x, alpha=2),
            "method": lambda x: x.add(OTHER),
            "method of the constant": lambda x: OTHER.add(x),
            "in place": lambda x: x.clone().add_(OTHER),
            "augmented": lambda x: _augmented(x, "+", OTHER),
        },
    ),
    Case("add", lambda x: x + 1.5, X, "number", {"right": lambda x: 1.5 + x, "numpy": lambda x: np.float64(1.5) + x}),
    Case("add", lambda x: x[0] + x[:, :1], X, "jets", {"torch": lambda x: torch.add(x[0], x[:, :1])}),
    Case("add", lambda x: torch.add(x, x[0], alpha=-3), X, "jets, alpha"),
    Case("add", lambda x: x[0] + OTHER, X, "constant of higher rank", {"right": lambda x: OTHER + x[0]}),
    Case(
        "sub",
        lambda x: x - OTHER,
        X,
        "constant",
        {
            "torch": lambda x: torch.sub(x, OTHER),
            "subtract": lambda x: torch.subtract(x, OTHER),
            "in place": lambda x: x.clone().sub_(OTHER),
            "augmented": lambda x: _augmented(x, "-", OTHER),
        },
    ),
    Case("sub", lambda x: OTHER - x, X, "from a constant", {"alpha": lambda x: torch.sub(OTHER, 0.5 * x, alpha=2)}),
    Case("sub", lambda x: x[0] - x, X, "jets"),
    Case(
        "rsub",
        lambda x: 1.5 - x,
        X,
        "number",
        {"torch": lambda x: torch.rsub(x, 1.5), "numpy": lambda x: np.float32(1.5) - x},
    ),
    Case("rsub", lambda x: torch.rsub(x, OTHER, alpha=2), X, "constant", {"operator": lambda x: OTHER - 2 * x}),
]


def _augmented(x: Any, sign: str, other: Any) -> Any:
    x = x.clone()
    before = x
    if sign == "+":
        x += other
    else:
        x -= other
    assert x is before
    return x

"""Cases of resampling. All rules are linear, so order 2 is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn

from jets.rule_cases import Case, drawn

LOWER = {1: "linear", 2: "bilinear", 3: "trilinear"}
ROWS = drawn(1, 1, 3)
IMAGE = drawn(1, 1, 3, 2)
GRID = drawn(1, 2, 2, 2, low=-0.9, high=0.9, seed=1)


def resize(**options: Any) -> Callable[[Any], Any]:
    return lambda x: F.interpolate(x, **options)


def interpolations(space: int) -> list[Case]:
    """Every mode, by size and by factor."""
    x, linear, size = drawn(1, 1, *[3, 2, 2][:space]), LOWER[space], [5, 3, 1][:space]
    modes: dict[str, dict[str, Any]] = {mode: {"mode": mode} for mode in ("nearest", "nearest-exact", linear)}
    modes["corners"] = {"mode": linear, "align_corners": True}
    if space == 2:
        modes["bicubic"] = {"mode": "bicubic"}
        modes["bicubic, corners"] = {"mode": "bicubic", "align_corners": True}
    sizes: dict[str, dict[str, Any]] = {"factor": {"scale_factor": 2}, "size": {"size": size}}
    sizes["odd factor"] = {"scale_factor": 1.7}
    cases = [
        Case(
            "interpolate",
            resize(**sizes[how], **options),
            x,
            f"{space}, {mode}, {how}",
            {"module": nn.Upsample(**sizes[how], **options)},
            order=2,
            per_sample=True,
        )
        for mode, options in modes.items()
        for how in sizes
    ]
    recomputed = resize(scale_factor=1.7, mode=linear, recompute_scale_factor=True)
    return [*cases, Case("interpolate", recomputed, x, f"{space}, recomputed", order=2)]


def unpooled(space: int) -> Callable[[Any], Any]:
    """Max pooling undone."""
    pool, unpool = getattr(F, f"max_pool{space}d"), getattr(F, f"max_unpool{space}d")

    def call(x: Any) -> Any:
        values, indices = pool(x, 2, return_indices=True)
        return unpool(values, indices, 2, output_size=x.shape[-space:])

    return call


CASES = [
    *(case for space in (1, 2, 3) for case in interpolations(space)),
    *(
        Case("interpolate", resize(size=(2, 2), mode=mode, antialias=True), IMAGE, f"{mode}, antialiased", order=2)
        for mode in ("bilinear", "bicubic")
    ),
    Case("interpolate", resize(scale_factor=0.5, mode="area"), drawn(1, 1, 3, 4), "area", order=2),
    Case("interpolate", nn.UpsamplingBilinear2d(scale_factor=2), IMAGE, "module", order=2),
    Case(
        "pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), drawn(1, 4, 1, 2), "", {"module": nn.PixelShuffle(2)}, order=2
    ),
    Case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2), drawn(4, 1, 2), "no batch", order=2),
    Case(
        "pixel_unshuffle",
        lambda x: F.pixel_unshuffle(x, 2),
        drawn(1, 1, 2, 4),
        "",
        {"module": nn.PixelUnshuffle(2)},
        order=2,
    ),
    Case(
        "channel_shuffle",
        lambda x: F.channel_shuffle(x, 2),
        drawn(1, 4, 2),
        "",
        {"module": nn.ChannelShuffle(2)},
        order=2,
    ),
    Case(
        "im2col",
        lambda x: F.unfold(x, 2, dilation=1, padding=1, stride=2),
        IMAGE,
        "",
        {"module": nn.Unfold(2, padding=1, stride=2)},
        order=2,
    ),
    Case("im2col", lambda x: F.unfold(x, (2, 1)), IMAGE[0], "no batch", order=2),
    Case("col2im", lambda x: F.fold(x, (3, 3), 2), drawn(1, 4, 4), "", {"module": nn.Fold(3, 2)}, order=2),
    Case("col2im", lambda x: F.fold(x, (2, 3), 2), drawn(4, 2), "no batch", order=2),
    Case("unfold", lambda x: x.unfold(1, 2, 1), drawn(2, 4), "", {"negative": lambda x: x.unfold(-1, 2, 1)}, order=2),
    Case("max_unpool1d", unpooled(1), drawn(2, 1, 4), order=2, per_sample=True),
    Case("max_unpool2d", unpooled(2), drawn(2, 1, 2, 4), order=2, per_sample=True),
    Case("max_unpool2d", unpooled(2), drawn(1, 2, 4), "no batch", order=2),
    Case("max_unpool3d", unpooled(3), drawn(1, 1, 2, 2, 4), order=2),
    Case(
        "grid_sampler",
        lambda x: F.grid_sample(x, GRID, align_corners=False),
        IMAGE,
        "bilinear",
        order=2,
        per_sample=True,
    ),
    Case(
        "grid_sampler",
        lambda x: F.grid_sample(x, GRID.repeat(2, 1, 1, 1), "bicubic", "border", True),
        drawn(2, 2, 2, 2),
        "bicubic",
        order=2,
    ),
    Case(
        "affine_grid_generator",
        lambda x: F.affine_grid(x, [2, 1, 2, 2], align_corners=False),
        drawn(2, 2, 3),
        order=2,
        per_sample=True,
    ),
]

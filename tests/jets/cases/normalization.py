"""Cases of normalisations and variances."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jets.rule_cases import DTYPE, Case, drawn

X = drawn(2, 3)
IMAGES = drawn(2, 2, 2)
SCALE, SHIFT = drawn(2, low=0.5, high=1.5, seed=1), drawn(2, seed=2)
MEAN, VARIANCE = drawn(2, seed=3), drawn(2, low=0.5, high=1.5, seed=4)
WEIGHT, OFFSET = drawn(3, low=0.5, high=1.5, seed=5), drawn(3, seed=6)
WIDE, WIDE_OFFSET = drawn(4, low=0.5, high=1.5, seed=7), drawn(4, seed=8)


def composed_batch_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Batch normalisation in training from its definition: PyTorch's own third derivative is wrong."""
    over = tuple(d for d in range(x.dim()) if d != 1)
    shape = [1, -1, *[1] * (x.dim() - 2)]
    centred = x - x.mean(over, keepdim=True)
    out = centred / torch.sqrt((centred**2).mean(over, keepdim=True) + eps)
    out = out if weight is None else out * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape)


def module(space: int, training: bool) -> nn.Module:
    layer = getattr(nn, f"BatchNorm{space}d")(2, dtype=torch.float64).train(training)
    layer.load_state_dict(
        {
            "weight": SCALE,
            "bias": SHIFT,
            "running_mean": MEAN,
            "running_var": VARIANCE,
            "num_batches_tracked": torch.tensor(0),
        }
    )
    return layer


def trained(x: Any) -> Any:
    return F.batch_norm(x, None, None, SCALE, SHIFT, training=True)


def evaluated(x: Any) -> Any:
    return F.batch_norm(x, MEAN, VARIANCE, SCALE, SHIFT)


def composed_layer_norm(x: Any, axes: int = 1, weight: Any = 1.0, bias: Any = 0.0, eps: float = 1e-5) -> Any:
    """Layer normalisation from its definition: PyTorch's own third derivative is wrong."""
    over = tuple(range(-axes, 0))
    centred = x - x.mean(over, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(over, keepdim=True) + eps) * weight + bias


def layers() -> list[Case]:
    """Normalisations over the last axes of each sample."""
    last, both = nn.LayerNorm(3, dtype=DTYPE), nn.LayerNorm([2, 3], elementwise_affine=False)
    last.load_state_dict({"weight": WEIGHT, "bias": OFFSET})
    mean_square = nn.RMSNorm(3, dtype=DTYPE)
    mean_square.load_state_dict({"weight": WEIGHT})
    return [
        Case(
            "layer_norm",
            lambda x: F.layer_norm(x, (3,), WEIGHT, OFFSET),
            X,
            "",
            {"module": last, "torch": lambda x: torch.layer_norm(x, [3], WEIGHT, OFFSET, 1e-5, False)},
            oracle=lambda x: composed_layer_norm(x, 1, WEIGHT, OFFSET),
            per_sample=True,
        ),
        Case(
            "layer_norm",
            lambda x: F.layer_norm(x, (2, 3), eps=1e-5),
            X,
            "two axes",
            {"module": both},
            oracle=lambda x: composed_layer_norm(x, 2),
        ),
        Case(
            "layer_norm",
            lambda x: F.layer_norm(x, (3,), WEIGHT, eps=0.3),
            X,
            "no bias, ε",
            oracle=lambda x: composed_layer_norm(x, 1, WEIGHT, eps=0.3),
            per_sample=True,
        ),
        Case(
            "layer_norm",
            lambda x: F.layer_norm(x, (3,), None, OFFSET),
            drawn(2, 1, 3),
            "no weight",
            oracle=lambda x: composed_layer_norm(x, 1, 1.0, OFFSET),
        ),
        Case("layer_norm", lambda w: F.layer_norm(X, (3,), w, OFFSET), WEIGHT, "derivatives along the weight"),
        Case("layer_norm", lambda b: F.layer_norm(X, (3,), WEIGHT, b), OFFSET, "derivatives along the bias"),
        Case(
            "layer_norm",
            lambda x: F.layer_norm(x, (3,), x[0], x[1]),
            X,
            "along all three",
            oracle=lambda x: composed_layer_norm(x, 1, x[0], x[1]),
        ),
        Case(
            "rms_norm",
            lambda x: F.rms_norm(x, (3,), WEIGHT),
            X,
            "",
            {"module": mean_square, "torch": lambda x: torch.rms_norm(x, [3], WEIGHT)},
            per_sample=True,
        ),
        Case("rms_norm", lambda x: F.rms_norm(x, (2, 3), eps=0.2), X, "two axes, ε"),
        Case("rms_norm", lambda w: F.rms_norm(X, (3,), w), WEIGHT, "derivatives along the weight"),
    ]


def groups() -> list[Case]:
    """Normalisations over groups of channels."""
    layer = nn.GroupNorm(2, 4, dtype=DTYPE)
    layer.load_state_dict({"weight": WIDE, "bias": WIDE_OFFSET})
    return [
        Case(
            "group_norm",
            lambda x: F.group_norm(x, 2, WIDE, WIDE_OFFSET),
            drawn(1, 4, 2),
            "",
            {"module": layer, "torch": lambda x: torch.group_norm(x, 2, WIDE, WIDE_OFFSET)},
            per_sample=True,
        ),
        Case("group_norm", lambda x: F.group_norm(x, 2, eps=0.1), drawn(2, 4), "no positions", per_sample=True),
        Case("group_norm", lambda x: F.group_norm(x, 1, WIDE), drawn(1, 4, 1, 2), "one group"),
        Case(
            "group_norm",
            lambda w: F.group_norm(drawn(1, 4, 2), 2, w, WIDE_OFFSET),
            WIDE,
            "derivatives along the weight",
        ),
    ]


def instances() -> list[Case]:
    """Normalisations over the positions of each channel."""
    layer = nn.InstanceNorm1d(2, affine=True, track_running_stats=True, dtype=DTYPE).eval()
    layer.load_state_dict(module(1, training=False).state_dict())
    return [
        Case(
            "instance_norm",
            lambda x: F.instance_norm(x, None, None, SCALE, SHIFT),
            IMAGES,
            "",
            {
                "torch": lambda x: torch.instance_norm(x, SCALE, SHIFT, None, None, True, 0.1, 1e-5, False),
                "no batch": lambda x: torch.stack([F.instance_norm(y[None], None, None, SCALE, SHIFT)[0] for y in x]),
            },
            oracle=lambda x: torch.stack([composed_batch_norm(y[None], SCALE, SHIFT)[0] for y in x]),
            per_sample=True,
        ),
        Case("instance_norm", nn.InstanceNorm2d(2), drawn(1, 2, 1, 2), "plain", oracle=composed_batch_norm),
        Case("instance_norm", layer, IMAGES, "running statistics", per_sample=True),
        Case(
            "instance_norm",
            lambda w: F.instance_norm(IMAGES, None, None, w, SHIFT),
            SCALE,
            "derivatives along the weight",
        ),
    ]


CASES = [
    Case(
        "batch_norm",
        trained,
        IMAGES,
        "training",
        {
            "module": module(1, training=True),
            "torch": lambda x: torch.batch_norm(x, SCALE, SHIFT, None, None, True, 0.1, 1e-5, False),
        },
        oracle=lambda x: composed_batch_norm(x, SCALE, SHIFT),
    ),
    Case(
        "batch_norm", trained, drawn(3, 2), "training, two axes", oracle=lambda x: composed_batch_norm(x, SCALE, SHIFT)
    ),
    Case(
        "batch_norm",
        lambda x: F.batch_norm(x, None, None, training=True, eps=0.1),
        drawn(1, 2, 1, 2),
        "training, plain",
        oracle=lambda x: composed_batch_norm(x, eps=0.1),
    ),
    Case("batch_norm", evaluated, IMAGES, "evaluation", {"module": module(1, training=False)}, per_sample=True),
    Case("batch_norm", lambda x: F.batch_norm(x, MEAN, VARIANCE), drawn(1, 2, 1, 2), "evaluation, plain"),
    Case(
        "batch_norm",
        lambda w: F.batch_norm(IMAGES, None, None, w, SHIFT, training=True),
        SCALE,
        "derivatives along the weight",
    ),
    Case(
        "batch_norm",
        lambda m: F.batch_norm(IMAGES, m, VARIANCE, SCALE),
        MEAN,
        "along the running mean",
        oracle=lambda m: (IMAGES - m[:, None]) * (SCALE / (VARIANCE + 1e-5).sqrt())[:, None],
    ),
    Case(
        "batch_norm",
        lambda v: F.batch_norm(IMAGES, MEAN, v, SCALE),
        VARIANCE,
        "along the running variance",
        oracle=lambda v: (IMAGES - MEAN[:, None]) * (SCALE / (v + 1e-5).sqrt())[:, None],
    ),
    *layers(),
    *groups(),
    *instances(),
    Case(
        "var",
        lambda x: torch.var(x, 1),
        X,
        "",
        {"method": lambda x: x.var(-1, unbiased=True), "correction": lambda x: torch.var(x, 1, correction=1)},
    ),
    Case("var", lambda x: x.var(1, False), X, "biased", {"correction": lambda x: x.var(dim=1, correction=0)}),
    Case("var", torch.var, X, "all", {"method": lambda x: x.var(True)}),
    Case("var", lambda x: x.var((0, 1), keepdim=True, correction=2), X, "axes, kept"),
    Case("std", lambda x: torch.std(x, 1), X, "", {"method": lambda x: x.std(-1)}),
    Case("std", lambda x: x.std(unbiased=False), X, "all"),
]

"""Cases of normalisations, softmax and gates."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jets.rule_cases import Case, drawn

X = drawn(2, 3)
IMAGES = drawn(2, 2, 2)
SCALE, SHIFT = drawn(2, low=0.5, high=1.5, seed=1), drawn(2, seed=2)
MEAN, VARIANCE = drawn(2, seed=3), drawn(2, low=0.5, high=1.5, seed=4)


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
    Case("glu", F.glu, drawn(2, 4), "", {"module": nn.GLU(), "axis": lambda x: F.glu(x, 1)}, per_sample=True),
    Case("glu", lambda x: F.glu(x, 0), X, "axis 0", {"keyword": lambda x: F.glu(input=x, dim=-2)}),
    Case(
        "logsumexp", lambda x: torch.logsumexp(x, 1), X, "", {"method": lambda x: x.logsumexp((-1,))}, per_sample=True
    ),
    Case("logsumexp", lambda x: torch.logsumexp(x, (0, 1), keepdim=True), X, "axes, kept"),
    Case(
        "softmax",
        lambda x: torch.softmax(x, 1),
        X,
        "",
        {
            "function": lambda x: F.softmax(x, dim=-1),
            "method": lambda x: x.softmax(1),
            "module": nn.Softmax(1),
            "special": lambda x: torch.special.softmax(x, 1),
            "dtype": lambda x: torch.softmax(x, 1, torch.float64),
        },
        per_sample=True,
    ),
    Case("softmax", nn.Softmax2d(), drawn(1, 2, 1, 2), "two dimensions"),
    Case(
        "log_softmax",
        lambda x: torch.log_softmax(x, 1),
        X,
        "",
        {
            "function": lambda x: F.log_softmax(x, dim=-1),
            "module": nn.LogSoftmax(1),
            "method": lambda x: x.log_softmax(-1),
        },
        per_sample=True,
    ),
    Case("softmin", lambda x: F.softmin(x, 1), X, "", {"module": nn.Softmin(1)}, per_sample=True),
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

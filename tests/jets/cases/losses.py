"""Cases of the losses: jets as inputs and as targets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jets.rule_cases import Case, drawn, tensor

X = drawn(2, 3)
Y = drawn(2, 3, seed=1)
P = drawn(2, 3, low=0.1, high=0.9, seed=2)
W = drawn(2, 3, low=0.5, high=2.0, seed=3)
SIGNS = tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
CLASSES = torch.tensor([2, 0])
IMAGES = drawn(2, 3, 2, seed=4)
CLASS_IMAGES = torch.tensor([[2, -100], [0, 1]])
LABELS = torch.tensor([[0, -1, 1], [1, 2, -1]])
OF_CLASS = drawn(3, low=0.5, high=2.0, seed=5)
LOW_LEVEL: Any = sys.modules["torch._C._nn"]
REDUCTIONS = ("none", "mean", "sum")
FAR = tensor([[0.3, -0.2, 1.8], [-2.4, 0.1, 0.6]])
"""On both sides of the bends of Huber's loss."""


def quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without PyTorch's advice on reductions."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return call


def losses(
    name: str,
    loss: Callable[..., Any],
    x: Tensor,
    *rest: Any,
    module: nn.Module | None = None,
    oracle: Callable[[Tensor, str], Tensor] | None = None,
    **options: Any,
) -> list[Case]:
    """One loss in its three reductions."""
    return [
        Case(
            name,
            lambda x, r=reduction: loss(x, *rest, reduction=r, **options),
            x,
            f"{reduction}{'' if not options else ', ' + ', '.join(options)}, {len(x.shape)}-d",
            {"module": lambda x, m=module: m(x, *rest)} if module is not None and reduction == "mean" else {},
            None if oracle is None else lambda x, r=reduction, o=oracle: o(x, r),
        )
        for reduction in REDUCTIONS
    ]


def reduced(loss: Tensor, reduction: str) -> Tensor:
    return loss if reduction == "none" else getattr(loss, reduction)()


# PyTorch has no second derivatives of these two.


def margins(
    x: Tensor, reduction: str, p: int = 1, margin: float = 1.0, weight: Any = None, of: Tensor = CLASSES
) -> Tensor:
    loss = []
    for sample, t in zip(x, of.tolist(), strict=True):
        terms = [(margin - sample[t] + sample[i]).clamp_min(0) ** p for i in range(len(sample)) if i != t]
        loss.append(torch.stack(terms).sum() / len(sample) * (1 if weight is None else weight[t]))
    return reduced(torch.stack(loss), reduction)


def multilabel_margins(x: Tensor, target: Tensor) -> Tensor:
    loss = []
    for sample, labels in zip(x, target.tolist(), strict=True):
        own = labels[: labels.index(-1)]
        others = [i for i in range(len(sample)) if i not in own]
        loss.append(sum((1 - sample[j] + sample[i]).clamp_min(0) for j in own for i in others) / len(sample))
    return torch.stack(loss)  # type: ignore[arg-type]


CASES = [
    *losses("mse_loss", F.mse_loss, X, Y, module=nn.MSELoss()),
    *losses("mse_loss", F.mse_loss, X, Y, weight=W),
    Case("mse_loss", lambda x: F.mse_loss(Y, x * x), X, "target"),
    Case("mse_loss", lambda x: F.mse_loss(x, x[:1] * Y), X, "both", {"old": lambda x: F.mse_loss(x, x[:1] * Y)}),
    *losses("l1_loss", F.l1_loss, X, Y, module=nn.L1Loss()),
    *losses("smooth_l1_loss", F.smooth_l1_loss, FAR, Y * 0.1, module=nn.SmoothL1Loss()),
    *losses("smooth_l1_loss", F.smooth_l1_loss, FAR, Y * 0.1, beta=0.25),
    Case("smooth_l1_loss", lambda x: F.smooth_l1_loss(x, Y * 0.1, beta=0.0), FAR, "beta 0"),
    *losses("huber_loss", F.huber_loss, FAR, Y * 0.1, module=nn.HuberLoss()),
    *losses("huber_loss", F.huber_loss, FAR, Y * 0.1, delta=0.25, weight=W),
    *losses("kl_div", quiet(F.kl_div), X, P),
    *losses("kl_div", quiet(F.kl_div), X, Y, log_target=True),
    Case("kl_div", lambda x: F.kl_div(Y, x, reduction="batchmean"), P, "target"),
    Case("kl_div", lambda x: F.kl_div(x, x.exp(), reduction="sum", log_target=True), X, "both"),
    Case("kl_div", lambda x: F.kl_div(x, torch.zeros_like(P), reduction="sum"), X, "zero target"),
    *losses("binary_cross_entropy", F.binary_cross_entropy, P, P.flip(0), module=nn.BCELoss()),
    *losses("binary_cross_entropy", F.binary_cross_entropy, P, P.flip(0), weight=W),
    # PyTorch has no derivative of its own in the target beyond the first.
    Case(
        "binary_cross_entropy",
        lambda x: F.binary_cross_entropy(P.flip(0), x),
        P,
        "target",
        oracle=lambda x: -(x * P.flip(0).log() + (1 - x) * (1 - P.flip(0)).log()).mean(),
    ),
    *losses(
        "binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, X, P, module=nn.BCEWithLogitsLoss()
    ),
    *losses("binary_cross_entropy_with_logits", F.binary_cross_entropy_with_logits, X, P, weight=W, pos_weight=W[0]),
    Case("binary_cross_entropy_with_logits", lambda x: F.binary_cross_entropy_with_logits(Y, x * x), X, "target"),
    *losses("poisson_nll_loss", F.poisson_nll_loss, X, P * 4, module=nn.PoissonNLLLoss()),
    *losses("poisson_nll_loss", F.poisson_nll_loss, P, P * 4, log_input=False, full=True),
    *losses("soft_margin_loss", F.soft_margin_loss, X, SIGNS, module=nn.SoftMarginLoss()),
    *losses("hinge_embedding_loss", F.hinge_embedding_loss, X, SIGNS, module=nn.HingeEmbeddingLoss()),
    *losses("hinge_embedding_loss", F.hinge_embedding_loss, X, SIGNS, margin=0.3),
    *losses("margin_ranking_loss", F.margin_ranking_loss, X, Y, SIGNS, module=nn.MarginRankingLoss()),
    *losses("margin_ranking_loss", F.margin_ranking_loss, X, Y, SIGNS, margin=0.4),
    *losses("cosine_embedding_loss", F.cosine_embedding_loss, X, Y, SIGNS[0, :2], module=nn.CosineEmbeddingLoss()),
    *losses("cosine_embedding_loss", F.cosine_embedding_loss, X, Y, SIGNS[0, :2], margin=-0.9),
    Case("cosine_embedding_loss", lambda x: F.cosine_embedding_loss(Y[0], x, tensor(1.0)), X[0], "one sample"),
    *losses("triplet_margin_loss", F.triplet_margin_loss, X, Y, Y.flip(0), module=nn.TripletMarginLoss()),
    *losses("triplet_margin_loss", F.triplet_margin_loss, X, Y, Y.flip(0), margin=0.7, swap=True, eps=1e-3),
    *losses("multi_margin_loss", F.multi_margin_loss, X, CLASSES, module=nn.MultiMarginLoss(), oracle=margins),
    Case(
        "multi_margin_loss",
        lambda x: F.multi_margin_loss(x, CLASSES, p=2, margin=0.4, weight=OF_CLASS, reduction="none"),
        X,
        "squares",
        oracle=lambda x: margins(x, "none", 2, 0.4, OF_CLASS),
    ),
    Case(
        "multi_margin_loss",
        lambda x: F.multi_margin_loss(x, CLASSES[:1]),
        X[0],
        "one sample",
        oracle=lambda x: margins(x[None], "sum", of=CLASSES[:1]),
    ),
    *losses(
        "multilabel_margin_loss",
        F.multilabel_margin_loss,
        X,
        LABELS,
        module=nn.MultiLabelMarginLoss(),
        oracle=lambda x, r: reduced(multilabel_margins(x, LABELS), r),
    ),
    Case(
        "multilabel_margin_loss",
        lambda x: F.multilabel_margin_loss(x, LABELS[1]),
        X[0],
        "one sample",
        oracle=lambda x: multilabel_margins(x[None], LABELS[1:])[0],
    ),
    *losses("nll_loss_nd", F.nll_loss, X, CLASSES, module=nn.NLLLoss()),
    *losses("nll_loss_nd", F.nll_loss, IMAGES, CLASS_IMAGES, weight=OF_CLASS),
    *losses("nll_loss_nd", F.nll_loss, X, CLASSES, ignore_index=2),
    Case("nll_loss_nd", lambda x: F.nll_loss(x, torch.tensor(1)), X[0], "one sample"),
    Case("nll_loss2d", lambda x: LOW_LEVEL.nll_loss2d(x.unsqueeze(-1), CLASS_IMAGES.unsqueeze(-1)), IMAGES),
    Case("nll_loss", lambda x: LOW_LEVEL.nll_loss(x, CLASSES), X),
    *losses("cross_entropy_loss", F.cross_entropy, X, CLASSES, module=nn.CrossEntropyLoss()),
    *losses("cross_entropy_loss", F.cross_entropy, IMAGES, CLASS_IMAGES),
    *losses("cross_entropy_loss", F.cross_entropy, IMAGES, CLASS_IMAGES, weight=OF_CLASS, label_smoothing=0.2),
    *losses("cross_entropy_loss", F.cross_entropy, X, CLASSES, label_smoothing=0.2),
    Case("cross_entropy_loss", lambda x: F.cross_entropy(x, torch.tensor(2)), X[0], "one sample"),
    *(
        Case(
            "cross_entropy_loss",
            lambda x, r=r: F.cross_entropy(x, P, weight=OF_CLASS, label_smoothing=0.2, reduction=r),
            X,
            f"probabilities, {r}",
        )
        for r in REDUCTIONS
    ),
    Case("cross_entropy_loss", lambda x: F.cross_entropy(IMAGES, x), drawn(2, 3, 2, low=0.1), "target"),
    Case("cross_entropy_loss", lambda x: F.cross_entropy(x, F.softmax(x * Y, 1)), X, "both"),
]

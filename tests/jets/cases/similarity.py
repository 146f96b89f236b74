"""Cases of distances and angles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from jets.rule_cases import Case, drawn

X, OTHER = drawn(2, 3), drawn(2, 3, seed=1)

CASES = [
    Case(
        "cosine_similarity",
        lambda x: F.cosine_similarity(x, OTHER),
        X,
        "",
        {
            "module": lambda x: nn.CosineSimilarity()(x, OTHER),
            "second": lambda x: F.cosine_similarity(OTHER, x),
            "negative axis": lambda x: torch.cosine_similarity(x, OTHER, -1),
        },
    ),
    Case("cosine_similarity", lambda x: F.cosine_similarity(x, x[:1] ** 2, dim=0), X, "jets, axis 0"),
    Case("cosine_similarity", lambda x: F.cosine_similarity(x, OTHER[0], dim=1), X, "broadcast"),
    Case(
        "cosine_similarity",
        lambda x: F.cosine_similarity(x, OTHER, eps=100.0),
        X,
        "short",
        # PyTorch differentiates as if no norm had been raised to ε.
        oracle=lambda x: (x * OTHER).sum(1) / 1e4,
    ),
    Case(
        "pairwise_distance",
        lambda x: F.pairwise_distance(x, OTHER),
        X,
        "",
        {"module": lambda x: nn.PairwiseDistance()(x, OTHER)},
    ),
    Case("pairwise_distance", lambda x: F.pairwise_distance(x, x[:1] ** 2, 3.0, 0.1, True), X, "jets, p = 3, kept"),
]

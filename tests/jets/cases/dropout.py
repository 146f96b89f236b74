"""Cases of dropout of channels, and of the kinds that keep mean and variance."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from jets.cases.linear import draws
from jets.rule_cases import Case, drawn

CASES = [
    Case(
        "feature_dropout",
        draws(lambda x: F.dropout1d(x, 0.4)),
        drawn(2, 3, 2),
        "one dimension",
        {
            "module": draws(nn.Dropout1d(0.4)),
            "in place": draws(lambda x: F.dropout1d(x.clone(), 0.4, inplace=True)),
            "torch": draws(lambda x: torch.feature_dropout(x, 0.4, True)),
        },
        order=2,
    ),
    Case("feature_dropout", draws(nn.Dropout2d(0.4)), drawn(2, 3, 1, 2), "two dimensions", order=2),
    Case("feature_dropout", draws(nn.Dropout3d(0.4)), drawn(2, 3, 1, 1, 2), "three dimensions", order=2),
    Case("feature_dropout", draws(nn.Dropout1d(0.4)), drawn(3, 2), "no batch", order=2),
    Case("feature_dropout", nn.Dropout1d(0.4).eval(), drawn(2, 3, 2), "evaluation", order=2),
    Case("feature_dropout", lambda x: F.dropout1d(x, 1.0), drawn(2, 3, 2), "everything", order=2),
    Case(
        "alpha_dropout",
        draws(lambda x: F.alpha_dropout(x, 0.4, training=True)),
        drawn(3, 4),
        "training",
        {
            "module": draws(nn.AlphaDropout(0.4)),
            "in place": draws(lambda x: F.alpha_dropout(x.clone(), 0.4, True, inplace=True)),
            "torch": draws(lambda x: torch.alpha_dropout(x, 0.4, True)),
        },
        order=2,
    ),
    Case("alpha_dropout", nn.AlphaDropout(0.4).eval(), drawn(3, 4), "evaluation", order=2),
    Case("alpha_dropout", lambda x: F.alpha_dropout(x, 1.0, True), drawn(3, 4), "everything", order=2),
    Case(
        "feature_alpha_dropout",
        draws(lambda x: F.feature_alpha_dropout(x, 0.4, training=True)),
        drawn(2, 3, 2),
        "training",
        {
            "module": draws(nn.FeatureAlphaDropout(0.4)),
            "in place": draws(lambda x: F.feature_alpha_dropout(x.clone(), 0.4, True, inplace=True)),
        },
        order=2,
    ),
    Case("feature_alpha_dropout", nn.FeatureAlphaDropout(0.4).eval(), drawn(2, 3, 2), "evaluation", order=2),
]

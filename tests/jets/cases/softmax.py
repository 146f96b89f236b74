"""Cases of softmax, its relatives, and the gated linear unit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from jets.rule_cases import Case, drawn

X = drawn(2, 3)
MASK = torch.tensor([False, True, False])

CASES = [
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
    Case("softmax", lambda x: torch.softmax(x[0, 0], 0), X, "0-d"),
    Case(
        "softmax",
        lambda x: torch.softmax(x.masked_fill(MASK, -torch.inf), -1),
        X,
        "masked",
        smooth=False,
    ),
]

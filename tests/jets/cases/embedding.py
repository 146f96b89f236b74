"""Cases of embeddings: derivatives along the table."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from jets.rule_cases import Case, drawn

TABLE = drawn(3, 2)
INDICES = torch.tensor([[0, 2], [1, 0]])

CASES = [
    Case("embedding", lambda w: F.embedding(INDICES, w), TABLE, "", {"torch": lambda w: torch.embedding(w, INDICES)}),
    Case("embedding", lambda w: F.embedding(INDICES[0], w), TABLE, "one axis"),
]

"""Embeddings with jets in the table: derivatives along the weights of `torch.nn.Embedding`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from jetprop.jets.dispatch import SPELLINGS, rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import is_jet

__all__: list[str] = []


@rule("embedding", "selection")
def embedding(
    weight: Any, indices: Any, padding_idx: int | None = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Jet:
    """The entries of a table; the one at `padding_idx` is a constant, as it is to PyTorch.

    `max_norm`, which writes to the table before, has no rule.

    Raises:
        TypeError: the indices are a jet; `scale_grad_by_freq` or `sparse`, which change what gradients are.
    """
    if not is_jet(weight):
        raise TypeError("embedding: expected integers as indices, got a jet; look up first, then seed the jet")
    if scale_grad_by_freq or sparse:
        raise TypeError(
            f"embedding of a jet takes scale_grad_by_freq=False and sparse=False, got {scale_grad_by_freq} and {sparse}"
        )
    rows = weight.rows.index_select(1, indices.reshape(-1)).unflatten(1, indices.shape)
    if padding_idx is not None and padding_idx >= 0:
        held = torch.cat([rows[:1].detach(), torch.zeros_like(rows[1:])])
        rows = torch.where((indices == padding_idx).unsqueeze(-1), held, rows)
    return Jet._of(rows, weight.basis)


del SPELLINGS[F.embedding]  # the namesake takes other arguments, and calls the operator

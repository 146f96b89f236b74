"""Scaled dot-product attention: two products of jets with a softmax between them.

`torch.nn.MultiheadAttention` and the Transformer layers end here. Their shortcuts for inference are not taken, because
PyTorch asks before whether an argument overrides its functions, and a jet does.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import is_jet
from jetprop.jets.rules.softmax import softmax_of_live

__all__: list[str] = []


@rule("scaled_dot_product_attention", "composition")
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(scale·Q Kᵀ + mask) V; a position that may attend to nothing gets 0.

    Args:
        query: `[…, L, E]`.
        key: `[…, S, E]`.
        value: `[…, S, F]`.
        attn_mask: broadcastable to `[…, L, S]`; true where attention is allowed, or numbers (or a jet) to be added.
        dropout_p: the probability with which a weight is dropped, whoever calls; one mask for all rows.
        is_causal: whether position i attends to positions up to i only.
        scale: 1/√E unless given.
        enable_gqa: whether groups of queries' heads (axis −3) share one head of keys and values.

    Raises:
        ValueError: a mask beside `is_causal`.
    """
    if is_causal and attn_mask is not None:
        raise ValueError("scaled_dot_product_attention: expected attn_mask or is_causal=True, got both; drop one")
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if is_causal:
        attn_mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    scores: Any = torch.matmul(query * scale, key.transpose(-2, -1))
    if attn_mask is not None:
        scores = _masked(scores, attn_mask)
    weights: Any = softmax_of_live(scores, -1) if is_jet(scores) else torch.ops.aten._safe_softmax(scores, -1)
    return torch.matmul(F.dropout(weights, dropout_p) if dropout_p > 0 else weights, value)


def _masked(scores: Any, mask: Any) -> Any:
    """The scores with the mask added, or −∞ where it is false."""
    if is_jet(mask) or mask.dtype != torch.bool:
        return scores + mask
    return scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)


@rule("_nested_tensor_from_mask_left_aligned", "value")
def nested_tensor_from_mask_left_aligned(x: Jet, mask: Tensor) -> bool:
    """No: jets are dense, and `torch.nn.TransformerEncoder` shall treat padded positions as it does in training."""
    return False

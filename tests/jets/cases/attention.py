"""Cases of attention. PyTorch's fused kernels have no second derivatives: the oracle is its plain computation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from jets.cases.linear import draws
from jets.rule_cases import Case, drawn

attend = F.scaled_dot_product_attention
X = drawn(1, 3, 2)
KEY, VALUE = drawn(1, 3, 2, seed=1), drawn(1, 3, 1, seed=2)
ALLOWED = torch.tensor([[True, False, True], [True, True, False], [False, True, True]])
NOTHING = torch.tensor([[True, False, True], [False, False, False], [False, True, True]])
BIAS = drawn(3, 3, seed=3)


def unfused(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, without fused kernels."""

    def call(x: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return function(x)

    return call


def attention(label: str, function: Callable[[Any], Any], x: torch.Tensor = X, **options: Any) -> Case:
    case = Case("scaled_dot_product_attention", function, x, label, oracle=unfused(function))
    return replace(case, **options)


CASES = [
    attention("all three", lambda x: attend(x, x * 2, x[..., :1]), order=3, per_sample=True),
    attention(
        "query",
        lambda x: attend(x, KEY, VALUE),
        spellings={"keywords": lambda x: attend(query=x, key=KEY, value=VALUE)},
        order=3,
    ),
    attention("key", lambda x: attend(KEY, x, VALUE), order=3),
    attention("value", lambda x: attend(KEY, KEY, x[..., :1])),
    attention(
        "boolean mask",
        lambda x: attend(x, x, VALUE, ALLOWED),
        spellings={"numbers": lambda x: attend(x, x, VALUE, torch.where(ALLOWED, 0.0, -torch.inf).double())},
        order=3,
    ),
    attention("nothing allowed", lambda x: attend(x, x, VALUE, NOTHING), order=2),
    attention("added mask", lambda x: attend(x, KEY, VALUE, attn_mask=BIAS), order=3),
    attention("jet as mask", lambda x: attend(KEY, KEY, VALUE, attn_mask=x), BIAS.clone(), order=2),
    attention(
        "causal",
        lambda x: attend(x, x, VALUE, is_causal=True),
        spellings={"mask": lambda x: attend(x, x, VALUE, torch.ones(3, 3, dtype=torch.bool).tril())},
        order=3,
    ),
    attention("causal, fewer queries", lambda x: attend(x[:, :2], x, VALUE, is_causal=True), order=2),
    attention("scale", lambda x: attend(x, KEY, VALUE, scale=1.7), order=3),
    attention("heads", lambda x: attend(x, x, x), drawn(2, 2, 2, 1), order=2, per_sample=True),
    attention("grouped heads", lambda x: attend(x, x[:, :1], x[:, 1:], enable_gqa=True), drawn(1, 2, 2, 2), order=2),
    attention("dropout", draws(lambda x: attend(x, x, VALUE, dropout_p=0.4)), order=2),
]

left_aligned: Any = vars(torch)["_nested_tensor_from_mask_left_aligned"]

VALUE_CASES: list[tuple[str, Callable[[Any], Any]]] = [
    ("_nested_tensor_from_mask_left_aligned", lambda x: left_aligned(x[None], torch.tensor([[False, True]])))
]

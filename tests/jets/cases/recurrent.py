"""Cases of the recurrent operators and their cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from jets.rule_cases import DTYPE, Case, drawn

SEQUENCES = drawn(2, 2, 2)
"""[time, batch, features]."""


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A module with the same parameters on every call."""
    state = torch.get_rng_state()
    torch.manual_seed(5)
    module = build().to(DTYPE)
    torch.set_rng_state(state)
    return module


def together(out: Any) -> Any:
    """Everything that a recurrent network returns, in one vector."""
    if isinstance(out, (tuple, list)):
        return torch.cat([together(part) for part in out])
    return out.reshape(-1)


def whole(build: Callable[[], nn.Module]) -> Callable[[Any], Any]:
    module = seeded(build)
    return lambda x: together(module(x))


def repacked(x: Any) -> Any:
    packed = pack_padded_sequence(x, [2, 1])
    return pad_packed_sequence(packed, total_length=3, padding_value=0.5)[0]


CASES = [
    Case("lstm", whole(lambda: nn.LSTM(2, 2)), SEQUENCES),
    Case("gru", whole(lambda: nn.GRU(2, 2)), SEQUENCES),
    Case("rnn_tanh", whole(lambda: nn.RNN(2, 2)), SEQUENCES),
    Case("rnn_relu", whole(lambda: nn.RNN(2, 2, nonlinearity="relu")), SEQUENCES),
    Case("lstm_cell", whole(lambda: nn.LSTMCell(2, 2)), SEQUENCES[0]),
    Case("gru_cell", whole(lambda: nn.GRUCell(2, 2)), SEQUENCES[0]),
    Case("gru_cell", whole(lambda: nn.GRUCell(2, 2, bias=False)), SEQUENCES[0], "no bias"),
    Case("rnn_tanh_cell", whole(lambda: nn.RNNCell(2, 2)), SEQUENCES[0]),
    Case("rnn_relu_cell", whole(lambda: nn.RNNCell(2, 2, nonlinearity="relu")), SEQUENCES[0]),
    Case("_pack_padded_sequence", lambda x: pack_padded_sequence(x, [2, 1]).data, SEQUENCES),
    Case(
        "_pack_padded_sequence",
        lambda x: pack_padded_sequence(x, torch.tensor([1, 2]), batch_first=True, enforce_sorted=False).data,
        SEQUENCES,
        "batch first",
    ),
    Case("_pad_packed_sequence", repacked, SEQUENCES),
]

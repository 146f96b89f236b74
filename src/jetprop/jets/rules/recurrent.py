"""Recurrent networks: LSTM, GRU and simple ones, unrolled by their cells, over padded or packed sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import is_jet

__all__: list[str] = []

State = tuple
"""(h,), or (h, c) of an LSTM; `[batch, hidden]` each, jets or tensors."""


class _Weights(NamedTuple):
    """The parameters of one layer in one direction; None where it has none."""

    ih: Any
    hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    projection: Any = None


Step = Callable[[Any, State, _Weights], State]
"""From the products of the input, W_ih x + b_ih, and the state before to the state after."""


def _simple_step(activation: Callable[[Any], Any]) -> Step:
    """`h' = f(W_ih x + b_ih + W_hh h + b_hh)`."""

    def step(products: Any, state: State, w: _Weights) -> State:
        return (activation(products + F.linear(state[0], w.hh, w.bias_hh)),)

    return step


def _lstm_step(products: Any, state: State, w: _Weights) -> State:
    """`c' = σ(f) c + σ(i) tanh(g)`, `h' = σ(o) tanh(c')`, projected where the layer projects."""
    i, f, g, o = (products + F.linear(state[0], w.hh, w.bias_hh)).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return h if w.projection is None else F.linear(h, w.projection), c


def _gru_step(products: Any, state: State, w: _Weights) -> State:
    """`n = tanh(x_n + σ(r) h_n)`, `h' = n + σ(z) (h − n)`."""
    (h,) = state
    width = h.shape[-1]
    recurrent = F.linear(h, w.hh, w.bias_hh)
    r, z = (products[..., : 2 * width] + recurrent[..., : 2 * width]).sigmoid().chunk(2, -1)
    n = (products[..., 2 * width :] + r * recurrent[..., 2 * width :]).tanh()
    return (n + z * (h - n),)


def _along(x: Any, state: State, w: _Weights, step: Step, sizes: list[int] | None, reverse: bool) -> tuple[Any, State]:
    """One layer in one direction: all products of the input at once, then step by step.

    Args:
        x: `[time, batch, features]`, or packed `[Σ sizes, features]`.
        state: before the first step.
        w: the parameters.
        step: the cell.
        sizes: how many sequences go on at each time, descending, if packed.
        reverse: from the last time to the first.

    Returns:
        The output at every time, laid out as the input is, and the state after the last step.
    """
    products = F.linear(x, w.ih, w.bias_ih)
    steps = list(products.unbind(0) if sizes is None else products.split(sizes, 0))
    if not steps:
        raise RuntimeError("a recurrent network needs at least one time step, got a sequence of length 0")
    start, outputs, ended = state, [], []
    state = tuple(s[: len(steps[-1 if reverse else 0])] for s in start)
    for inputs in reversed(steps) if reverse else steps:
        before, now = len(state[0]), len(inputs)
        if now < before:
            ended.append(tuple(s[now:] for s in state))
            state = tuple(s[:now] for s in state)
        elif now > before:
            state = tuple(torch.cat([s, s0[before:now]]) for s, s0 in zip(state, start, strict=True))
        state = step(inputs, state, w)
        outputs.append(state[0])
    if ended:
        parts = [state, *reversed(ended)]
        state = tuple(torch.cat([part[k] for part in parts]) for k in range(len(state)))
    outputs = outputs[::-1] if reverse else outputs
    return torch.stack(outputs) if sizes is None else torch.cat(outputs), state


def _network(
    step: Step,
    x: Any,
    states: State,
    parameters: Sequence[Any],
    sizes: list[int] | None,
    biased: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
) -> State:
    """All layers and directions; between layers dropout, one mask for all rows."""
    directions = 2 if bidirectional else 1
    count = len(parameters) // (layers * directions)
    finals: list[State] = []
    for layer in range(layers):
        outputs = []
        for way in range(directions):
            k = layer * directions + way
            own = parameters[k * count : (k + 1) * count]
            w = _Weights(*own[: 4 if biased else 2])._replace(projection=own[-1] if count % 2 else None)
            output, final = _along(x, tuple([s[k] for s in states]), w, step, sizes, reverse=way == 1)
            outputs.append(output)
            finals.append(final)
        x = torch.cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and training and layer < layers - 1:
            x = F.dropout(x, dropout, training=True)
    return x, *(torch.stack(list(of_all)) for of_all in zip(*finals, strict=True))


def _as_autocast_has_them(states: State, fused: bool) -> State:
    """States in autocast's lower precision where PyTorch has one kernel for the whole cell, which lowers them too."""
    device = states[0].device.type
    if not (fused and torch.is_autocast_enabled(device)):
        return states
    dtype = torch.get_autocast_dtype(device)
    return tuple(s if s.dtype == torch.float64 else s.to(dtype) for s in states)


def _sequence(step: Step) -> Callable:
    """The operator over sequences: padded `(x, hx, parameters, …, batch_first)`, or packed `(x, sizes, hx, …)`."""

    def apply(*args: Any) -> Any:
        if isinstance(args[3], bool):
            x, states, parameters, *options, batch_first = args
            sizes = None
        else:
            x, sizes, states, parameters, *options = args
            sizes, batch_first = sizes.tolist(), False
        states = tuple(states) if isinstance(states, (tuple, list)) else (states,)
        fused = step is _lstm_step and sizes is None and states[0].shape == states[-1].shape
        states = _as_autocast_has_them(states, fused or x.device.type == "cuda")
        out, *final = _network(step, x.transpose(0, 1) if batch_first else x, states, parameters, sizes, *options)
        return (out.transpose(0, 1) if batch_first else out, *final)

    return apply


def _cell(step: Step) -> Callable:
    """The operator of one step."""

    def apply(x: Any, hx: Any, ih: Any, hh: Any, bias_ih: Any = None, bias_hh: Any = None) -> Any:
        state: Any = tuple(hx) if isinstance(hx, (tuple, list)) else (hx,)
        state = _as_autocast_has_them(state, x.device.type == "cuda")
        h, *c = step(F.linear(x, ih, bias_ih), state, _Weights(ih, hh, bias_ih, bias_hh))
        return (h, *c) if c else h

    return apply


for _name, _step in {
    "lstm": _lstm_step,
    "gru": _gru_step,
    "rnn_tanh": _simple_step(torch.tanh),
    "rnn_relu": _simple_step(torch.relu),
}.items():
    rule(_name, "composition")(_sequence(_step))
    rule(f"{_name}_cell", "composition")(_cell(_step))


@rule("_pack_padded_sequence", "selection")
def pack(x: Jet, lengths: Tensor, batch_first: bool) -> tuple[Jet, Tensor]:
    """The sequences without their padding, time by time, and how many go on at each time."""
    x = x.transpose(0, 1) if batch_first else x
    _, sizes = torch._VF._pack_padded_sequence(x.value.detach(), lengths, False)
    return torch.cat([x[t, :n] for t, n in enumerate(sizes.tolist())]), sizes  # type: ignore[return-value]


@rule("_pad_packed_sequence", "selection")
def pad_packed(
    x: Jet, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Jet, Tensor]:
    """Packed sequences padded to one length, and their lengths."""
    steps: list[Any] = list(x.split(batch_sizes.tolist(), 0))
    batch = steps[0].shape[0]
    missing = x.new_full((batch, *x.shape[1:]), padding_value)
    steps = [torch.cat([s, missing[len(s) :]]) for s in steps] + [missing] * (total_length - len(steps))
    out: Any = torch.stack(steps, 1 if batch_first else 0)
    assert is_jet(out)
    return out, (batch_sizes[:, None] > torch.arange(batch)).sum(0)

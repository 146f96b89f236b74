"""The floor under a step with R rows: the bare matrix products and convolutions of the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["floor_of"]


def floor_of(model: nn.Module, x: Tensor, rows: int) -> Callable[[], None]:
    """Forward, weight gradient and input gradient (but for the first) of every linear layer and 2-d convolution.

    The projections of multi-head attention are among them; its products of queries, keys and values are not, nor is
    anything elementwise.

    Args:
        model: called once, on x.
        x: `[batch, …]`.
        rows: how often the batch is taken.

    Returns:
        A function that does the work on random operands.
    """
    found: list[tuple[Tensor, tuple[int, ...], dict[str, Any] | None]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        if isinstance(layer, nn.MultiheadAttention):
            assert layer.in_proj_weight is not None
            found.append((layer.in_proj_weight, inputs[0].shape, None))
            found.append((layer.out_proj.weight, inputs[0].shape, None))
        elif isinstance(layer, nn.Conv2d):
            settings = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
            found.append((layer.weight, inputs[0].shape, settings))
        elif isinstance(layer, nn.Linear):
            found.append((layer.weight, inputs[0].shape, None))

    hooks = [layer.register_forward_hook(note) for layer in model.modules()]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    passes = [
        _product(w.detach(), shape, rows, place > 0)
        if conv is None
        else _convolution(w.detach(), shape, rows, place > 0, conv)
        for place, (w, shape, conv) in enumerate(found)
    ]

    def run() -> None:
        for forward, _ in passes:
            forward()
        for _, backward in passes:
            backward()

    return run


Pass = tuple[Callable[[], object], Callable[[], object]]


def _product(weight: Tensor, shape: tuple[int, ...], rows: int, inner: bool) -> Pass:
    lines = rows * torch.Size(shape[:-1]).numel()
    x, g = weight.new_empty(lines, weight.shape[1]).normal_(), weight.new_empty(lines, weight.shape[0]).normal_()

    def backward() -> None:
        torch.mm(g.t(), x)
        if inner:
            torch.mm(g, weight)

    return lambda: torch.mm(x, weight.t()), backward


def _convolution(weight: Tensor, shape: tuple[int, ...], rows: int, inner: bool, settings: dict[str, Any]) -> Pass:
    x = weight.new_empty(rows * shape[0], *shape[1:]).normal_()
    g = torch.randn_like(F.conv2d(x, weight, **settings))
    stride, padding, dilation, groups = settings.values()

    def backward() -> None:
        torch.ops.aten.convolution_backward(
            g, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [inner, True, False]
        )

    return lambda: F.conv2d(x, weight, **settings), backward

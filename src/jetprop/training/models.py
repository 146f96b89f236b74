"""Networks that a recipe can name: the multilayer perceptron of the paper, and any factory of yours."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jetprop.training.config import ModelConfig, RecipeError
from jetprop.training.named import load_named

__all__ = ["MLP", "build_model"]

FIRST_RANGE, RANGE, THRESHOLDS = 10.0, 2.0, 0.1
"""Half-widths of the initial distributions, the first two over √(senders)."""


class MLP(nn.Module):
    """A multilayer perceptron: linear layers with an activation in between; takes tensors or jets.

    Args:
        widths: of all layers, inputs and outputs included.
        activation: of the hidden layers, the name of a function of `torch.nn.functional` or `torch`.
        init: "avrutskiy2023": weights uniform in ±2/√κ, κ the number of senders, those of the first matrix in ±10/√κ,
            thresholds in ±0.1; or "torch", the defaults of `nn.Linear`.
        seed: of the initial values, which do not touch the global generator; the same on every device and in every
            precision.

    Raises:
        ValueError: there are fewer than two widths, or there is no such activation.

    Shape:
        `[batch, …]` with as many values as `widths[0]` (flattened if need be) to `[batch, widths[-1]]`.

    Source:
        avrutskiy2023, section 2.4.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.training import MLP
        >>> MLP([2, 16, 1])(Jet.seed(torch.zeros(5, 2), order=2)).second.shape
        torch.Size([3, 5, 1])
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "sigmoid",
        init: Literal["avrutskiy2023", "torch"] = "avrutskiy2023",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"an mlp needs at least two widths, inputs and outputs; got {list(widths)}")
        self.widths = list(widths)
        self.activation = _activation(activation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
            if init == "avrutskiy2023":
                self._init_as_published()
            elif init != "torch":
                raise ValueError(f'init is "avrutskiy2023" or "torch", got {init!r}')

    def forward(self, x: Tensor) -> Tensor:
        """The outputs, a jet for a jet."""
        if x.dim() > 2:
            x = x.reshape(x.shape[0], -1)
        last = len(self.layers) - 1
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place < last:
                x = self.activation(x)
        return x

    @torch.no_grad()
    def _init_as_published(self) -> None:
        for place, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            bound = (RANGE if place else FIRST_RANGE) / layer.in_features**0.5
            layer.weight.uniform_(-bound, bound)
            layer.bias.uniform_(-THRESHOLDS, THRESHOLDS)


def build_model(config: ModelConfig, seed: int = 0) -> nn.Module:
    """The network that a recipe asks for, on the CPU in float32.

    Args:
        config: `[model]`.
        seed: of the initial weights. Factories run with torch's generator at this seed; it is put back afterwards.

    Raises:
        RecipeError: the factory cannot be found, fails on its options, or returns no module; the activation is unknown.
    """
    if config.kind == "mlp":
        try:
            return MLP(config.widths, config.activation, config.init, seed)
        except ValueError as error:
            raise RecipeError(f"[model] {error}") from error
    assert config.factory is not None
    factory = load_named(config.factory, "[model] factory")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = factory(**config.options)
        except TypeError as error:
            raise RecipeError(
                f"[model] {config.factory}(**{config.options}) fails: {error}; see [model.options]"
            ) from error
    if not isinstance(model, nn.Module):
        raise RecipeError(f"[model] {config.factory} returned {type(model).__name__}, expected a torch.nn.Module")
    return model


def _activation(name: str) -> Callable[[Any], Any]:
    for space in (torch, F):
        found = getattr(space, name, None)
        if callable(found) and not isinstance(found, type) and not name.startswith("_"):
            return found
    close = difflib.get_close_matches(name, [n for n in dir(F) if n.islower() and not n.startswith("_")], n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    raise ValueError(f"activation {name!r} is no function of torch or torch.nn.functional{hint}")

"""What the rivals are measured on: a network, data, and a loss on derivatives along a few directions.

Names hold the size: `mlp-L` is 4-L-L-L-3 with tanh, along the four input coordinates; `cnn-C` two convolutions of C and
2C filters with batch norm in training mode and SiLU, on 12 × 12 images; `transformer-E` an encoder layer of width E
with GELU, on 16 tokens. The latter two go along four random directions. Derivatives are the pure ones up to the
order, no mixed terms, for that is what Taylor mode along directions gives.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from jetprop.jets import Basis, Jet

__all__ = ["ARCHITECTURES", "Problem", "own_norms", "problem"]

DIRECTIONS, TOKENS, PIXELS, CHANNELS, CLASSES = 4, 16, 12, 3, 10


@dataclass(frozen=True)
class Problem:
    """A network with the step that all rivals take: rows, loss, its gradient in the parameters.

    Args:
        name: architecture and size, e.g. "mlp-128".
        order: the highest order of derivatives.
        model: in training mode.
        x: `[batch, …]`.
        directions: `[D, batch, …]`.
        target: `[R, batch, …]`, what the rows shall equal.
        weight: `[R, 1, …]`, one over the root mean square of each row, so that every order counts alike.
    """

    name: str
    order: int
    model: nn.Module
    x: Tensor
    directions: Tensor
    target: Tensor
    weight: Tensor

    @property
    def architecture(self) -> str:
        """The name without the size."""
        return self.name.partition("-")[0]

    @property
    def basis(self) -> Basis:
        """Value and pure derivatives along each direction, ordered by order, then by direction."""
        return Basis.directional(len(self.directions), self.order)

    def jet(self) -> Jet:
        """The input of the engine."""
        return Jet.seed(self.x, self.directions, basis=self.basis)

    def loss(self, rows: Tensor) -> Tensor:
        """Mean over all entries of (weight (rows - target))²."""
        return ((rows - self.target) * self.weight).square().mean()

    def to(self, dtype: torch.dtype, device: str = "cpu") -> Problem:
        """A copy of another dtype, elsewhere."""
        tensors = {k: getattr(self, k).to(device, dtype) for k in ("x", "directions", "target", "weight")}
        return replace(self, model=copy.deepcopy(self.model).to(device, dtype), **tensors)

    def gradient(self) -> list[Tensor]:
        """The gradient of the loss by the engine, in the order of `model.named_parameters()`."""
        rows = self.model(self.jet()).rows
        return [g.detach() for g in torch.autograd.grad(self.loss(rows), list(self.model.parameters()))]


def problem(name: str, order: int, batch: int, seed: int = 0) -> Problem:
    """Make a problem in float64.

    Args:
        name: `mlp-L`, `cnn-C` or `transformer-E`; see the module.
        order: 1, 2, …
        batch: samples a step.
        seed: of weights and data.

    Raises:
        ValueError: there is no such network.

    Example:
        >>> from jetprop.benchmarks.problems import problem
        >>> problem("mlp-8", order=3, batch=2).basis
        Basis(13 rows: (), (0,), (1,), (2,), (3,), (0, 0), …)
    """
    architecture, _, size = name.partition("-")
    if architecture not in ARCHITECTURES or not size.isdigit() or int(size) < 1:
        raise ValueError(f"a network is named {', '.join(f'{a}-SIZE' for a in ARCHITECTURES)}, got {name!r}")
    if order < 1 or batch < 2:
        raise ValueError(f"order must be at least 1 and batch at least 2, got {order} and {batch}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, shape = ARCHITECTURES[architecture](int(size))
        model = model.double().train()
        x = torch.randn(batch, *shape, dtype=torch.float64)
        directions = torch.randn(DIRECTIONS, batch, *shape, dtype=torch.float64)
        if architecture == "mlp":
            directions = torch.eye(DIRECTIONS, dtype=torch.float64)[:, None].expand(-1, batch, -1).contiguous()
        basis = Basis.directional(DIRECTIONS, order)
        with torch.no_grad():
            rows = model(Jet.seed(x, directions, basis=basis)).rows
        size_of_row = rows.flatten(1).square().mean(1).sqrt().reshape(-1, *[1] * (rows.dim() - 1))
        target = torch.randn_like(rows) * size_of_row
    return Problem(name, order, model, x, directions, target, 1 / size_of_row)


def _mlp(width: int) -> tuple[nn.Module, tuple[int, ...]]:
    sizes = [DIRECTIONS, width, width, width, 3]
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1]), (DIRECTIONS,)


def _cnn(filters: int) -> tuple[nn.Module, tuple[int, ...]]:
    # Without running averages: nested transforms would update them once for each level.
    model = nn.Sequential(
        nn.Conv2d(CHANNELS, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters, track_running_stats=False),
        nn.SiLU(),
        nn.Conv2d(filters, 2 * filters, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * filters, track_running_stats=False),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * filters, CLASSES),
    )
    return model, (CHANNELS, PIXELS, PIXELS)


def _transformer(width: int) -> tuple[nn.Module, tuple[int, ...]]:
    heads = next(h for h in (4, 2, 1) if width % h == 0)
    layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True)
    return layer, (TOKENS, width)


ARCHITECTURES: dict[str, Callable[[int], tuple[nn.Module, tuple[int, ...]]]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "transformer": _transformer,
}
"""Size to network and shape of one input."""


class OwnNorm(nn.Module):
    """Batch or layer norm out of means and products, with the parameters of the one that it replaces."""

    def __init__(self, norm: nn.BatchNorm2d | nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.of_batch = isinstance(norm, nn.BatchNorm2d)

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / √(variance + eps) · weight + bias."""
        axes, shape = ((0, 2, 3), (-1, 1, 1)) if self.of_batch else ((-1,), (-1,))
        centred = x - x.mean(axes, keepdim=True)
        scale = (centred.square().mean(axes, keepdim=True) + self.eps).rsqrt()
        return centred * scale * self.weight.reshape(shape) + self.bias.reshape(shape)


def own_norms(model: nn.Module) -> nn.Module | None:
    """The same network on the same parameters, its normalisations composed by hand; None if it has none.

    Nested differentiation of PyTorch's own ones is wrong, see `jetprop.jets.reference`.
    """
    shared = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    found = [n for n, m in shared.named_modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
    for name in found:
        shared.set_submodule(name, OwnNorm(shared.get_submodule(name)))  # type: ignore[arg-type]
    return shared if found else None

"""Batches at moved inputs: Gaussian augmentation, adversarial training, smoothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from jetprop.jets import Basis, Jet
from jetprop.objectives import AdversarialAscent, GaussianNoise, SmoothingCost
from jetprop.objectives.moved import Move
from jetprop.training.data import MIX, Batch, Source
from jetprop.training.objective_config import AugmentationConfig

__all__ = ["Moved", "move_of", "smoothing_cost"]


class Moved(Source):
    """A source whose inputs are moved before they are handed out; targets stay.

    What is random depends on seed, step and device alone, and is drawn for the whole batch, so that sharing it among
    processes changes nothing.

    Args:
        source: where batches come from, values only.
        move: where inputs go.
        model: the network that is trained, which adversarial moves ask.
        keep: hand out the inputs as they are too, before the moved ones (`SmoothingCost` wants both).

    Example:
        >>> import torch
        >>> from jetprop.manifolds import Cube
        >>> from jetprop.objectives import GaussianNoise
        >>> from jetprop.training import Moved, Stored
        >>> source = Stored.of(Cube(), 8, batch=4, order=0)
        >>> noisy = Moved(source, GaussianNoise(0.1), torch.nn.Identity())
        >>> difference = noisy.batch(0, 0).inputs.rows - source.batch(0, 0).inputs.rows
        >>> round(float(difference.std()), 2)
        0.1
    """

    def __init__(self, source: Source, move: Move, model: nn.Module, keep: bool = False) -> None:
        super().__init__(source.basis, source.batch_size, source.seed, source.steps_per_epoch)
        self.source, self.move, self.model, self.keep = source, move, model, keep

    def basis_of(self, order: int) -> Basis:
        """The basis of batches: values only.

        Raises:
            ValueError: the order is above 0; derivatives at moved inputs are not known.
        """
        if order:
            raise ValueError(f"at moved inputs only the target's value is known, got order {order}; ask for order 0")
        return self.source.basis_of(0)

    def batch(self, step: int, order: int) -> Batch:
        """The source's values, moved."""
        basis = self.basis_of(order)
        found = self.source.batch(step, 0)
        inputs, targets = found.inputs.value, found.targets.value
        moved = self.move(self.model, inputs, targets, self._noise(step, inputs))
        if self.keep:
            if found.mask is not None:
                raise ValueError("smoothing compares outputs with one another, so it cannot be used with a mask")
            inputs, targets = torch.cat([inputs, moved]), torch.cat([targets, targets])
            return Batch(Jet._of(inputs[None], basis), Jet._of(targets[None], basis))
        return Batch(Jet._of(moved[None], basis), found.targets, found.mask, found.labels)

    def _noise(self, step: int, inputs: Tensor) -> Tensor:
        """Standard normal, this process's part of what is drawn for the whole batch."""
        generator = torch.Generator(inputs.device).manual_seed((self.seed * MIX + step + 1) * 4 + 3)
        shape = (self.batch_size, *inputs.shape[1:])
        noise = torch.randn(shape, generator=generator, dtype=inputs.dtype, device=inputs.device)
        return noise[self.source.rank * len(inputs) : (self.source.rank + 1) * len(inputs)]

    def chunks(self) -> Iterator[tuple[Jet, Jet]]:
        """Those of the source, not moved."""
        return self.source.chunks()

    def values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Those of the source, not moved: errors are those of clean inputs."""
        return self.source.values()

    def numbers(self, step: int) -> tuple[Tensor, int]:
        """Those of the source."""
        return self.source.numbers(step)

    def share(self, rank: int, world: int) -> None:
        """Hand out only a part of each batch, as the source then does."""
        self.source.share(rank, world)


def move_of(config: AugmentationConfig) -> Move:
    """The move that `[augmentation]` names."""
    if config.kind == "gaussian":
        assert config.sigma is not None
        return GaussianNoise(config.sigma)
    assert config.radius is not None
    toward = "target" if config.kind == "adversarial" else "output"
    return AdversarialAscent(config.radius, config.steps or 10, config.rate, toward)


def smoothing_cost(config: AugmentationConfig, normalizer: float, value_weight: float) -> SmoothingCost:
    """The cost of `kind = "smoothing"`."""
    assert config.weight is not None
    return SmoothingCost(config.weight, normalizer, value_weight)

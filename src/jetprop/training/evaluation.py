"""The error of a network over a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jetprop.manifolds import Manifold
from jetprop.objectives import ErrorMeter
from jetprop.training.data import CHUNK

__all__ = ["HeldOut", "evaluate"]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A set to test on: chunks (inputs, targets) of plain tensors, made anew each time they are asked for.

    Args:
        chunks: called without arguments, yields the chunks.
        count: how many samples they hold together.
    """

    chunks: Callable[[], Iterable[tuple[Tensor, Tensor]]]
    count: int

    @classmethod
    def tensors(cls, inputs: Tensor, targets: Tensor) -> HeldOut:
        """From tensors `[n, …]` and `[n, outputs]`.

        Raises:
            ValueError: they differ in length, or are empty.
        """
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise ValueError(
                f"a test set needs as many inputs as targets, at least one; got {len(inputs)} and {len(targets)}"
            )
        return cls(
            lambda: ((inputs[k : k + CHUNK], targets[k : k + CHUNK]) for k in range(0, len(inputs), CHUNK)), len(inputs)
        )

    @classmethod
    def of(
        cls,
        manifold: Manifold,
        count: int,
        start: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        keep: bool = True,
    ) -> HeldOut:
        """Samples `start`, …, `start + count - 1` of a manifold, rendered now and kept, or for each evaluation."""

        def rendered() -> Iterator[tuple[Tensor, Tensor]]:
            for at in range(0, count, CHUNK):
                inputs, targets = manifold.sample(min(CHUNK, count - at), start + at, 0, dtype=dtype, device=device)
                yield inputs.value, targets.value

        if not keep:
            return cls(rendered, count)
        kept = list(rendered())
        return cls(lambda: iter(kept), count)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    chunks: Iterable[tuple[Tensor, Tensor]],
    deviation: Tensor,
    *,
    device: torch.device | str | None = None,
    rank: int = 0,
    world: int = 1,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """The error e of (3), in evaluation mode; the model's mode is put back afterwards.

    Args:
        model: takes inputs `[n, …]`, returns `[n, outputs]`.
        chunks: pairs (inputs, targets).
        deviation: σ over the training set, also for test sets, `[outputs]`.
        device: where the model lies; by default that of its first parameter.
        rank: of several processes, each of which takes every `world`-th chunk.
        world: how many processes there are.
        reduce: sums a tensor over the processes.

    Returns:
        e, a fraction (the paper's tables hold percentages).

    Source:
        avrutskiy2023, (3).

    Example:
        >>> import torch
        >>> from jetprop.training import HeldOut, evaluate
        >>> test = HeldOut.tensors(torch.ones(4, 2), torch.zeros(4, 2))
        >>> evaluate(torch.nn.Identity(), test.chunks(), torch.tensor([1.0, 4.0]), device="cpu")
        0.625
    """
    if device is None:
        device = next(model.parameters()).device
    meter = ErrorMeter(deviation)
    was_training = model.training
    model.eval()
    try:
        for number, (inputs, targets) in enumerate(chunks):
            if number % world == rank:
                meter.update(model(inputs.to(device)), targets)
    finally:
        model.train(was_training)
    if reduce is not None and world > 1:
        counted = torch.tensor([meter.count], dtype=torch.float64)
        sums = reduce(torch.cat([meter.squares, counted]).to(device)).cpu()
        meter.squares, meter.count = sums[:-1], int(sums[-1])
    return meter.compute()

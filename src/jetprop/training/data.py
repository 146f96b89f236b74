"""Where batches come from: a set in memory, one rendered as it goes, or new poses without end.

Every source is addressed by the number of the step: which samples a step sees depends on (seed, step) alone, so a run
resumes exactly, on any number of processes.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet, along
from jetprop.manifolds import Manifold
from jetprop.objectives import RandomDirections
from jetprop.training.rendering import checked_sample, joined, renderer

__all__ = ["Batch", "Fresh", "Rendered", "Source", "Stored"]

CHUNK = 512
"""Samples that are rendered, measured or evaluated at once."""

MIX = 1_000_003
"""(seed, epoch) → seed · MIX + epoch: distinct generators for distinct pairs, up to a million epochs."""


class Batch(NamedTuple):
    """What one step is trained on.

    Args:
        inputs: rows `[R, batch, …]`.
        targets: rows `[R, batch, outputs]`, over the same basis.
        mask: bool, broadcastable to the rows of the targets, see `objectives.match`; None where no label is missing.
        labels: `[R, …]`, with several processes and a mask: how many labels of each row and output the whole batch
            holds, divided by the number of processes, so that the mean over the processes is that over the labels.
    """

    inputs: Jet
    targets: Jet
    mask: Tensor | None = None
    labels: Tensor | None = None


class Source(ABC):
    """Batches by the number of the step; subclass it for data of your own that `Stored` cannot hold.

    Args:
        basis: the derivatives that `chunks` carries, and `batch` too unless directions are random.
        batch: samples in a step, over all processes together.
        seed: of the order and of random directions.
        steps_per_epoch: None where there are no epochs.
    """

    def __init__(self, basis: Basis, batch: int, seed: int, steps_per_epoch: int | None) -> None:
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise ValueError(f"batch is an integer ≥ 1, got {batch!r}")
        self.basis, self.batch_size, self.seed, self.steps_per_epoch = basis, batch, seed, steps_per_epoch
        self.rank, self.world = 0, 1
        self.directions: RandomDirections | None = None
        self._bases: dict[int, Basis] = {}

    @abstractmethod
    def batch(self, step: int, order: int) -> Batch:
        """This process's share of step number `step` (from 0), with derivatives up to `order`.

        A batch is used up before the next one is asked for, so its memory may be reused.
        """

    @abstractmethod
    def chunks(self) -> Iterator[tuple[Jet, Jet]]:
        """The set that normalizers and standard deviations are measured on, chunk by chunk, with all derivatives."""

    def values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of the training set without derivatives, chunk by chunk; nothing if it has no end."""
        return ((inputs.value, targets.value) for inputs, targets in self.chunks())

    def numbers(self, step: int) -> tuple[Tensor, int]:
        """Which samples of the set this process's share of a step holds, `[batch]`, and the epoch, from 0.

        What is drawn once for each sample goes by them. Without epochs, the place in the endless row of samples.
        """
        part = self._slice()
        return torch.arange(step * self.batch_size + part.start, step * self.batch_size + part.stop), 0

    def share(self, rank: int, world: int) -> None:
        """Hand out only the part of each batch that process `rank` of `world` trains on.

        Raises:
            ValueError: the batch cannot be shared equally.
        """
        if self.batch_size % world:
            raise ValueError(
                f"a batch of {self.batch_size} cannot be shared by {world} processes equally; make it a multiple of "
                f"{world}"
            )
        self.rank, self.world = rank, world

    def randomize(self, directions: RandomDirections) -> None:
        """From now on, batches carry derivatives along random directions instead of all."""
        self.directions = directions

    def basis_of(self, order: int) -> Basis:
        """The basis of batches of this order."""
        if self.directions is not None:
            return self.directions.basis(order)
        return self._truncated(order)

    def _truncated(self, order: int) -> Basis:
        """The basis up to an order, made once: building its tables takes longer than a small step."""
        if order not in self._bases:
            self._bases[order] = self.basis if order == self.basis.order else self.basis.truncated(order)
        return self._bases[order]

    def _directions_at(self, step: int, order: int) -> Tensor | None:
        """Directions for this process's samples; drawn for the whole batch, so that sharing it changes none."""
        if self.directions is None or order == 0:
            return None
        generator = torch.Generator().manual_seed((self.seed * MIX + step + 1) * 2 + 1)
        drawn = self.directions.sample(self.batch_size, generator, torch.float64)
        return drawn[self._slice()]

    def _slice(self) -> slice:
        part = self.batch_size // self.world
        return slice(self.rank * part, (self.rank + 1) * part)


class _Finite(Source):
    """A set of `count` samples, shuffled anew each epoch."""

    def __init__(self, basis: Basis, batch: int, seed: int, count: int, device: torch.device) -> None:
        if isinstance(batch, int) and batch > count:
            raise ValueError(f"a batch of {batch} cannot be drawn from {count} samples; lower the batch")
        super().__init__(basis, batch, seed, None)
        self.steps_per_epoch = count // batch
        self.count, self.device = count, device
        self._epoch, self._order = -1, torch.empty(0)

    def numbers(self, step: int) -> tuple[Tensor, int]:
        """Places in the set, and how often it was passed before."""
        assert self.steps_per_epoch is not None
        return self._samples(step), step // self.steps_per_epoch

    def _samples(self, step: int) -> Tensor:
        """The numbers of this process's samples in a step; the last incomplete batch of an epoch is left out."""
        return self._whole(step)[self._slice()]

    def _whole(self, step: int) -> Tensor:
        """Those of all processes."""
        assert self.steps_per_epoch is not None
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed * MIX + epoch + 1) * 2)
            self._order, self._epoch = torch.randperm(self.count, generator=generator).to(self.device), epoch
        start = place * self.batch_size
        return self._order[start : start + self.batch_size]


class Stored(_Finite):
    """A training set held in memory.

    Args:
        inputs: rows `[R, n, …]`; a contiguous copy is made if they are not.
        targets: rows `[R, n, outputs]` over the same basis.
        batch: samples in a step, over all processes together.
        seed: of the order and of random directions.
        mask: bool `[R, n, …]`, which labels are there, see `objectives.match`.
        device: where batches go; by default where the inputs are.

    Raises:
        ValueError: bases or lengths differ, or the batch is larger than the set.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.training import Stored
        >>> x = Jet.seed(torch.rand(10, 2), order=1)
        >>> Stored(x, x.sum(-1, keepdim=True), batch=4).batch(step=0, order=1).inputs.shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        inputs: Jet,
        targets: Jet,
        batch: int,
        seed: int = 0,
        mask: Tensor | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if inputs.basis != targets.basis:
            raise ValueError(f"inputs carry {inputs.basis!r}, targets {targets.basis!r}; both need the same rows")
        if inputs.rows.shape[1] != targets.rows.shape[1]:
            raise ValueError(f"there are {inputs.rows.shape[1]} inputs and {targets.rows.shape[1]} targets")
        if mask is not None and (mask.dtype != torch.bool or mask.shape[:2] != targets.rows.shape[:2]):
            raise ValueError(
                f"a mask is bool [R, n, …] with [R, n] = {list(targets.rows.shape[:2])}, got {mask.dtype} "
                f"{list(mask.shape)}"
            )
        super().__init__(inputs.basis, batch, seed, inputs.rows.shape[1], inputs.device)
        self.inputs, self.targets = inputs.rows.contiguous(), targets.rows.contiguous()
        self.mask = mask
        self.target_device = torch.device(device) if device is not None else inputs.device

    @classmethod
    def of(
        cls,
        manifold: Manifold,
        count: int,
        batch: int,
        *,
        start: int = 0,
        order: int = 2,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Stored:
        """Samples `start`, …, `start + count - 1` of a manifold, rendered now.

        They are kept on `device` if they fit into the memory that is free there, else on the CPU, from which batches
        are then sent.

        Raises:
            MemoryError: they do not fit at all; says how much they need.
        """
        device = torch.device(device)
        first, targets = checked_sample(manifold, 1, start, order, dtype, device)
        needed = count * (first.rows.numel() + targets.rows.numel()) * first.rows.element_size()
        home = device if needed < 0.8 * _free_memory(device) else torch.device("cpu")
        if needed > 0.9 * _free_memory(home):
            raise MemoryError(
                f"{count} samples with {len(first.basis)} rows need {needed / 1e9:.1f} GB, "
                f"{_free_memory(home) / 1e9:.1f} GB "
                f'are free; set [data] storage = "render", a lower order, or fewer images'
            )
        inputs = first.rows.new_empty(len(first.basis), count, *first.shape[1:], device=home)
        outputs = targets.rows.new_empty(len(first.basis), count, *targets.shape[1:], device=home)
        for at in range(0, count, CHUNK):
            n = min(CHUNK, count - at)
            x, y = manifold.sample(n, start + at, order, dtype=dtype, device=device)
            inputs[:, at : at + n], outputs[:, at : at + n] = x.rows, y.rows
        return cls(Jet._of(inputs, first.basis), Jet._of(outputs, first.basis), batch, seed, device=device)

    def batch(self, step: int, order: int) -> Batch:
        """Gathered from memory."""
        samples, drawn = self._samples(step), self._directions_at(step, order)
        basis = self._truncated(order)
        rows = len(basis)
        x, y = (t[:rows].index_select(1, samples) for t in (self.inputs, self.targets))
        mask = self.mask[:rows].index_select(1, samples) if self.mask is not None else None
        if self.target_device != x.device:
            x, y = x.to(self.target_device, non_blocking=True), y.to(self.target_device, non_blocking=True)
            mask = mask.to(self.target_device, non_blocking=True) if mask is not None else None
        inputs, targets = Jet._of(x, basis), Jet._of(y, basis)
        if drawn is None:
            return Batch(inputs, targets, mask, self._labels(step, rows))
        return Batch(along(inputs, drawn), along(targets, drawn))

    def _labels(self, step: int, rows: int) -> Tensor | None:
        if self.mask is None or self.world == 1:
            return None
        there = self.mask[:rows].index_select(1, self._whole(step))
        return there.sum(1).to(self.target_device, self.inputs.dtype) / self.world

    def randomize(self, directions: RandomDirections) -> None:
        """From now on, batches carry derivatives along random directions, contracted from the stored rows.

        Raises:
            ValueError: there is a mask: a derivative along a random direction mixes all labels.
        """
        if self.mask is not None:
            raise ValueError("random directions mix all derivative labels, so they cannot be used with a mask")
        super().randomize(directions)

    def chunks(self) -> Iterator[tuple[Jet, Jet]]:
        """The whole set in its order."""
        for at in range(0, self.count, CHUNK):
            part = (Jet._of(t[:, at : at + CHUNK], self.basis) for t in (self.inputs, self.targets))
            inputs, targets = part
            yield inputs, targets

    def values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole set in its order, value rows only."""
        for at in range(0, self.count, CHUNK):
            yield (
                self.inputs[0, at : at + CHUNK].to(self.target_device),
                self.targets[0, at : at + CHUNK].to(self.target_device),
            )


class Rendered(_Finite):
    """The same training set as `Stored.of`, the same batches too, rendered again whenever they are asked for.

    Memory is that of one batch. A manifold that renders any poses (`poses(n, start)`, a dataclass of tensors `[n, …]`,
    and `render(poses, …)`, as `Cube` has them) does so in a few calls; any other is asked for its samples one by one.

    Args:
        manifold: what renders.
        count: how many samples the set has.
        batch: samples in a step, over all processes together.
        start: number of the first sample.
        order: the highest derivative.
        seed: of the order and of random directions.
        dtype: of the rows.
        device: where they are rendered.
    """

    def __init__(
        self,
        manifold: Manifold,
        count: int,
        batch: int,
        *,
        start: int = 0,
        order: int = 2,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        device = torch.device(device)
        inputs, _ = checked_sample(manifold, 1, start, order, dtype, device)
        super().__init__(inputs.basis, batch, seed, count, device)
        self.manifold, self.start, self.dtype = manifold, start, dtype
        self._at = renderer(manifold, count, start, dtype, device)

    def batch(self, step: int, order: int) -> Batch:
        """Rendered, in chunks."""
        samples, drawn = self._samples(step), self._directions_at(step, order)
        basis = self.basis_of(order)
        parts = [
            self._at(samples[at : at + CHUNK], basis, None if drawn is None else drawn[at : at + CHUNK])
            for at in range(0, len(samples), CHUNK)
        ]
        return Batch(*joined(parts))

    def chunks(self) -> Iterator[tuple[Jet, Jet]]:
        """The whole set in its order."""
        return self._rendered(self.basis)

    def values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole set in its order, without derivatives."""
        return ((x.value, y.value) for x, y in self._rendered(self.basis.truncated(0)))

    def _rendered(self, basis: Basis) -> Iterator[tuple[Jet, Jet]]:
        for at in range(0, self.count, CHUNK):
            n = min(CHUNK, self.count - at)
            yield self.manifold.sample(n, self.start + at, dtype=self.dtype, device=self.device, basis=basis)


class Fresh(Source):
    """New samples in every step, in the manifold's own order, without end.

    Args:
        manifold: what renders.
        batch: samples in a step, over all processes together.
        start: number of the first sample.
        order: the highest derivative.
        seed: of random directions.
        dtype: of the rows.
        device: where they are rendered.
        measured: how many samples from `start` on the normalizers and standard deviations are measured on.
        skip: numbers that are left out, `(first, count)`: the test set.
    """

    def __init__(
        self,
        manifold: Manifold,
        batch: int,
        *,
        start: int = 0,
        order: int = 2,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        measured: int = 4096,
        skip: tuple[int, int] = (0, 0),
    ) -> None:
        device = torch.device(device)
        inputs, _ = checked_sample(manifold, 1, start, order, dtype, device)
        super().__init__(inputs.basis, batch, seed, None)
        self.manifold, self.start, self.dtype, self.device = manifold, start, dtype, device
        self.measured, self.skip = measured, skip

    def batch(self, step: int, order: int) -> Batch:
        """Rendered, in chunks."""
        part, drawn = self._slice(), self._directions_at(step, order)
        basis, first, n = self.basis_of(order), step * self.batch_size + part.start, part.stop - part.start
        parts = []
        for number, length, done in self._runs(first, n):
            given: dict[str, Any] = {} if drawn is None else {"directions": drawn[done : done + length].to(self.device)}
            parts.append(
                self.manifold.sample(length, number, dtype=self.dtype, device=self.device, basis=basis, **given)
            )
        return Batch(*joined(parts))

    def chunks(self) -> Iterator[tuple[Jet, Jet]]:
        """The samples that are measured."""
        for number, length, _ in self._runs(0, self.measured):
            yield self.manifold.sample(length, number, dtype=self.dtype, device=self.device, basis=self.basis)

    def values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Nothing: the training set has no end."""
        return iter(())

    def _runs(self, first: int, n: int) -> Iterator[tuple[int, int, int]]:
        """Runs (number, length, how many came before) of samples first, …, first + n - 1, the skipped ones left out."""
        gap, width = self.skip
        done = 0
        while done < n:
            number, length = self.start + first + done, min(CHUNK, n - done)
            if width and self.start <= gap + width - 1:
                begin = max(gap, self.start)
                if number >= begin:
                    number += gap + width - begin
                else:
                    length = min(length, begin - number)
            yield number, length, done
            done += length


def _free_memory(device: torch.device) -> float:
    """Bytes that can still be used on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            found = dict(itertools.islice((line.split(":") for line in lines), 64))
        return float(found["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return float("inf")

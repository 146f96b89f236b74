"""Batches of universal robust training: rows along image directions beside those of any source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet
from jetprop.objectives import ImageDirections, RobustRows, RobustScales, with_directions
from jetprop.objectives.robust import Targets
from jetprop.training.config import Recipe
from jetprop.training.data import Batch, Source

__all__ = ["Directed", "RobustSetup"]


class Directed(Source):
    """A source whose batches also hold rows along image directions, with the oracle's derivatives as their targets.

    Sample k takes, in epoch e, direction (k + e) mod B of each class's bank, so batches depend on seed and step alone.
    Rows along directions are masked where the oracle is singular; such a sample adds nothing to the sums, which are
    divided by the whole batch.

    Args:
        source: where images come from, with the derivatives that the oracle needs along all degrees of freedom.
        banks: of directions, by class.
        orders: for each class the highest order, 1 or 2.
        targets: "oracle" or "zero".

    Raises:
        ValueError: directions and images differ in shape, or the source does not carry what is needed.

    Example:
        >>> from jetprop.manifolds import Cube
        >>> from jetprop.objectives import ImageDirections
        >>> from jetprop.training import Directed, Stored
        >>> source = Stored.of(Cube(), 8, batch=4, order=1)
        >>> low = ImageDirections("low", (41, 41), count=8)
        >>> Directed(source, {"low": low}, {"low": 1}).batch(step=0, order=1).inputs.rows.shape
        torch.Size([8, 4, 41, 41])
    """

    def __init__(
        self,
        source: Source,
        banks: Mapping[str, ImageDirections],
        orders: Mapping[str, int],
        targets: Targets = "oracle",
    ) -> None:
        super().__init__(source.basis, source.batch_size, source.seed, source.steps_per_epoch)
        missing = [kind for kind in orders if kind not in banks]
        if missing or not orders:
            raise ValueError(f"orders {dict(orders)} ask for directions of classes {missing}, banks hold {list(banks)}")
        if source.directions is not None:
            raise ValueError("the source hands out random derivatives, but the oracle needs those along all degrees")
        needed = max(orders.values()) if targets == "oracle" else 0
        if source.basis.order < needed:
            raise ValueError(
                f"the oracle's derivatives of order {needed} need images with derivatives up to order {needed}, the "
                f"source carries order {source.basis.order}; raise its order"
            )
        self.source, self.orders = source, dict(orders)
        self.targets: Targets = targets
        self.banks = {kind: banks[kind] for kind in orders}
        self._needed = needed

    def rows(self, order: int) -> RobustRows:
        """What batches of this order along the degrees of freedom hold."""
        return RobustRows(len(self.basis.directions), order, self.orders)

    def basis_of(self, order: int) -> Basis:
        """The basis of batches of this order along the degrees of freedom."""
        return self.rows(order).basis

    def batch(self, step: int, order: int) -> Batch:
        """The source's batch, with rows along directions."""
        found = self.source.batch(step, max(order, self._needed))
        numbers, epoch = self.source.numbers(step)
        shape = tuple(found.inputs.shape[1:])
        for kind, bank in self.banks.items():
            if bank.shape != shape:
                raise ValueError(
                    f'directions of class "{kind}" have shape {list(bank.shape)}, an image has {list(shape)}; make '
                    "them with the shape of the images"
                )
        drawn = torch.stack([bank(numbers, epoch) for bank in self.banks.values()])
        rows = self.rows(order)
        inputs, targets, regular = with_directions(found.inputs, found.targets, drawn, rows, self.targets)
        if self.targets == "zero" and found.mask is None:
            return Batch(inputs, targets)
        return Batch(inputs, targets, *_masked(found, targets, regular, rows))

    def chunks(self) -> Iterator[tuple[Jet, Jet]]:
        """Those of the source, without directions."""
        return self.source.chunks()

    def values(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Those of the source."""
        return self.source.values()

    def numbers(self, step: int) -> tuple[Tensor, int]:
        """Those of the source."""
        return self.source.numbers(step)

    def share(self, rank: int, world: int) -> None:
        """Hand out only a part of each batch, as the source then does."""
        self.source.share(rank, world)


def _masked(found: Batch, targets: Jet, regular: Tensor, rows: RobustRows) -> tuple[Tensor, Tensor]:
    """Mask and counts of labels: those of the source's rows, and the regular samples along directions.

    The sums along directions are divided by the batch's size, which every process knows, not by the number of regular
    samples, which it does not.
    """
    along = [row for name, held in rows.groups.items() if name[0] == "R" for row in held]
    base = [row for row in range(len(targets.basis)) if row not in along]
    mask = torch.ones(targets.rows.shape, dtype=torch.bool, device=targets.device)
    labels = torch.full((mask.shape[0], *mask.shape[2:]), mask.shape[1], dtype=targets.dtype, device=targets.device)
    for row in along:  # a list as index would make a GPU wait
        mask[row] = regular.reshape(-1, *[1] * (mask.dim() - 2))
    if found.mask is not None:
        held = found.mask[: len(base)].expand(len(base), *mask.shape[1:])
        mask[base] = held
        labels[base] = held.sum(1).to(labels) if found.labels is None else found.labels[: len(base)].to(labels)
    return mask, labels


@dataclass(eq=False)
class RobustSetup:
    """Banks of directions for all phases of a run, and what its robust terms are divided by.

    Args:
        banks: by class.
        orders: the highest order of each class in any phase.
        targets: "oracle" or "zero".
        scales: c · n_a by term, `[outputs]`; empty for targets "zero".
    """

    banks: dict[str, ImageDirections]
    orders: dict[str, int]
    targets: Targets
    scales: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: Recipe, source: Source) -> RobustSetup | None:
        """What a recipe asks for, with banks for the images of a source; None if it has no robust terms.

        Raises:
            ValueError: the source cannot serve.
        """
        orders = recipe.objective.robust_orders()
        if not orders:
            return None
        example = source.batch(0, 0).inputs
        classes = {k: [(w, int(r)) for w, r in mixture] for k, mixture in recipe.robust.classes.items()}
        banks = {
            kind: ImageDirections(
                kind,
                tuple(example.shape[1:]),
                recipe.robust.directions,
                recipe.training.seed,
                example.device,
                classes.get(kind),
            )
            for kind in orders
        }
        return cls(banks, orders, recipe.robust.targets)

    def measured(self, chunks: Iterator[tuple[Jet, Jet]]) -> Iterator[tuple[Jet, Jet]]:
        """Hand the chunks of a set through, and measure the scales on the way."""
        if self.targets == "zero":
            yield from chunks
            return
        meter = RobustScales(self.banks, self.orders)
        for images, targets in chunks:
            meter.update(images, targets)
            yield images, targets
        self.scales = meter.compute()

    def directed(self, source: Source, orders: Mapping[str, int]) -> Directed:
        """A source for the classes and orders of one phase."""
        return Directed(source, self.banks, orders, self.targets)

"""Samples of any manifold by their numbers, and whether it keeps its promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetprop.jets import Basis, Jet
from jetprop.manifolds import Manifold

__all__ = ["checked_sample", "joined", "renderer"]


def renderer(
    manifold: Any,  # noqa: ANN401
    count: int,
    start: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Callable[[Tensor, Basis, Tensor | None], tuple[Jet, Jet]]:
    """What renders any samples of a manifold by their numbers."""
    poses = manifold.poses(count, start, device) if hasattr(manifold, "poses") and hasattr(manifold, "render") else None
    if dataclasses.is_dataclass(poses) and not isinstance(poses, type):
        names = [field.name for field in dataclasses.fields(poses)]

        def at(samples: Tensor, basis: Basis, directions: Tensor | None) -> tuple[Jet, Jet]:
            chosen = dataclasses.replace(poses, **{name: getattr(poses, name)[samples] for name in names})
            given = {} if directions is None else {"directions": directions.to(device)}
            return manifold.render(chosen, dtype=dtype, basis=basis, **given)

        return at

    def one_by_one(samples: Tensor, basis: Basis, directions: Tensor | None) -> tuple[Jet, Jet]:
        parts = []
        for k, number in enumerate(samples.tolist()):
            given = {} if directions is None else {"directions": directions[k : k + 1].to(device)}
            parts.append(manifold.sample(1, start + number, dtype=dtype, device=device, basis=basis, **given))
        return joined(parts)

    return one_by_one


def joined(parts: list[tuple[Jet, Jet]]) -> tuple[Jet, Jet]:
    """Samples that were rendered in several calls, as one pair of jets."""
    if len(parts) == 1:
        return parts[0]
    basis = parts[0][0].basis
    x, y = (torch.cat([pair[k].rows for pair in parts], dim=1) for k in (0, 1))
    return Jet._of(x, basis), Jet._of(y, basis)


def checked_sample(
    manifold: Any,  # noqa: ANN401
    n: int,
    start: int,
    order: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Jet, Jet]:
    """A first sample, to learn shapes from, and to find out whether the manifold keeps its promises."""
    if not isinstance(manifold, Manifold):
        raise TypeError(
            f"{type(manifold).__name__} is no manifold: it needs `dimension` and `sample`, see jetprop.Manifold"
        )
    pair = manifold.sample(n, start, order, dtype=dtype, device=device)
    if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(jet, Jet) for jet in pair)):
        raise TypeError(f"{type(manifold).__name__}.sample must return a pair of jets, inputs and targets")
    inputs, targets = pair
    if inputs.basis != targets.basis:
        raise ValueError(
            f"{type(manifold).__name__}.sample returned inputs over {inputs.basis!r} and targets over "
            f"{targets.basis!r}; row r of both must be the same derivative"
        )
    for name, jet in zip(("inputs", "targets"), pair, strict=True):
        if jet.rows.shape[1] != n or jet.dtype != dtype or jet.device.type != device.type or jet.basis.order != order:
            raise ValueError(
                f"{type(manifold).__name__}.sample({n}, {start}, {order}, dtype={dtype}, device={device}) returned "
                f"{name} {jet!r}; expected {n} samples of order {order}, that dtype and that device"
            )
    return inputs, targets

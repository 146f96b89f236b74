"""The nearest point of a manifold, found by rendering: the definition (5) of the oracle, taken at its word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from jetprop.manifolds.protocol import Charted, Points
from jetprop.oracle.gram import LIMIT, Gram, symmetric
from jetprop.oracle.precision import full_precision

__all__ = ["Projection", "Status", "project"]

DAMPING = 1e-3
"""Damping of the first step, in units of the tangents' squared lengths."""
LEAST_DAMPING, MOST_DAMPING = 1e-9, 1e9
"""Below the first damping is off; a step that fails under the second is as short as it can be."""
SLACK = 1e-14
"""Relative rounding error of a squared distance: steps that change it by less are neither better nor worse."""
STUCK = 1e-8
"""A step that gains less than this part of what an undamped one promises goes nowhere."""
UNSEEN = 1e-6
"""An image that answers to no motion by more than this part of what it did at the start shows its object no more."""
RANK = 1e-12
"""Part of the largest eigenvalue below which one is rounding."""
CHUNK = 256
"""Samples rendered at a time: at 28 rows of 41 × 41 pixels in float64, 96 MB."""


Method = Literal["newton", "gauss-newton"]
"""Whether steps know the curvature of the manifold."""


class Status(IntEnum):
    """How a projection ended."""

    CONVERGED = 0
    """The residual is orthogonal to the manifold to within the tolerance, and the distance a local minimum."""
    STALLED = 1
    """Steps no longer lower the distance, though the residual is not orthogonal: they are held up at a kink of the
    image (a face seen edge-on), on which the minimum lies, or next to points without an image. Or the residual is
    orthogonal, but the point is no minimum."""
    STEP_LIMIT = 2
    """`max_steps` were not enough."""
    NO_IMAGE = 3
    """The start has no finite image."""
    LEFT_PICTURE = 4
    """The image no longer answers to any motion: its object has left the picture, or was never in it."""


_RUNNING = Status.STEP_LIMIT  # what is still running when the steps are used up has come to that end


@dataclass(frozen=True, eq=False)
class Projection:
    """The points of a manifold nearest to given inputs.

    Args:
        poses: the points, `n` of them.
        image: their images, `[n, *image]`; NaN where there is none.
        target: their targets, which are what the oracle answers, `[n, *outputs]`.
        distance: ‖𝓘 - 𝓕‖, `[n]`.
        gap: length of the residual's part along the manifold, `[n]`, in the images' norm: how far the image would move
            in a last, undamped step. At most `tolerance` · ‖𝓕‖ where converged.
        status: a `Status` for each sample, `[n]`, integers.
        steps: steps tried, `[n]`.
        condition: of the Gram matrix at the points, `[n]`, see `Oracle.condition`.
        singular: where the condition exceeds the oracle's limit, `[n]`: the input says little about some motion.
    """

    poses: Points
    image: Tensor
    target: Tensor
    distance: Tensor
    gap: Tensor
    status: Tensor
    steps: Tensor
    condition: Tensor
    singular: Tensor

    @property
    def valid(self) -> Tensor:
        """Where the projection converged, `[n]`, bool."""
        return self.status == Status.CONVERGED


class Local(NamedTuple):
    """What a step needs to know of n images: half the squared distance, its descent along ν, and its curvature."""

    cost: Tensor
    descent: Tensor
    gram: Tensor
    system: Tensor

    def take(self, index: Tensor) -> Local:
        """Some of the samples."""
        return Local(*(mine[index] for mine in self))

    def put(self, index: Tensor, other: Local) -> None:
        """Replace the samples `index`."""
        for mine, new in zip(self, other, strict=True):
            mine[index] = new


class Step(NamedTuple):
    """A step of n samples: where to, by how much the model says that the cost falls, and how things stand."""

    nu: Tensor
    predicted: Tensor
    gap: Tensor
    convex: Tensor


@torch.no_grad()
def project(
    manifold: Charted,
    start: Points,
    inputs: Tensor,
    *,
    method: Method = "newton",
    tolerance: float = 1e-8,
    max_steps: int = 50,
    limit: float = LIMIT,
) -> Projection:
    """Descend from `start` to a local minimum of ‖𝓘(ν) - 𝓕‖², see `Oracle.project`.

    A step solves (S M S + λ) δ = S g and moves by ν = S δ, with g_i = (𝓕 - 𝓘) · 𝓘_i, S the inverse lengths of the
    tangents, so that units play no part, and M_ij = Γ_ij - (𝓕 - 𝓘) · H_ij where that is positive definite, Γ otherwise
    and with "gauss-newton". It is taken if the true cost falls by a ten-thousandth of what the quadratic model says;
    λ falls after a good step and rises after a bad one, for each sample by itself.
    """
    order, wanted = 2 if method == "newton" else 1, inputs.to(torch.float64)
    poses, here = start, _measured(manifold, start, wanted, order)
    if not bool(here.cost.isfinite().any()):
        manifold.render(start, order, dtype=torch.float64)  # says what is wrong
        raise ValueError("none of the starting points has a finite image; start from others")
    n, device = len(start), wanted.device
    norm, seen = wanted.flatten(1).norm(dim=1), UNSEEN**2 * _squares(here)
    status = torch.where(here.cost.isfinite(), _RUNNING, Status.NO_IMAGE)
    damping, gap = torch.full_like(norm, DAMPING), torch.full_like(norm, torch.nan)
    steps = torch.zeros(n, dtype=torch.long, device=device)

    for turn in range(max_steps + 1):
        active = (status == _RUNNING).nonzero().flatten()
        old = here.take(active)
        step = _step(old, damping[active])
        gap[active] = step.gap
        ended = torch.where(step.gap <= tolerance * norm[active], Status.STALLED - step.convex.long(), _RUNNING)
        status[active] = ended.where((_squares(old) > seen[active]).any(1), Status.LEFT_PICTURE)
        going = status[active] == _RUNNING
        active, old, step = active[going], old.take(going), Step(*(part[going] for part in step))
        if turn == max_steps or len(active) == 0:
            break

        new = _measured(manifold, poses[active].moved(step.nu), wanted[active], order)
        fall = old.cost - new.cost
        better = fall >= 1e-4 * step.predicted - SLACK * old.cost
        nu = torch.zeros_like(here.descent)
        nu[active[better]] = step.nu[better]
        poses = poses.moved(nu)
        here.put(active[better], new.take(better))
        steps[active] += 1
        damping[active] = _next_damping(damping[active], fall / step.predicted, better)
        promised = STUCK * step.gap**2
        stuck = better & (fall <= promised) & (promised > SLACK * old.cost)
        status[active] = torch.where(stuck | (damping[active] > MOST_DAMPING), Status.STALLED, _RUNNING)

    return _finished(manifold, poses, inputs, here, gap, status, steps, limit)


def _step(here: Local, damping: Tensor) -> Step:
    scale = Gram(here.gram, here.gram).scale
    descent = scale * here.descent
    values, vectors = _spectrum(here.gram, scale)
    along = _components(vectors, descent)
    shown = values > RANK * values[:, -1:]
    gap = torch.where(shown, along**2 / values.where(shown, 1.0), 0.0).sum(1).sqrt()
    bent, turned = _spectrum(here.system, scale)
    convex = bent[:, 0] > 0
    values, vectors = bent.where(convex[:, None], values.clamp_min(0)), turned.where(convex[:, None, None], vectors)
    along = _components(vectors, descent)
    stiffness = values + damping[:, None]
    length = torch.where(stiffness > 0, along / stiffness.where(stiffness > 0, 1.0), 0.0)
    predicted = (along * length - values * length**2 / 2).sum(1)
    return Step(scale * (vectors @ length[..., None])[..., 0], predicted, gap, convex)


def _next_damping(damping: Tensor, gain: Tensor, better: Tensor) -> Tensor:
    lower = (damping / 10).where(damping > LEAST_DAMPING, 0.0)
    kept = torch.where(gain > 0.75, lower, damping)
    return torch.where(better, kept, (10 * damping).clamp_min(DAMPING))


def _measured(manifold: Charted, poses: Points, wanted: Tensor, order: int) -> Local:
    """Costs and their derivatives at some points; a point without a finite image costs infinitely much."""
    if len(poses) > CHUNK:
        halves = torch.arange(len(poses), device=wanted.device).split(CHUNK)
        return _joined(_measured(manifold, poses[part], wanted[part], order) for part in halves)
    try:
        image, _ = manifold.render(poses, order, dtype=torch.float64)
    except ValueError:
        # One point that cannot be rendered must not take the others with it: halve until it is alone.
        if len(poses) > 1:
            halves = torch.arange(len(poses), device=wanted.device).chunk(2)
            return _joined(_measured(manifold, poses[part], wanted[part], order) for part in halves)
        d = manifold.dimension
        nothing = wanted.new_zeros(1, d, d)
        return Local(wanted.new_full((1,), torch.inf), wanted.new_zeros(1, d), nothing, nothing.clone())
    residual = (wanted - image.value).flatten(1)
    rows, d = image.rows[1:].flatten(2).transpose(0, 1), manifold.dimension
    with full_precision(rows.device):
        gram = rows[:, :d] @ rows[:, :d].mT
        against = (rows @ residual[..., None])[..., 0]
    system = gram - symmetric(against[:, d:], image.basis) if order == 2 else gram.clone()
    return Local(residual.square().sum(1) / 2, against[:, :d], gram, system)


def _finished(
    manifold: Charted,
    poses: Points,
    inputs: Tensor,
    here: Local,
    gap: Tensor,
    status: Tensor,
    steps: Tensor,
    limit: float,
) -> Projection:
    there = (status != Status.NO_IMAGE).nonzero().flatten()
    image, target = manifold.render(poses[there], 0, dtype=torch.float64)
    images = torch.full_like(inputs, torch.nan)
    targets = inputs.new_full((len(inputs), *target.shape[1:]), torch.nan)
    images[there], targets[there] = image.value.to(inputs), target.value.to(inputs)
    gram = Gram(here.gram, here.gram, limit)
    return Projection(poses, images, targets, (2 * here.cost).sqrt(), gap, status, steps, gram.condition, gram.singular)


def _joined(parts: Iterable[Local]) -> Local:
    return Local(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _squares(here: Local) -> Tensor:
    return here.gram.diagonal(dim1=1, dim2=2)


def _spectrum(matrix: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return torch.linalg.eigh(scale[:, :, None] * matrix * scale[:, None])


def _components(vectors: Tensor, vector: Tensor) -> Tensor:
    return (vectors.mT @ vector[..., None])[..., 0]

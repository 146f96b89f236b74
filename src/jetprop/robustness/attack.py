"""Attacks by a finite step, whose claim is measured against the oracle projected anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jetprop.oracle import Oracle
from jetprop.robustness.extrema import Constraints, Kind
from jetprop.robustness.gradients import gradients, network_values
from jetprop.robustness.vulnerability import KINDS, sigma_of, vulnerability

__all__ = ["Attack", "attack"]


@dataclass(frozen=True, eq=False)
class Attack:
    """What an attack promised, and what came of it.

    The oracle that counts is the projection of the attacked image onto the manifold, found by descent from the point
    where the attack began. Where the projection fails (`verified` is False) nothing is claimed: `error` and
    `oracle_change` hold what the descent ended with.

    Args:
        image: 𝓕 = 𝓘 + εD, `[n, *image]`.
        direction: D, `[n, *image]`, ‖D‖ = 1, or zero where there is none to go.
        epsilon: ε, `[n]`, intensity.
        before: N(𝓘) − C, `[n, A]`, length, as the other errors.
        predicted: before + ε D·∇(N − O).
        error: N(𝓕) − O(𝓕), with the projected oracle.
        network_change: N(𝓕) − N(𝓘).
        oracle_change: O(𝓕) − C.
        verified: where the projection converged to a point at which the oracle is not singular, nor was at the start.
        status: of the projection, `[n]`, see `jetprop.oracle.Status`.
        scale: σ, as given to `attack`.
    """

    image: Tensor
    direction: Tensor
    epsilon: Tensor
    before: Tensor
    predicted: Tensor
    error: Tensor
    network_change: Tensor
    oracle_change: Tensor
    verified: Tensor
    status: Tensor
    scale: float | Tensor

    def relative(self, difference: Tensor) -> Tensor:
        """‖x/σ‖/A of outputs `[n, A]`, the measure in which v is a rate: `[n]`."""
        sigma = torch.as_tensor(self.scale).to(difference)
        return torch.linalg.vector_norm(difference / sigma, dim=1) / difference.shape[1]

    @property
    def predicted_growth(self) -> Tensor:
        """By how much the error should grow to first order, `[n]`; ε v if there was no error before."""
        return self.relative(self.predicted) - self.relative(self.before)

    @property
    def growth(self) -> Tensor:
        """By how much it does grow, `[n]`; only where `verified`."""
        return self.relative(self.error) - self.relative(self.before)


def attack(
    model: nn.Module,
    oracle: Oracle,
    epsilon: float | Tensor,
    kind: Kind | Tensor = "maximum",
    *,
    scale: float | Tensor = 0.3,
    leading: int | None = None,
    constraints: Constraints = "leading",
    chunk: int = 256,
    **projection: Any,  # noqa: ANN401
) -> Attack:
    """Move images of a manifold by ε along the optimal direction, and measure how much the error grows.

    Args:
        model: takes `[n, *image]`, returns `[n, A]`.
        oracle: made by `Oracle.at`, so that it can be projected anew.
        epsilon: ε ≥ 0, one length for all or `[n]`; the norm of the whole change of the image, not of a pixel.
        kind: which of `vulnerability`'s directions; or directions `[n, *image]`, which are normalised.
        scale: see `vulnerability`.
        leading: see `vulnerability`.
        constraints: see `vulnerability`.
        chunk: samples at a time.
        **projection: passed on to `Oracle.project`.

    Returns:
        Predicted and measured errors of each sample, float64.

    Raises:
        ValueError: the oracle does not know its manifold, ε or the directions do not fit, or what `vulnerability` and
            `Oracle.project` raise.

    Source:
        avrutskiy2023, (22) to (25), (32), (34); the claim is measured by (5).

    Example:
        >>> import torch
        >>> from jetprop import Oracle
        >>> from jetprop.manifolds import Cube
        >>> from jetprop.robustness import attack
        >>> cube = Cube()
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1681, 9)).double()
        >>> found = attack(model, Oracle.at(cube, cube.poses(3)), 0.2)
        >>> bool(found.verified.all()), bool((found.growth - found.predicted_growth).abs().max() < 0.01)
        (True, True)
    """
    if oracle.manifold is None or oracle.poses is None:
        raise ValueError("an attack is verified by projecting anew: make the oracle with Oracle.at(manifold, poses)")
    if oracle.observed is not None:
        raise ValueError("an attack starts from clean images: make the oracle without `observed`")
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise ValueError(f"chunk is an integer ≥ 1, got {chunk!r}")
    clean = oracle.image.value.detach()
    sigma_of(scale, oracle.target.value[:, :, None])
    length = torch.as_tensor(epsilon, dtype=torch.float64, device=clean.device)
    if length.shape not in ((), (len(clean),)) or not bool(((length >= 0) & length.isfinite()).all()):
        raise ValueError(f"epsilon is a finite number ≥ 0, or one for each of the {len(clean)} images; got {epsilon!r}")
    length = length.expand(len(clean))
    truth = oracle.target.value.to(torch.float64)
    before = network_values(model, clean, chunk=chunk) - truth
    if isinstance(kind, Tensor):
        if leading is not None or constraints != "leading":
            raise ValueError(
                "leading and constraints say which direction is optimal; with given directions leave them out"
            )
        direction = _normalised(kind, clean)
        slopes = gradients(model, clean, chunk=chunk).to(direction) - oracle.gradient().detach().to(direction)
        rate = (slopes * direction[:, None]).flatten(2).sum(2)
    elif kind in KINDS:
        found = vulnerability(
            model, clean, oracle, kinds=(kind,), scale=scale, leading=leading, constraints=constraints, chunk=chunk
        )
        direction, rate = found.directions[kind], found.network[kind] - found.oracle[kind]
    else:
        raise ValueError(f"kind is one of {', '.join(KINDS)}, or directions [n, *image]; got {kind!r}")

    moved = clean.to(torch.float64) + length.reshape(-1, *[1] * (clean.dim() - 1)) * direction
    nearest = oracle.project(moved.to(clean.dtype), **projection)
    after, answer = network_values(model, moved, chunk=chunk), nearest.target.to(torch.float64)
    return Attack(
        image=moved,
        direction=direction,
        epsilon=length,
        before=before,
        predicted=before + length[:, None] * rate,
        error=after - answer,
        network_change=after - truth - before,
        oracle_change=answer - truth,
        verified=nearest.valid & ~nearest.singular & ~oracle.singular,
        status=nearest.status,
        scale=scale,
    )


def _normalised(given: Tensor, image: Tensor) -> Tensor:
    if given.shape != image.shape or not bool(given.isfinite().all()):
        raise ValueError(f"directions are finite and like the images, {list(image.shape)}; got {list(given.shape)}")
    flat = given.detach().to(image.device, torch.float64).flatten(1)
    return torch.nn.functional.normalize(flat, eps=torch.finfo(flat.dtype).tiny).reshape(image.shape)

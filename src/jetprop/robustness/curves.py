"""Error and vulnerability as noise grows, with targets that move with the noise and without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from jetprop.manifolds import Charted
from jetprop.manifolds.protocol import Points
from jetprop.objectives import ErrorMeter
from jetprop.oracle import Oracle
from jetprop.robustness.extrema import Constraints, Kind
from jetprop.robustness.gradients import Progress, network_values, value_and_gradients
from jetprop.robustness.vulnerability import Vulnerability, vulnerability

__all__ = ["Correction", "NoiseCurve", "noise_curve"]

Correction = Literal["none", "expansion", "projection"]
"""Where the target of a noisy image is taken: at the clean image, by (46), or at the nearest image of the manifold."""


@dataclass(frozen=True, eq=False)
class NoiseCurve:
    """Error and vulnerability for each σ; dictionaries hold one entry for each correction.

    Args:
        sigmas: σ, `[S]`, intensity.
        error: e by (3), `[S]`, a fraction.
        vulnerability: the means of v by (26), `[S]`, for each kind; intensity⁻¹.
        left_out: how many samples are in neither error nor means, `[S]`: the oracle is singular there, before or after
            the correction, the projection did not converge, or the second-order term of the expansion exceeds the
            first. Where it is all of them, error and means are NaN.
        doubtful: how many of the others are expanded beyond what `jetprop.oracle.Expansion` calls valid, `[S]`.
        count: how many samples there are.
    """

    sigmas: Tensor
    error: dict[Correction, Tensor]
    vulnerability: dict[Correction, dict[Kind, Tensor]]
    left_out: dict[Correction, Tensor]
    doubtful: dict[Correction, Tensor]
    count: int


def noise_curve(
    model: nn.Module,
    manifold: Charted,
    poses: Points,
    sigmas: Sequence[float] | Tensor,
    *,
    target_std: Tensor,
    corrections: Sequence[Correction] = ("none", "expansion"),
    kinds: Sequence[Kind] = ("maximum",),
    scale: float | Tensor = 0.3,
    leading: int | None = None,
    constraints: Constraints = "leading",
    curvature: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    chunk: int = 256,
    progress: Progress | None = None,
) -> NoiseCurve:
    """How a network bears Gaussian noise: e and v of images 𝓘 + σU at each σ.

    Noise moves the nearest image of the manifold, and with it the right answer. With "expansion" the target of a noisy
    image is

        O(𝓘 + N) ≃ C + ∂O/∂N + ½ ∂²O/∂N²                                                                       (46)

    and the oracle's gradient is that at the point ν = dν/dε + ½ d²ν/dε², rendered anew; with "projection" both are
    those of the nearest image, found by descent; with "none" the target is C, and the gradient that of the clean image,
    as if noise should change nothing. The network's gradient is always that at the noisy image. σ = 0 gives error and
    vulnerability of clean images.

    U is standard normal, independent for each pixel, a function of seed and the sample's number among the poses: it
    depends neither on `chunk` nor on σ, so that curves are smooth, and the same for every network.

    Args:
        model: takes `[n, *image]`, returns `[n, A]`.
        manifold: where the images come from.
        poses: which images.
        sigmas: standard deviations of the noise, ≥ 0, intensity.
        target_std: σ_a of (3), the standard deviations of the outputs over the training set, `[A]`.
        corrections: which of "none", "expansion", "projection".
        kinds: which vulnerabilities, see `vulnerability`; none, `()`, for the error alone.
        scale: see `vulnerability`.
        leading: see `vulnerability`.
        constraints: see `vulnerability`.
        curvature: take the oracle's gradient at the noisy image itself, with Γ_ij − (𝓕 − 𝓘) · H_ij instead of Γ_ij;
            False takes it at the corrected image, as the paper does. "none" has no curvature.
        seed: of the noise, ≥ 0.
        dtype: of images and oracle.
        chunk: samples at a time.
        progress: told how far it is.

    Returns:
        The curves, float64.

    Raises:
        ValueError: a σ is negative, an option unknown, or what `vulnerability` raises.

    Source:
        avrutskiy2023, (46), figures 9 and 10. The paper uses (46) up to σ = 0.25; beyond about 0.1 it misses part of
        the correction, which "projection" does not.

    Example:
        >>> import torch
        >>> from jetprop.manifolds import Cube
        >>> from jetprop.robustness import noise_curve
        >>> cube = Cube()
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1681, 9))
        >>> curve = noise_curve(model, cube, cube.poses(8), (0.0, 0.1), target_std=torch.full((9,), 0.3))
        >>> curve.error["expansion"].shape, curve.vulnerability["none"]["maximum"].shape
        (torch.Size([2]), torch.Size([2]))
    """
    levels = _levels(sigmas)
    if chunk < 1:
        raise ValueError(f"chunk is the number of samples at a time, ≥ 1; got {chunk!r}")
    if not corrections or set(corrections) - {"none", "expansion", "projection"}:
        raise ValueError(f'corrections are some of "none", "expansion", "projection"; got {tuple(corrections)!r}')
    tallies: dict[Correction, list[_Tally]] = {c: [_Tally(target_std, kinds) for _ in levels] for c in corrections}
    total, order = len(poses), 2 if "expansion" in corrections else 1
    for start in range(0, total, chunk):
        part = poses[torch.arange(start, min(start + chunk, total))]
        clean = Oracle.at(manifold, part, order=order, dtype=dtype)
        unit = standard_noise(len(part), tuple(clean.image.shape[1:]), seed, start).to(clean.image.rows)
        for place, sigma in enumerate(levels.tolist()):
            noisy = clean.image.value + sigma * unit
            if kinds:
                values, slopes = value_and_gradients(model, noisy, chunk=chunk)
            else:
                values, slopes = network_values(model, noisy, chunk=chunk), None
            for correction, by_level in tallies.items():
                answers = _corrected(clean, noisy, correction, curvature)
                found = None
                if slopes is not None:
                    found = vulnerability(
                        slopes,
                        noisy,
                        answers.oracle,
                        kinds=kinds,
                        scale=scale,
                        leading=leading,
                        constraints=constraints,
                        keep_directions=False,
                        chunk=chunk,
                    )
                by_level[place].add(values, answers, found)
        if progress is not None:
            progress(min(start + chunk, total), total)
    return NoiseCurve(
        sigmas=levels,
        error={c: torch.tensor([t.error() for t in ts], dtype=torch.float64) for c, ts in tallies.items()},
        vulnerability={
            c: {kind: torch.tensor([t.mean(kind) for t in ts], dtype=torch.float64) for kind in kinds}
            for c, ts in tallies.items()
        },
        left_out={c: torch.tensor([total - t.meter.count for t in ts]) for c, ts in tallies.items()},
        doubtful={c: torch.tensor([t.doubtful for t in ts]) for c, ts in tallies.items()},
        count=total,
    )


class _Answers(NamedTuple):
    """What is right for noisy images: the oracle, its answers `[n, A]`, where they count, where they are in doubt."""

    oracle: Oracle
    target: Tensor
    good: Tensor
    doubtful: Tensor


class _Tally:
    """Sums for one correction at one σ."""

    def __init__(self, target_std: Tensor, kinds: Sequence[Kind]) -> None:
        self.meter = ErrorMeter(target_std)
        self.sums: dict[Kind, float] = dict.fromkeys(kinds, 0.0)
        self.doubtful = 0

    def add(self, values: Tensor, answers: _Answers, found: Vulnerability | None) -> None:
        good = answers.good
        self.doubtful += int((good & answers.doubtful).sum())
        if bool(good.any()):
            self.meter.update(values.to(answers.target)[good], answers.target[good])
        if found is not None:
            for kind in self.sums:
                self.sums[kind] += float(found.value(kind)[good].sum())

    def error(self) -> float:
        return self.meter.compute() if self.meter.count else math.nan

    def mean(self, kind: Kind) -> float:
        return self.sums[kind] / self.meter.count if self.meter.count else math.nan


def standard_noise(n: int, shape: tuple[int, ...], seed: int, start: int = 0) -> Tensor:
    """Standard normal images `[n, *shape]` number `start`, …, float32: number k is a function of seed and k alone."""
    if seed < 0:
        raise ValueError(f"a seed is an integer ≥ 0, got {seed!r}")
    images = [
        np.random.Generator(np.random.Philox(key=[seed, start + k])).standard_normal(shape, dtype=np.float32)
        for k in range(n)
    ]
    return torch.from_numpy(np.stack(images))


def _corrected(clean: Oracle, noisy: Tensor, correction: Correction, curvature: bool) -> _Answers:
    assert clean.manifold is not None and clean.poses is not None
    doubtful = torch.zeros_like(clean.singular)
    if correction == "none":
        return _Answers(clean, clean.target.value.to(torch.float64), ~clean.singular, doubtful)
    if correction == "projection":
        found = clean.project(noisy)
        moved, target, good = found.poses, found.target, found.valid
    else:
        found = clean.expand(noisy)
        # A step of a singular or divergent expansion may be of any length: these samples stay, and are left out.
        good = ~found.singular & (found.ratio <= 1)
        moved = clean.poses.moved(found.nu.where(good[:, None], 0.0))
        target, doubtful = found.target, ~found.valid
    order, observed = (2, noisy) if curvature else (1, None)
    oracle = Oracle.at(clean.manifold, moved, order, clean.image.dtype, observed=observed)
    return _Answers(oracle, target.to(torch.float64), good & ~oracle.singular, doubtful)


def _levels(sigmas: Sequence[float] | Tensor) -> Tensor:
    levels = torch.as_tensor(sigmas, dtype=torch.float64).cpu()
    if levels.dim() != 1 or len(levels) == 0 or not bool(((levels >= 0) & levels.isfinite()).all()):
        raise ValueError(f"sigmas are finite numbers ≥ 0, at least one; got {sigmas!r}")
    return levels

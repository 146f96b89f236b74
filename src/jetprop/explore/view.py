"""What the page shows for a state: images, what networks and oracle say of them, gradients. No page in here."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from jetprop.explore.runs import Run
from jetprop.explore.state import State
from jetprop.manifolds import Cube, Poses
from jetprop.oracle import Oracle, Projection, Status
from jetprop.robustness import Kind, gradients, vulnerability
from jetprop.robustness.gradients import value_and_gradients

__all__ = ["Answer", "View", "look"]

TOLERANCE, STEPS = 1e-6, 20
"""Of projections: far below what can be seen, and a step or two cheaper than the default; what takes longer than so
many steps is held up somewhere, and the page must not wait for it."""

KINDS: dict[str, Kind] = {"optimal": "maximum", "sensitivity": "sensitivity", "invariance": "invariance"}


@dataclass(frozen=True, eq=False)
class Answer:
    """What one network makes of the image.

    Args:
        name: of the network, short.
        outputs: N, `[9]`.
        gradient: ∇N_a of the chosen output at the image given, `[rows, columns]`, length · intensity⁻¹.
        difference: (N − O)/σ, `[9]`, fractions of the standard deviations of (3).
        vulnerability: v for each kind, intensity⁻¹.
    """

    name: str
    outputs: Tensor
    gradient: Tensor
    difference: Tensor
    vulnerability: dict[Kind, float]

    @property
    def error(self) -> float:
        """The error (3) of this one image, against the oracle's answer, a fraction."""
        return float(self.difference.abs().mean())


@dataclass(frozen=True, eq=False)
class View:
    """Everything there is to see; images are `[rows, columns]`, float64.

    Args:
        clean: 𝓘, the cube's image.
        given: 𝓕 = 𝓘 + noise + attack, what networks and oracle see.
        nearest: the image of the oracle's cube.
        truth: the outputs of the cube that was rendered, `[9]`.
        oracle: O(𝓕), the outputs of the cube whose image is nearest to 𝓕, `[9]`.
        gradient: ∇O_a of the chosen output at the oracle's cube.
        moved: (O − C)/σ, `[9]`: how far the right answer itself has gone.
        answers: of the networks compared.
        chosen: which of them is attacked and drawn.
        notes: what to know before relying on it, in words.
        seconds: what it took, once the networks were loaded.
    """

    clean: Tensor
    given: Tensor
    nearest: Tensor
    truth: Tensor
    oracle: Tensor
    gradient: Tensor
    moved: Tensor
    answers: list[Answer]
    chosen: int
    notes: list[str]
    seconds: float

    @property
    def answer(self) -> Answer:
        """That of the chosen network."""
        return self.answers[self.chosen]


def look(state: State, runs: Sequence[Run], chosen: int = 0) -> View:
    """Render a cube, add noise, attack, project, and ask everyone.

        𝓕 = 𝓘 + σU + εD

    D has norm 1 and is found at 𝓘 + σU for the chosen network: the direction of `jetprop.robustness.vulnerability`
    with the oracle at the nearest cube, or ∇N_a/‖∇N_a‖. The oracle's answer to 𝓕 is found by projection, from the cube
    that was rendered onwards; vulnerabilities and gradients are those at 𝓕.

    Args:
        state: what the visitor has chosen.
        runs: the networks to ask, all of one cube.
        chosen: which of them is attacked.

    Raises:
        ValueError: a network cannot be loaded for cubes, answers with NaN, or a cube cannot be rendered.
        CheckpointError: the weights cannot be read.

    Source:
        avrutskiy2023, (3), (5), (18), (25) to (34).
    """
    networks = [run.network for run in runs]  # read from disk the first time
    cube, sigma = runs[chosen].cube, runs[chosen].deviation
    started = time.perf_counter()
    poses = state.poses()
    oracle = Oracle.at(cube, poses, order=1)
    clean, truth = oracle.image.value, oracle.target.value
    notes = _about_pose(cube, poses, oracle)

    given = clean
    if state.noise > 0:
        noise = torch.randn(clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(state.seed))
        given = clean + state.noise * noise
        oracle = _nearest(oracle, given, notes)
    if state.attack != "none" and state.strength > 0:
        direction = _direction(state, runs[chosen], given, oracle)
        if not bool(direction.any()):
            notes.append("Nothing to attack: no direction of this kind changes an output.")
        given = given + state.strength * direction
        oracle = _nearest(oracle, given, notes)
    if bool(oracle.singular):
        notes.append(
            f"The oracle's equations are nearly singular here (condition {float(oracle.condition):.2g}): the image "
            f"hardly shows some motion, and gradients and vulnerabilities are not to be relied on."
        )

    slopes = oracle.gradient()
    asked = [value_and_gradients(network, given) for network in networks]
    steep = torch.cat([gradient.to(slopes) for _, gradient in asked])
    n = len(runs)
    difference = torch.cat([value.to(truth) for value, _ in asked]) - oracle.target.value
    v = vulnerability(
        steep, given.expand(n, -1, -1), slopes.expand(n, -1, -1, -1), leading=6, error=difference, keep_directions=False
    )
    answers = [
        Answer(
            name=run.short,
            outputs=value[0].to(torch.float64),
            gradient=steep[k, state.output],
            difference=difference[k] / sigma,
            vulnerability={kind: float(values[k]) for kind, values in v.values.items()},
        )
        for k, (run, (value, _)) in enumerate(zip(runs, asked, strict=True))
    ]
    return View(
        clean=clean[0],
        given=given[0],
        nearest=oracle.image.value[0],
        truth=truth[0],
        oracle=oracle.target.value[0],
        gradient=slopes[0, state.output],
        moved=(oracle.target.value - truth)[0] / sigma,
        answers=answers,
        chosen=chosen,
        notes=list(dict.fromkeys(notes)),
        seconds=time.perf_counter() - started,
    )


def _direction(state: State, run: Run, image: Tensor, oracle: Oracle) -> Tensor:
    """D, `[1, rows, columns]`, of norm 1, or zero."""
    if state.attack == "gradient":
        gradient = gradients(run.network, image)[:, state.output].to(image)
        return gradient / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
    kind = KINDS[state.attack]
    return vulnerability(run.network, image, oracle, kinds=(kind,)).directions[kind]


def _nearest(oracle: Oracle, image: Tensor, notes: list[str]) -> Oracle:
    """The oracle at the cube whose image is nearest to the given one."""
    found = oracle.project(image, tolerance=TOLERANCE, max_steps=STEPS)
    assert oracle.manifold is not None
    if not bool(found.valid):
        notes.append(_about_projection(found))
    return Oracle.at(oracle.manifold, found.poses, order=1)


def _about_projection(found: Projection) -> str:
    reasons = {
        Status.STALLED: "it stopped at an edge-on view, where images have a kink",
        Status.STEP_LIMIT: f"{STEPS} steps were not enough",
        Status.NO_IMAGE: "there is no image",
        Status.LEFT_PICTURE: "it left the picture",
    }
    return f"The oracle's cube is not certain: {reasons[Status(int(found.status))]}."


def _about_pose(cube: Cube, poses: Poses, oracle: Oracle) -> list[str]:
    """Whether the cube is one of those that networks are trained on, and all of it is seen."""
    notes = []
    cosine = (float(poses.rotation[0].trace()) - 1) / 2
    angle, shift = math.acos(max(-1.0, min(1.0, cosine))), float(poses.centre.abs().max())
    if angle > cube.angle + 1e-9 or shift > cube.shift + 1e-9:
        notes.append(
            f"Outside the training poses (turned by {math.degrees(angle):.0f}°, trained up to "
            f"{math.degrees(cube.angle):.1f}°; shifted by {shift:.2f}, trained up to {cube.shift:g})."
        )
    if bool(oracle.cropped):
        notes.append("The frame cuts the picture off.")
    return notes


assert set(KINDS.values()) == set(get_args(Kind))

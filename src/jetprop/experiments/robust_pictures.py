"""Figures 2, 3, 4, 5 and 8 of avrutskiy2023, which show images; and attacks by a finite step, drawn and measured.

Gradients of networks are kept in the records; what can be rendered anew is not, see `jetprop.report.gallery`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jetprop.experiments.records import Record
from jetprop.experiments.registry import Context, Scale, experiment
from jetprop.experiments.robust_measures import KINDS, TEST_START, model_of
from jetprop.experiments.robust_networks import LARGEST, Network, columns
from jetprop.experiments.robust_runs import Runs
from jetprop.manifolds import Cube
from jetprop.objectives import ImageDirections
from jetprop.oracle import Oracle
from jetprop.robustness import attack, gradients

__all__ = ["DERIVED", "EPSILON", "MOVES"]

DERIVED, SHOWN = 30, (TEST_START, TEST_START + 3)
"""The training image whose derivatives are shown, and the test images whose gradients are."""

BEST = 0.095
"""σ of the best Gaussian augmentation in the paper."""

EPSILON = 0.5
"""Length of the attacks' step; a pixel changes by 0.012, root mean square."""

POSES: dict[Scale, int] = {"smoke": 4, "cpu": 256, "paper": 2048}
ATTACKED: dict[Scale, int] = {"smoke": 2, "cpu": 128, "paper": 1024}

MOVES: dict[str, tuple[int, float]] = {
    "along x by 10 % of the side": (3, 0.04),
    "along y by 10 % of the side": (4, 0.04),
    "along z by 75 % of the side": (5, 0.3),
    "about x by 10°": (0, math.pi / 18),
    "about y by 10°": (1, math.pi / 18),
    "about z by 10°": (2, math.pi / 18),
}
"""How far section 3.1 moves a cube by adding derivatives to its image: direction and size."""

QUICK = {"smoke": "seconds", "cpu": "seconds", "paper": "seconds"}
TRAINED = {
    "smoke": "seconds",
    "cpu": "minutes of one core for networks that no table has trained; resumable",
    "paper": "hours on a GPU for networks that no table has trained; resumable",
}


@experiment("avrutskiy2023 fig2", "Gradient of a conventionally trained network", **TRAINED)
def fig2(context: Context) -> Record:
    """Figure 2: ∇N of the first output, after training on values; in the paper the network of 12 million weights."""
    runs = Runs(context, "fig2")
    network = Network("values", "12" if context.scale == "paper" else columns(context.scale)[-1])
    runs.train([network])
    steep = _gradients(runs, {"values only": network})
    found = steep.get("values only")
    norm = None if found is None else float(found[1][:, 0].flatten(1).norm(dim=1).mean())
    runs.add("norm of the gradient of output 1, mean", network.column, norm, 0.71, "")
    runs.record.data["images"] = _shown({"∇N₁": found[0]} if found else {}, "Fig. 2: gradient of the first output")
    return runs.record


@experiment("avrutskiy2023 fig5", "Gradients of oracle, robust network and Gaussian augmentation", **TRAINED)
def fig5(context: Context) -> Record:
    """Figure 5: ∇ of the first output; and over all outputs of many test images, how near to the oracle's they are."""
    runs = Runs(context, "fig5")
    chosen = _chosen(context.scale)
    runs.train(chosen.values())
    steep = _gradients(runs, chosen)
    image = Oracle.at(Cube(), Cube().poses(POSES[context.scale], TEST_START), order=1)
    truth = image.gradient().flatten(2)
    for label in chosen:
        near, off = None, None
        if label in steep:
            slopes = steep[label][1].flatten(2).to(truth)
            near = float(torch.nn.functional.cosine_similarity(slopes, truth, dim=2)[~image.singular].mean())
            off = float(((slopes - truth).norm(dim=2) / truth.norm(dim=2))[~image.singular].mean())
        runs.add(label, "cosine with the oracle's, mean", near, unit="")
        runs.add(label, "‖∇N − ∇O‖ / ‖∇O‖, mean", off, unit="")
    oracle = Oracle.at(Cube(), _poses(SHOWN), order=1).gradient()[:, 0]
    pictures = {"oracle": oracle, **{label: found[0] for label, found in steep.items()}}
    runs.record.data["images"] = _shown(pictures, "Fig. 5: gradients of the first output")
    return runs.record


def _chosen(scale: Scale) -> dict[str, Network]:
    """The networks that are shown side by side: in the paper the largest, and the best of Gaussian augmentation."""
    column = LARGEST if scale == "paper" else columns(scale)[-1]
    other = "4" if scale == "paper" else column
    return {
        "robust (I)": Network("I", column),
        "robust (II)": Network("II", column),
        f"Gaussian {BEST:g}": Network("gaussian", other, BEST),
        "values only": Network("values", "12" if scale == "paper" else column),
    }


def _gradients(runs: Runs, networks: Mapping[str, Network]) -> dict[str, tuple[Tensor, Tensor]]:
    """Of networks that are trained: ∇N₁ at the images that are shown, and ∇N at many test images."""
    cube = Cube()
    shown, _ = cube.render(_poses(SHOWN), 0)
    many, _ = cube.sample(POSES[runs.context.scale], TEST_START, 0)
    found = {}
    for label, network in networks.items():
        if network in runs.results:
            model = model_of(runs.results[network])
            found[label] = gradients(model, shown.value)[:, 0], gradients(model, many.value)
    return found


def _poses(numbers: tuple[int, ...]) -> Any:  # noqa: ANN401 - Poses
    first = min(numbers)
    return Cube().poses(max(numbers) - first + 1, first)[torch.tensor([k - first for k in numbers])]


def _shown(gradient: Mapping[str, Tensor], title: str) -> list[dict[str, Any]]:
    """Groups of pictures for the report: each image, then gradients at it."""
    image, _ = Cube().render(_poses(SHOWN), 0)
    return [
        {
            "title": f"{title}, image {number}",
            "caption": "Each gradient with its own range of colours.",
            "pictures": [
                {"name": "the image", "pixels": _plain(image.value[k])},
                *(
                    {"name": label, "pixels": _plain(found[k]), "signed": True, "unit": "per intensity"}
                    for label, found in gradient.items()
                ),
            ],
        }
        for k, number in enumerate(SHOWN)
    ]


def _plain(pixels: Tensor) -> list[list[float]]:
    return [[float(f"{value:.3g}") for value in row] for row in pixels.tolist()]


@experiment("avrutskiy2023 fig3", "First image derivatives", **QUICK)
def fig3(context: Context) -> Record:
    """Figure 3; and how much of a finite motion the first derivative leaves out, for the motions of section 3.1."""
    return _expansion(context, "fig3", 1)


@experiment("avrutskiy2023 fig8", "Second image derivatives", **QUICK)
def fig8(context: Context) -> Record:
    """Figure 8; and how much of a finite motion the expansion to second order leaves out."""
    return _expansion(context, "fig8", 2)


def _expansion(context: Context, name: str, order: int) -> Record:
    """‖𝓘(ν) − expansion‖ / ‖𝓘(ν) − 𝓘‖ for motions of the size that section 3.1 states, mean over images."""
    cube, count = Cube(), POSES[context.scale]
    poses = cube.poses(count)
    image, _ = cube.render(poses, order, dtype=torch.float64)
    runs = Runs(context, name)
    runs.record.settings, runs.record.notes = {"images": count, "moves": {k: list(v) for k, v in MOVES.items()}}, []
    for row, (direction, size) in MOVES.items():
        nu = torch.zeros(count, 6, dtype=torch.float64)
        nu[:, direction] = size
        moved, _ = cube.render(poses.moved(nu), 0, dtype=torch.float64)
        change, expanded = (moved.value - image.value).flatten(1), torch.zeros_like(image.value)
        for k in range(1, order + 1):
            expanded += image.d(*(direction,) * k) * size**k / math.factorial(k)
            missed = (change - expanded.flatten(1)).norm(dim=1) / change.norm(dim=1)
            runs.add(row, f"missed to order {k}", 100 * float(missed.mean()))
    runs.record.data["derived"] = DERIVED
    return runs.record


@experiment("avrutskiy2023 fig4", "Three classes of directions", **QUICK)
def fig4(context: Context) -> Record:
    """Figure 4; and the share of each class's power below some spatial frequencies."""
    runs = Runs(context, "fig4")
    count = {"smoke": 8, "cpu": 512, "paper": 4096}[context.scale]
    runs.record.settings, runs.record.notes = {"directions": count, "seed": context.seed}, []
    frequency = torch.fft.fftfreq(41).square()
    distance = (frequency[:, None] + frequency).sqrt()
    for kind in ("low", "mid", "high"):
        drawn = ImageDirections(kind, (41, 41), count, context.seed)(torch.arange(count))
        power = torch.fft.fft2(drawn).abs().square().mean(0)
        for limit in (0.05, 0.1, 0.2):
            share = float(power[distance < limit].sum() / power.sum())
            runs.add(f"D_{kind}", f"power below {limit:g} per pixel", 100 * share)
    runs.record.data["directions"] = {"seed": context.seed, "shown": [0, 1, 2, 3, 4]}
    return runs.record


@experiment("avrutskiy2023 attacks", "Optimal, sensitivity and invariance attacks by a finite step", **TRAINED)
def attacks(context: Context) -> Record:
    """Section 3.4: what the attacks promise, and what they do against the oracle projected anew."""
    runs, cube, scale = Runs(context, "attacks"), Cube(), context.scale
    chosen = _chosen(scale)
    runs.train(chosen.values())
    oracle = Oracle.at(cube, cube.poses(ATTACKED[scale], TEST_START))
    drawn = []
    for label, network in chosen.items():
        result = runs.results.get(network)
        for kind, symbol in KINDS.items():
            grown: dict[str, float | None] = {"predicted": None, "found": None, "verified": None}
            if result is not None:
                made = attack(model_of(result), oracle, EPSILON, kind)  # type: ignore[arg-type]
                good = made.verified
                grown = {
                    "predicted": 100 * float(made.predicted_growth[good].mean()) if bool(good.any()) else None,
                    "found": 100 * float(made.growth[good].mean()) if bool(good.any()) else None,
                    "verified": 100 * float(good.double().mean()),
                }
                drawn.append(_drawn(label, kind, made, oracle))
            for column, value in grown.items():
                runs.add(f"{label}, {symbol}", column, value)
    runs.record.notes.append(
        f"Growth of the error relative to σ, averaged over outputs, in points, after a step of length {EPSILON:g}; "
        "found: against the nearest image of the manifold, where the projection converged (verified)."
    )
    runs.record.data |= {"attacks": drawn, "epsilon": EPSILON}
    return runs.record


def _drawn(label: str, kind: str, made: Any, oracle: Oracle) -> dict[str, Any]:  # noqa: ANN401 - Attack
    """What is needed to draw an attack on the first image."""
    truth = oracle.target.value[0]
    answer = truth + made.oracle_change[0]
    return {
        "network": label,
        "kind": kind,
        "pose": TEST_START,
        "direction": _plain(made.direction[0]),
        "before": (truth + made.before[0]).tolist(),
        "after": (answer + made.error[0]).tolist(),
        "oracle": answer.tolist(),
    }

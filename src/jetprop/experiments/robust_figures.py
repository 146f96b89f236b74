"""Figures 6, 7, 9 and 10 of avrutskiy2023: Gaussian augmentation of every strength, and networks under noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from jetprop.experiments.records import Record
from jetprop.experiments.registry import Context, Scale, experiment
from jetprop.experiments.robust_claims import beats_the_best, further_under_noise
from jetprop.experiments.robust_measures import TEST_START, cached, model_of
from jetprop.experiments.robust_networks import CONTENDERS, LARGEST, Network, levels, swept
from jetprop.experiments.robust_runs import QUANTITIES, SETS, Runs
from jetprop.manifolds import Cube
from jetprop.robustness import Correction, noise_curve
from jetprop.training import Result

__all__ = ["CORRECTIONS", "SIGMAS"]

COST = {
    "smoke": "seconds",
    "cpu": "4 minutes of one core a network that no table has trained; resumable, and --jobs 2 halves it",
    "paper": "hours on a GPU; resumable",
}

PUBLISHED = {
    ("4", 0.055): {"e training": 1.65, "e test": 2.47, "v_max training": 18.0, "v_max test": 18.3}
    | {"v_sen training": 16.5, "v_sen test": 17.0, "v_inv training": 15.2, "v_inv test": 15.3}
}
"""What table 5 prints of a point of figures 6 and 7; the others are drawn only."""

SIGMAS: dict[Scale, tuple[float, ...]] = {
    "smoke": (0.0, 0.1),
    "cpu": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25),
    "paper": tuple(k / 40 for k in range(11)),
}
"""Of the noise in figures 9 and 10."""

POSES: dict[Scale, int] = {"smoke": 8, "cpu": 512, "paper": 4096}
"""How many test images meet noise."""

CORRECTIONS: tuple[Correction, ...] = ("none", "expansion", "projection")
WORDS: dict[Correction, str] = {"none": "not corrected", "expansion": "corrected by (46)", "projection": "projected"}


@experiment("avrutskiy2023 fig6", "Error after Gaussian augmentation of every strength", **COST)
def fig6(context: Context) -> Record:
    """Figure 6: e of clean images against σ; dashed, universal robust training at equal size and time."""
    return _swept(context, "fig6", ("e",))


@experiment("avrutskiy2023 fig7", "Vulnerabilities after Gaussian augmentation of every strength", **COST)
def fig7(context: Context) -> Record:
    """Figure 7: v_max, v_sen and v_inv of clean images against σ; dashed, v_max of universal robust training."""
    return _swept(context, "fig7", QUANTITIES[1:])


def _swept(context: Context, name: str, quantities: Sequence[str]) -> Record:
    runs = Runs(context, name)
    sigmas = levels("gaussian", context.scale)
    sizes = swept(context.scale)
    runs.train(Network(m, column) for column in sizes for m in CONTENDERS)
    runs.train(Network("gaussian", column, sigma) for column in sizes for sigma in sigmas)
    plots, found = [], []
    for column in sizes:
        noisy = [Network("gaussian", column, sigma) for sigma in sigmas]
        lines = []
        for quantity in quantities:
            for place in SETS:
                row = f"{quantity} {place}, {column}"
                values = [runs.value(network, quantity, place) for network in noisy]
                for sigma, value in zip(sigmas, values, strict=True):
                    known = PUBLISHED.get((column, sigma), {}).get(f"{quantity} {place}")
                    runs.add(row, f"σ = {sigma:g}", value, known)
                for method in CONTENDERS:
                    runs.add(row, f"robust ({method})", runs.value(Network(method, column), quantity, place))
                if name == "fig6" or place == "test":
                    label = f"{quantity}, {place}" if name == "fig6" else quantity
                    lines.append({"name": label, "x": list(sigmas), "y": values})
        ends = [sigmas[0], sigmas[-1]]
        for turn, method in enumerate(CONTENDERS):
            level = runs.value(Network(method, column), quantities[0])
            colour = len(lines) if turn else (1 if name == "fig6" else 0)  # the first has that of the same quantity
            words = f"{quantities[0]}, robust ({method})"
            lines.append({"name": words, "x": ends, "y": [level, level], "dashed": True, "colour": colour})
        plots.append(
            {
                "title": f"{column} million weights",
                "x": "σ of the augmentation",
                "y": "error e, %" if name == "fig6" else "vulnerability, %",
                "series": lines,
                "caption": "Clean images; dashed, universal robust training at equal size and time.",
            }
        )
        for method in CONTENDERS:
            found += beats_the_best(runs, Network(method, column), noisy)
    runs.record.data |= {"plots": plots, "claims": found}
    return runs.record


@experiment("avrutskiy2023 fig9", "Error under Gaussian noise", **COST)
def fig9(context: Context) -> Record:
    """Figure 9: e of I, II and the best of Gaussian augmentation against σ of the noise, corrected by (46) and not."""
    return _under_noise(context, "fig9")


@experiment("avrutskiy2023 fig10", "Maximum vulnerability under Gaussian noise", **COST)
def fig10(context: Context) -> Record:
    """Figure 10: v_max of the same networks under noise."""
    return _under_noise(context, "fig10")


def _compared(scale: Scale) -> list[tuple[str, str]]:
    """Columns of the robust networks and of the Gaussian one: in the paper its largest, and that of 4 million."""
    return [(LARGEST, "4")] if scale == "paper" else [(column, column) for column in swept(scale)]


def _under_noise(context: Context, name: str) -> Record:
    runs = Runs(context, name)
    sigmas = SIGMAS[context.scale]
    plots, found = [], []
    for column, other in _compared(context.scale):
        augmented = [Network("gaussian", other, sigma) for sigma in levels("gaussian", context.scale)]
        runs.train([Network("I", column), Network("II", column), *augmented])
        known = {one: v for one in augmented if (v := runs.value(one, "v_max")) is not None}
        chosen = {"I": Network("I", column), "II": Network("II", column)}
        if len(known) == len(augmented):
            best = min(known, key=known.__getitem__)
            chosen[f"N {best.level:g}"] = best
        curves = {label: _curve(runs, network) for label, network in chosen.items()}
        lines = []
        for turn, (label, curve) in enumerate(curves.items()):
            for correction in CORRECTIONS:
                values = _values(curve, name, correction, len(sigmas))
                for sigma, value in zip(sigmas, values, strict=True):
                    runs.add(f"{label}, {WORDS[correction]}, {column}", f"σ = {sigma:g}", value)
                if correction != "expansion" and (name == "fig9" or correction == "projection"):
                    dashed = correction == "none"
                    words = f"{label}, {WORDS[correction]}"
                    lines.append({"name": words, "x": list(sigmas), "y": values, "dashed": dashed, "colour": turn})
        plots.append(
            {
                "title": f"{column} million weights",
                "x": "σ of the noise",
                "y": "error e, %" if name == "fig9" else "v_max, %",
                "series": lines,
                "caption": f"{POSES[context.scale]} test images, after the trade-off. Projected: against the nearest "
                "image of the manifold, found by descent; the table has the expansion (46) too.",
            }
        )
        found += further_under_noise(column, sigmas, curves)
    runs.record.notes.append(
        "N is the network of Gaussian augmentation with the lowest v_max on clean test images, of all σ tried."
    )
    runs.record.data |= {"plots": plots, "claims": found}
    return runs.record


def _values(curve: dict[str, Any] | None, name: str, correction: str, count: int) -> list[float | None]:
    if curve is None:
        return [None] * count
    return [100 * value for value in curve["error" if name == "fig9" else "v_max"][correction]]


def _curve(runs: Runs, network: Network) -> dict[str, Any] | None:
    """Error and v_max under noise, fractions, by correction; None if the network is not trained yet."""
    result, scale = runs.results.get(network), runs.context.scale
    if result is None:
        return None
    runs.context.say(f"{network.label}, {network.column}: under noise")
    settings = {"poses": POSES[scale], "sigmas": SIGMAS[scale], "corrections": CORRECTIONS, "seed": runs.context.seed}
    model = model_of(result)
    return cached(result, "noise", model, settings, partial(_under, model, result, scale, runs.context.seed))


def _under(model: torch.nn.Module, result: Result, scale: Scale, seed: int) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cube = Cube()
    curve = noise_curve(
        model.to(device),
        cube,
        cube.poses(POSES[scale], TEST_START, device),
        SIGMAS[scale],
        target_std=torch.tensor(result.record["deviation"], dtype=torch.float64),
        corrections=CORRECTIONS,
        seed=seed,
    )
    model.cpu()
    return {
        "error": {c: curve.error[c].tolist() for c in CORRECTIONS},
        "v_max": {c: curve.vulnerability[c]["maximum"].tolist() for c in CORRECTIONS},
        "left out": {c: curve.left_out[c].tolist() for c in CORRECTIONS},
    }

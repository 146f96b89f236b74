"""A crystal's shape and strain from the magnitude of its diffraction pattern, counted photon by photon.

    python examples/phase_retrieval.py --out runs/phase-retrieval

Trains two networks for the same time, on values alone and with first derivatives, and compares them with the oracle,
the nearest diffraction pattern of the manifold, on patterns of few photons. Writes `phase_retrieval.json` and
`phase_retrieval.png`. Five minutes on one core at most.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from jetprop import Oracle
from jetprop.manifolds import PhaseRetrieval, photon_noise
from jetprop.objectives import relative_error
from jetprop.training import Recipe, fit

PHOTONS = (1000, 3000, 10000, 30000, 100000, 300000)
"""Counts in the brightest pixel."""

RUNS = {"values": [1.0], "values and first derivatives": [1.0, 0.3]}


def recipe(size: int, weights: list[float], seconds: float) -> Recipe:
    """One network, the same for every cost."""
    return Recipe.build(
        {
            "model": {"widths": [size**2, 192, 192, 128, 9], "activation": "silu", "init": "torch"},
            "data": {
                "manifold": "jetprop.manifolds:PhaseRetrieval",
                "options": {"size": size},
                "images": 4096,
                "order": len(weights) - 1,
                "test_images": 1024,
            },
            "objective": {"weights": weights},
            "optimizer": {"name": "muon", "rate": 0.01, "options": {"weight_decay": 0.0}, "rest": {"rate": 1e-3}},
            "schedule": {"kind": "cosine", "warmup": 0.02},
            "training": {
                "batch": 64,
                "seconds": seconds,
                "clock": "cpu",
                "accelerator": "cpu",
                "compile": "never",
                "threads": 1,
            },
        }
    )


def noise_curves(manifold: PhaseRetrieval, networks: dict[str, nn.Module], n: int) -> dict[str, list[float]]:
    """Error e of (3) against photons, for networks, and for projections that start at what each of them says."""
    poses = manifold.poses(n, start=97020)
    clean, target = (jet.value for jet in manifold.render(poses, 0, dtype=torch.float64))
    deviation = manifold.sample(4096, order=0, dtype=torch.float64)[1].value.std(0)
    curves: dict[str, list[float]] = {}
    for photons in PHOTONS:
        noisy = photon_noise(clean, photons, torch.Generator().manual_seed(photons))
        for name, network in networks.items():
            with torch.no_grad():
                output = network(noisy.float()).double()
            curves.setdefault(name, []).append(relative_error(output, target, deviation))
        projected = Oracle.at(manifold, manifold.nearest(output), order=1).project(noisy, method="gauss-newton")
        curves.setdefault("oracle, from the last network", []).append(
            relative_error(projected.target, target, deviation)
        )
        curves.setdefault("converged", []).append(float(projected.valid.double().mean()))
    oracle = Oracle.at(manifold, poses, order=1)
    slope = oracle.gradient().flatten(2).square().sum(2).mean(0).sqrt() / deviation
    curves["first order of the oracle"] = [float(slope.mean()) / (2 * math.sqrt(photons)) for photons in PHOTONS]
    return curves


def draw(manifold: PhaseRetrieval, networks: dict[str, nn.Module], curves: dict[str, list[float]], path: Path) -> None:
    """Three crystals, their patterns and reconstructions, and the error against photons."""
    poses = manifold.poses(3, start=200000)
    clean = manifold.render(poses, 0, dtype=torch.float64)[0].value
    noisy = photon_noise(clean, 1000, torch.Generator().manual_seed(0))
    with torch.no_grad():
        said = manifold.nearest(list(networks.values())[-1](noisy.float()))
    found = Oracle.at(manifold, said, order=1).project(noisy, method="gauss-newton")
    figure = plt.figure(figsize=(13, 7.5), layout="constrained")
    left, right = (figure.add_subfigure(part) for part in figure.add_gridspec(1, 2, width_ratios=(1.5, 1)))
    axes = left.subplots(3, 5)
    columns = (
        ("crystal", manifold.crystal(poses)),
        ("its pattern", clean),
        ("1000 photons", noisy),
        ("network", manifold.crystal(said)),
        ("oracle", manifold.crystal(manifold.nearest(found.target))),
    )
    for column, (title, images) in enumerate(columns):
        for axis, image in zip(axes[:, column], images, strict=True):
            show(axis, image)
        axes[0, column].set_title(title)
    axis = right.subplots()
    for name, values in curves.items():
        if name != "converged":
            axis.loglog(PHOTONS, values, "--" if name.startswith("first") else "o-", label=name)
    axis.set(xlabel="photons in the brightest pixel", ylabel="error e, (3)", title="parameters of the crystal")
    axis.legend()
    axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def show(axis: Any, image: Tensor) -> None:
    """A complex object: brightness its density, colour its phase. A pattern: logarithm of its intensity."""
    axis.set_axis_off()
    if image.is_complex():
        middle = image.shape[0] // 4
        image = image[middle:-middle, middle:-middle]
        colours = plt.get_cmap("twilight")((image.angle() / (2 * math.pi) + 0.5).numpy())
        density = image.abs().clamp(0, 1).numpy()[..., None]
        axis.imshow(colours[..., :3] * density + 1 - density, origin="lower")
    else:
        axis.imshow((2 * image.log10()).numpy(), origin="lower", cmap="magma", vmin=-3.5, vmax=0)


def main() -> None:
    """Train, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/phase-retrieval"), help="folder for record and picture")
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each network")
    parser.add_argument("--size", type=int, default=32, help="pixels along each side")
    parser.add_argument("--patterns", type=int, default=512, help="test patterns for the curves")
    chosen = parser.parse_args()
    began = time.perf_counter()
    torch.set_num_threads(1)
    manifold = PhaseRetrieval(size=chosen.size)
    chosen.out.mkdir(parents=True, exist_ok=True)
    networks, runs = {}, {}
    for name, weights in RUNS.items():
        result = fit(recipe(chosen.size, weights, chosen.seconds), progress=False)
        networks[name] = result.model
        runs[name] = {"status": result.status, "steps": result.steps, **result.metrics, "record": result.record}
        print(f"{name}: {result.steps} steps, e = {result.metrics['test_error']:.4f} without noise")
    curves = noise_curves(manifold, networks, chosen.patterns)
    record = {"photons": PHOTONS, "curves": curves, "runs": runs, "seconds": time.perf_counter() - began}
    (chosen.out / "phase_retrieval.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    draw(manifold, networks, curves, chosen.out / "phase_retrieval.png")
    for name, values in curves.items():
        print(f"{name:32s}", "  ".join(f"{value:.4f}" for value in values))
    print(f"written to {chosen.out}, {record['seconds']:.0f} s")


if __name__ == "__main__":
    main()

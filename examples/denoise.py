"""Noisy digits, each replaced by the nearest image that an autoencoder can draw.

    python examples/denoise.py
    python examples/denoise.py --mnist path/to/mnist --latent 16 --epochs 20

Prints mean PSNR in dB against the clean images, and in brackets against what the autoencoder makes of these. A minute
on one core for scikit-learn's digits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from jetprop import Oracle
from jetprop.data import digits, mnist
from jetprop.manifolds import Decoder, train_autoencoder


def decibels(image: Tensor, reference: Tensor) -> float:
    """Mean over images of -10 log₁₀ of the mean squared error; 1 is the full stroke."""
    return float(-10 * (image - reference).square().flatten(1).mean(1).log10().mean())


def main() -> None:
    """Train, add noise, project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, help="folder with MNIST; by default scikit-learn's digits")
    parser.add_argument("--latent", type=int, default=8, help="numbers in a code")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--images", type=int, default=397, help="unseen images to denoise")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    chosen = parser.parse_args()
    if chosen.mnist:
        seen, unseen = mnist(chosen.mnist).images, mnist(chosen.mnist, train=False).images
    else:
        seen, unseen = digits().images.split([1400, 397])
    fit = train_autoencoder(seen, latent=chosen.latent, epochs=chosen.epochs)
    print(f"autoencoder {fit.status}, mean squared error {fit.losses[-1]:.5f}")
    manifold = Decoder(fit.model, seen)
    clean = unseen[: chosen.images].double()
    own = manifold.render(manifold.encode(clean), 0, dtype=torch.float64)[0].value
    rows = []
    for sigma in (0.0, 0.1, 0.2, 0.3, 0.4):
        random = torch.Generator().manual_seed(0)
        noisy = clean + sigma * torch.randn(clean.shape, generator=random, dtype=torch.float64)
        oracle = Oracle.at(manifold, manifold.encode(noisy))
        expansion, projection = oracle.expand(noisy), oracle.project(noisy)
        found = {
            "noisy": noisy,
            "encode, decode": oracle.image.value,
            "expansion": expansion.image,
            "projection": projection.image,
        }
        row = {name: [decibels(image, reference) for reference in (clean, own)] for name, image in found.items()}
        rows.append({"sigma": sigma, **row, "converged": float(projection.valid.double().mean())})
        shown = "  ".join(f"{name} {a:.1f} ({b:.1f})" for name, (a, b) in row.items())
        print(f"σ = {sigma:.1f}: {shown}  converged {rows[-1]['converged']:.3f}")
    if chosen.out:
        chosen.out.write_text(json.dumps({"losses": fit.losses, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

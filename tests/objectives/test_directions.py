"""Directions of the input space: the printed formulas, their spectra, a bank that depends on its seed alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from jetprop.objectives import ImageDirections
from jetprop.objectives.directions import CHUNK, CLASSES, blurred_noise, blurring, mixture_of

ROUNDING = 1e-5
"""Of sums of up to 961 terms in float32."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("r", [1, 2, 8, 15])
def test_blurred_noise_is_the_printed_convolution(r: int) -> None:
    size = 2 * r + 1
    printed = torch.tensor(
        [
            [math.exp(-2 / r**2 * ((i - r - 1) ** 2 + (j - r - 1) ** 2)) for j in range(1, size + 1)]
            for i in range(1, size + 1)
        ]
    )
    noise = torch.randn(3, 41 + 2 * r, 41 + 2 * r, generator=seeded())
    expected = F.conv2d(noise[:, None], printed[None, None])[:, 0]
    expected = expected / expected.flatten(1).norm(dim=1)[:, None, None]
    assert torch.allclose(blurred_noise(3, (41, 41), r, seeded()), expected, atol=ROUNDING)


def test_without_blur_it_is_white_noise() -> None:
    noise = torch.randn(3, 41, 41, generator=seeded())
    expected = noise / noise.flatten(1).norm(dim=1)[:, None, None]
    assert torch.allclose(blurred_noise(3, (41, 41), 0, seeded()), expected, atol=ROUNDING)


def test_rows_of_the_band_sum_to_one_and_are_shifted() -> None:
    band = blurring(5, 3)
    assert band.shape == (5, 11)
    assert torch.allclose(band.sum(1), torch.ones(5))
    assert all(torch.equal(band[0, :7], band[k, k : k + 7]) for k in range(5))


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_are_the_printed_sums(kind: str) -> None:
    """D_low, D_mid and D_high written out, with the draws in their order."""
    generator = torch.Generator()
    written = {
        "low": lambda u: u(15) + u(8) + 0.4 * u(2) + 0.2 * u(1),
        "mid": lambda u: u(2) + u(1),
        "high": lambda u: u(0),
    }[kind]
    seeds: list[int] = []
    original = torch.Generator.manual_seed

    class Spy(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            seeds.append(seed)
            return original(self, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", Spy)
        made = ImageDirections(kind, (41, 41), count=4, seed=3)
    assert len(seeds) == 1
    generator.manual_seed(seeds[0])
    expected = written(lambda r: blurred_noise(CHUNK, (41, 41), r, generator))[:4]
    expected = expected / expected.flatten(1).norm(dim=1)[:, None, None]
    assert torch.allclose(made.bank, expected, atol=ROUNDING)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("shape", [(41, 41), (3, 12, 20), (50,), (2, 1, 5, 4)])
def test_directions_have_length_one_and_no_mean(kind: str, shape: tuple[int, ...]) -> None:
    bank = ImageDirections(kind, shape, count=600).bank
    assert bank.shape == (600, *shape)
    assert torch.allclose(bank.flatten(1).norm(dim=1), torch.ones(600), atol=ROUNDING)
    # the mean of 600 unit vectors with independent signs has a length of about 600^(−1/2)
    assert float(bank.mean(0).norm()) < 3 / 600**0.5


@pytest.mark.parametrize("r", [2, 4, 8])
def test_frequencies_above_one_over_r_are_filtered(r: int) -> None:
    """The transfer function is about exp(−π² f² r²/2), e^(−4.9) at f = 1/r; the matrix ends at e⁻², which rings."""
    size = 96
    window = torch.hann_window(size, periodic=False)
    images = blurred_noise(64, (size, size), r, seeded()) * window[:, None] * window
    energy = torch.fft.fft2(images).abs().square().mean(0)
    f = torch.fft.fftfreq(size)
    distance = (f[:, None] ** 2 + f**2).sqrt()
    assert float(energy[distance > 1 / r].sum() / energy.sum()) < 5e-3
    inside = float(energy[distance < 0.5 / r].sum() / energy.sum())
    # 1 − exp(−π²/4) of the energy exp(−π² f² r²); the window, the ringing and 64 draws change it by some percent
    assert inside == pytest.approx(1 - math.exp(-(math.pi**2) / 4), rel=0.08)


def test_low_is_smoother_than_mid_and_mid_than_high() -> None:
    def roughness(kind: str) -> float:
        bank = ImageDirections(kind, (41, 41), count=256).bank
        return float((bank[:, 1:] - bank[:, :-1]).square().sum((1, 2)).mean())

    assert 5 * roughness("low") < roughness("mid") < roughness("high")
    assert roughness("high") == pytest.approx(2, rel=0.1), "white noise: neighbours are independent"


def test_a_direction_depends_on_seed_class_and_number_alone() -> None:
    made: dict[str, Any] = {"shape": (9, 9), "seed": 5}
    long, short = ImageDirections("mid", count=CHUNK + 10, **made), ImageDirections("mid", count=7, **made)
    assert torch.equal(long.bank[:7], short.bank)
    assert not torch.equal(long.bank[:10], long.bank[CHUNK:]), "chunks are drawn apart"
    other = ImageDirections("mid", (9, 9), count=7, seed=6)
    assert not torch.allclose(short.bank, other.bank)
    sharp, own = ImageDirections("high", (9, 9), 7, 5), ImageDirections("own", (9, 9), 7, 5, mixture=((1, 0),))
    overlap = (sharp.bank * own.bank).flatten(1).sum(1).abs()
    assert float(overlap.max()) < 0.6, "classes share no stream even with one mixture"


def test_the_bank_is_rolled_by_one_each_epoch() -> None:
    bank = ImageDirections("high", (4,), count=5)
    numbers = torch.tensor([3, 0, 11])
    for epoch in range(12):
        assert torch.equal(bank(numbers, epoch), bank.bank[[(k + epoch) % 5 for k in (3, 0, 11)]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ImageDirections("lo", (4, 4)), 'class of directions "lo"; did you mean "low"'),
        (lambda: ImageDirections("low", ()), "at least one axis"),
        (lambda: ImageDirections("low", (4, 0)), "at least one axis"),
        (lambda: ImageDirections("low", (4, 4), count=0), "integer ≥ 1"),
        (lambda: ImageDirections("own", (4, 4), mixture=()), "pairs"),
        (lambda: ImageDirections("own", (4, 4), mixture=((1.0, -1),)), "blur radius"),
        (lambda: ImageDirections("own", (4, 4), mixture=((0.0, 1),)), "weight > 0"),
        (lambda: mixture_of("own", {"own": ((1.0, 1.5),)}), "blur radius"),  # type: ignore[dict-item]
    ],
)
def test_bad_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()

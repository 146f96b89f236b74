"""Cases of Fourier transforms; complex results are taken as pairs of real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jets.rule_cases import DTYPE, Case, drawn

X = drawn(3, 4)
SIGNAL, WINDOW = drawn(2, 8), torch.hann_window(4, dtype=DTYPE)


def as_complex(x: Any) -> Any:
    """Real and imaginary parts that differ."""
    return torch.complex(x, x.roll(1, -1) + 0.3)


def as_real(z: Any) -> Any:
    """Pairs of real numbers, where the numbers are complex."""
    return torch.view_as_real(z.resolve_conj()) if z.is_complex() else z


def transforms(name: str) -> list[Case]:
    given = as_complex if name in ("ifft", "irfft", "hfft") else lambda x: x * 1

    def case(suffix: str, label: str, **options: Any) -> Case:
        transform: Callable = getattr(torch.fft, name + suffix)
        call = lambda x: as_real(transform(given(x), **options))  # noqa: E731
        return Case(f"fft_{name}{suffix}", call, X, label, order=2)

    return [
        case("", ""),
        case("", "padded", n=5, norm="ortho"),
        case("", "axis", dim=0, norm="forward"),
        case("2", ""),
        case("2", "sizes", s=(4, 3), dim=(1, 0), norm="ortho"),
        case("n", ""),
        case("n", "sizes", s=(3,)),
        case("n", "axis", dim=(-2,), norm="backward"),
    ]


def stft(x: Any, **options: Any) -> Any:
    return torch.stft(x, 4, 2, window=WINDOW, return_complex=True, **options)


CASES = [
    *(case for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft") for case in transforms(name)),
    *(Case(f"fft_{name}", getattr(torch.fft, name), X) for name in ("fftshift", "ifftshift")),
    Case("fft_fftshift", lambda x: torch.fft.fftshift(x, dim=-1), X, "axis"),
    Case(
        "stft",
        lambda x: as_real(stft(x)),
        SIGNAL,
        "",
        {"method": lambda x: as_real(x.stft(4, 2, window=WINDOW, return_complex=True))},
        order=2,
    ),
    Case("stft", lambda x: as_real(stft(x, center=False, onesided=False)), SIGNAL[0], "one signal", order=2),
    Case("istft", lambda x: torch.istft(stft(x) ** 2, 4, 2, window=WINDOW), SIGNAL, order=2),
]

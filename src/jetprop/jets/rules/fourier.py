"""Fourier transforms: linear, so all rows at once, along the value's axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from jetprop.jets.dispatch import rule
from jetprop.jets.jet import Jet
from jetprop.jets.rules.operands import axes, axis, is_jet

__all__: list[str] = []


def _along_one_axis(name: str) -> Callable:
    transform = getattr(torch.fft, name)

    def apply(x: Jet, n: int | None = None, dim: int = -1, norm: str | None = None) -> Jet:
        return Jet._of(transform(x.rows, n, axis(dim, x.dim()), norm), x.basis)

    apply.__doc__ = f"`torch.fft.{name}`."
    return apply


def _along_axes(name: str, default: tuple[int, ...] | None) -> Callable:
    transform = getattr(torch.fft, name)

    def apply(x: Jet, s: Any = None, dim: Any = default, norm: str | None = None) -> Jet:
        if dim is None and s is not None:
            dim = tuple(range(-len(s), 0))
        return Jet._of(transform(x.rows, s, axes(dim, x.dim()), norm), x.basis)

    apply.__doc__ = f"`torch.fft.{name}`."
    return apply


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    rule(f"fft_{_name}", "linear", getattr(torch.fft, _name))(_along_one_axis(_name))
    rule(f"fft_{_name}2", "linear", getattr(torch.fft, f"{_name}2"))(_along_axes(f"{_name}2", (-2, -1)))
    rule(f"fft_{_name}n", "linear", getattr(torch.fft, f"{_name}n"))(_along_axes(f"{_name}n", None))


def _shift(name: str) -> Callable:
    shift = getattr(torch.fft, name)

    def apply(x: Jet, dim: Any = None) -> Jet:
        return Jet._of(shift(x.rows, axes(dim, x.dim())), x.basis)

    apply.__doc__ = f"`torch.fft.{name}`."
    return apply


for _name in ("fftshift", "ifftshift"):
    rule(f"fft_{_name}", "linear", getattr(torch.fft, _name))(_shift(_name))


def _windowed(name: str) -> Callable:
    transform, kept = getattr(torch, name), 1 if name == "stft" else 2

    def apply(x: Jet, n_fft: int, *args: Any, **kwargs: Any) -> Jet:
        if not is_jet(x) or any(is_jet(a) for a in (*args, *kwargs.values())):
            raise TypeError(f"{name} with a jet as its window has no rule; only its input may be a jet")
        batch = x.rows.shape[: x.rows.dim() - kept]
        out = transform(x.rows.reshape(-1, *x.rows.shape[-kept:]), n_fft, *args, **kwargs)
        return Jet._of(out.reshape(*batch, *out.shape[1:]), x.basis)

    apply.__doc__ = f"`torch.{name}`: rows join the batch."
    return apply


rule("stft", "linear")(_windowed("stft"))
rule("istft", "linear")(_windowed("istft"))

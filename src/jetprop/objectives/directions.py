"""Random directions of the input space, in classes by spatial frequency, as a fixed bank that is rolled each epoch."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["CLASSES", "ImageDirections", "Mixture", "blurred_noise", "blurring"]

Mixture = Sequence[tuple[float, int]]
"""Pairs (weight, blur radius r): the direction is Σ weight · 𝒰(r), normalised."""

CLASSES: dict[str, Mixture] = {
    "low": ((1.0, 15), (1.0, 8), (0.4, 2), (0.2, 1)),
    "mid": ((1.0, 2), (1.0, 1)),
    "high": ((1.0, 0),),
}
"""The classes of section 3.5.1; D_low looks like an adversarial gradient."""

CHUNK = 256
"""Directions drawn from one state of the generator: direction i is a function of (seed, class, shape, i) alone."""


def blurring(size: int, radius: int) -> Tensor:
    """The 'valid' convolution with one factor of the Gaussian matrix, as a band matrix, `[size, size + 2 radius]`.

        G_ij(r) = g_i g_j,   g_i = exp(−2/r² (i − r − 1)²) / Σ, i = 1 … 2r + 1

    so that `blurring(h, r) @ U @ blurring(w, r).T` is U ⊗ G(r). r = 0 leaves U as it is.

    Example:
        >>> from jetprop.objectives.directions import blurring
        >>> blurring(2, 1)                                       # e⁻² : 1 : e⁻², normalised
        tensor([[0.1065, 0.7870, 0.1065, 0.0000],
                [0.0000, 0.1065, 0.7870, 0.1065]])
    """
    i = torch.arange(-radius, radius + 1, dtype=torch.float64)
    g = torch.exp(-2 / max(radius, 1) ** 2 * i**2)
    band = torch.zeros(size, size + 2 * radius, dtype=torch.float64)
    for j, weight in enumerate((g / g.sum()).tolist()):
        band.diagonal(j)[:size] += weight
    return band.to(torch.float32)


def blurred_noise(count: int, shape: Sequence[int], radius: int, generator: torch.Generator | None = None) -> Tensor:
    """𝒰(r): white noise without frequencies above about 1/r, of norm 1.

        𝒰(r) = U ⊗ G(r) / ‖U ⊗ G(r)‖

    with U standard normal, larger than the image by r on each side. The last two axes of the shape are blurred (the
    only one of a vector); the others are channels, independent and normalised together.

    Args:
        count: how many.
        shape: of one image, `[…, H, W]` or `[P]`.
        radius: r ≥ 0, pixels; 0 is white noise.
        generator: of the CPU.

    Returns:
        `[count, *shape]`, float32, on the CPU.

    Source:
        avrutskiy2023, section 3.5.1.

    Example:
        >>> import torch
        >>> from jetprop.objectives.directions import blurred_noise
        >>> blurred_noise(3, (41, 41), 15, torch.Generator().manual_seed(0)).flatten(1).norm(dim=1)
        tensor([1.0000, 1.0000, 1.0000])
    """
    *channels, width = shape
    blurred = min(2, len(shape))
    grown = [*channels, width]
    for axis in range(len(grown) - blurred, len(grown)):
        grown[axis] += 2 * radius
    noise = torch.randn(count, *grown, generator=generator)
    if radius:
        noise = noise @ blurring(width, radius).T
        if blurred == 2:
            noise = blurring(shape[-2], radius) @ noise
    return _unit(noise)


@dataclass(frozen=True, eq=False)
class ImageDirections:
    """Directions D of one class, ‖D‖ = 1: a bank drawn once, from which sample k in epoch e takes number (k + e) mod B.

    So every sample meets another direction in each epoch, and each direction another sample. The bank is the same for
    every batch size, number of processes and device (it is drawn on the CPU).

    Args:
        kind: "low", "mid", "high", or a name of your own, with a mixture.
        shape: of one image, `[…, H, W]` or `[P]`.
        count: B ≥ 1, directions in the bank; it takes 4 bytes for each pixel of each, 28 MB for 4096 of 41 × 41 pixels.
            With fewer directions than samples, samples B numbers apart share one; with more than epochs no sample ever
            meets one again.
        seed: of the bank.
        device: where it lies.
        mixture: pairs (weight, blur radius); by default that of `CLASSES[kind]`.

    Raises:
        ValueError: the class is unknown and has no mixture, or a number is out of range.

    Source:
        avrutskiy2023, section 3.5.1; "cyclically shifted after each epoch", 3.5.2.

    Example:
        >>> import torch
        >>> from jetprop.objectives import ImageDirections
        >>> low = ImageDirections("low", (41, 41), count=300)
        >>> today, tomorrow = low(torch.tensor([5, 6])), low(torch.tensor([5, 6]), epoch=1)
        >>> today.shape, torch.equal(today[1], tomorrow[0])
        (torch.Size([2, 41, 41]), True)
    """

    kind: str
    shape: tuple[int, ...]
    count: int = 4096
    seed: int = 0
    device: torch.device | str = "cpu"
    mixture: Mixture | None = None
    bank: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        mixture = mixture_of(self.kind, {} if self.mixture is None else {self.kind: self.mixture})
        shape = tuple(int(n) for n in self.shape)
        if not shape or any(n < 1 for n in shape):
            raise ValueError(f"the shape of an image has at least one axis, each of length ≥ 1; got {self.shape}")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"the count of directions is an integer ≥ 1, got {self.count!r}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "mixture", tuple((float(w), int(r)) for w, r in mixture))
        bank = torch.empty(self.count, *shape, device=self.device)
        for at in range(0, self.count, CHUNK):
            bank[at : at + CHUNK] = self._drawn(at // CHUNK)[: self.count - at]
        object.__setattr__(self, "bank", bank)

    def __call__(self, numbers: Tensor, epoch: int = 0) -> Tensor:
        """The directions of samples in an epoch, `[n, *shape]`.

        Args:
            numbers: of the samples, `[n]`, integers.
            epoch: by how many places the bank is rolled.
        """
        return self.bank.index_select(0, (numbers.to(self.bank.device) + epoch) % self.count)

    def _drawn(self, chunk: int) -> Tensor:
        # torch's generator on the CPU takes 32 bits of a seed: they are hashed, so that no two uses share a stream.
        name = f"{self.kind} {self.mixture} {self.shape} {self.seed} {chunk}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.blake2b(name, digest_size=4).digest()))
        assert self.mixture is not None
        return _unit(sum(w * blurred_noise(CHUNK, self.shape, r, generator) for w, r in self.mixture))  # type: ignore[arg-type]


def mixture_of(kind: str, own: Mapping[str, Mixture] | None = None) -> Mixture:
    """The mixture of a class: one of your own, or of `CLASSES`.

    Raises:
        ValueError: there is no such class, or the mixture is malformed.
    """
    known = {**CLASSES, **(own or {})}
    if kind not in known:
        close = difflib.get_close_matches(kind, known, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise ValueError(
            f'there is no class of directions "{kind}"{hint} Known: {", ".join(known)}; give a mixture for another one'
        )
    mixture = [tuple(pair) for pair in known[kind]]
    if not mixture or any(
        len(pair) != 2 or not (math.isfinite(pair[0]) and pair[0] > 0) or pair[1] < 0 or int(pair[1]) != pair[1]
        for pair in mixture
    ):
        raise ValueError(f'the mixture of "{kind}" is {mixture}; write pairs (weight > 0, blur radius, an integer ≥ 0)')
    return [(float(w), int(r)) for w, r in mixture]


def _unit(images: Tensor) -> Tensor:
    return images / torch.linalg.vector_norm(images, dim=tuple(range(1, images.dim())), keepdim=True)

"""A manifold learned from images: the decoder of a smooth autoencoder."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from jetprop.manifolds.generator import Coordinates, Generator
from jetprop.manifolds.sequences import check_count

__all__ = ["Autoencoder", "AutoencoderFit", "Decoder", "train_autoencoder"]


class Autoencoder(nn.Module):
    """Images to codes and back, by two multilayer perceptrons of a smooth activation.

    Args:
        image_shape: of one image.
        latent: numbers in a code.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.

    Example:
        >>> import torch
        >>> from jetprop.manifolds.autoencoder import Autoencoder
        >>> model = Autoencoder((8, 8), latent=3, hidden=(16,))
        >>> model.encoder(torch.zeros(5, 8, 8)).shape, model(torch.zeros(5, 8, 8)).shape
        (torch.Size([5, 3]), torch.Size([5, 8, 8]))
    """

    def __init__(self, image_shape: tuple[int, ...], latent: int, hidden: tuple[int, ...] = (256, 128)) -> None:
        super().__init__()
        widths = (math.prod(image_shape), *hidden, latent)
        for k, width in enumerate(widths):
            check_count(f"width {k}", width, 1)
        self.encoder = nn.Sequential(nn.Flatten(), *_perceptron(widths))
        self.decoder = nn.Sequential(*_perceptron(widths[::-1]), nn.Unflatten(1, tuple(image_shape)))

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction, `[n, *image]`."""
        return self.decoder(self.encoder(images))


class AutoencoderFit(NamedTuple):
    """What training an autoencoder came to.

    Args:
        model: the trained autoencoder, in eval mode.
        losses: mean squared error per pixel over each epoch.
        status: "finished", or "diverged" where the loss was no longer finite; the model is then that of the epoch
            before.
    """

    model: Autoencoder
    losses: list[float]
    status: Literal["finished", "diverged"]


def train_autoencoder(
    images: Tensor,
    latent: int = 8,
    hidden: tuple[int, ...] = (256, 128),
    *,
    epochs: int = 200,
    batch: int = 64,
    rate: float = 2e-3,
    jitter: float = 0.05,
    seed: int = 0,
) -> AutoencoderFit:
    """Train an autoencoder to reconstruct images: mean squared error, Adam, a cosine schedule.

    Args:
        images: `[n, *image]`, floating point, on the device where training runs.
        latent: numbers in a code.
        hidden: widths of the hidden layers.
        epochs: passes over the images, the cap of the loop.
        batch: images a step.
        rate: learning rate at the start; it falls to zero.
        jitter: standard deviation of the noise that is added to codes in training, relative to their spread over the
            batch. It keeps neighbouring codes at similar images, so that the decoder is smooth between them.
        seed: of weights, order and jitter.

    Raises:
        ValueError: images are not finite floating-point `[n, *image]`, or an option is out of range.

    Example:
        >>> from jetprop.data import digits
        >>> from jetprop.manifolds.autoencoder import train_autoencoder
        >>> fit = train_autoencoder(digits().images[:200], latent=4, hidden=(32,), epochs=3)
        >>> fit.status, fit.losses[-1] < fit.losses[0]
        ('finished', True)
    """
    if images.dim() < 2 or not len(images) or not images.is_floating_point() or not bool(images.isfinite().all()):
        raise ValueError(
            f"images are finite floating-point numbers [n, *image], got {images.dtype} {list(images.shape)}"
        )
    for name, count in (("latent", latent), ("epochs", epochs), ("batch", batch)):
        check_count(name, count, 1)
    if not (math.isfinite(rate) and rate > 0 and math.isfinite(jitter) and jitter >= 0):
        raise ValueError(f"rate is > 0 and jitter ≥ 0, both finite; got {rate!r} and {jitter!r}")
    random = torch.Generator(images.device).manual_seed(seed)
    with torch.random.fork_rng([images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        model = Autoencoder(tuple(images.shape[1:]), latent, hidden).to(images)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    steps = epochs * math.ceil(len(images) / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    for _ in range(epochs):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        total = images.new_zeros(())
        for chosen in torch.randperm(len(images), generator=random, device=images.device).split(batch):
            codes = model.encoder(images[chosen])
            spread = codes.detach().std(0, unbiased=False)
            noise = torch.randn(codes.shape, generator=random, dtype=codes.dtype, device=codes.device)
            loss = (model.decoder(codes + jitter * spread * noise) - images[chosen]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(chosen)
        if not math.isfinite(float(total)):
            model.load_state_dict(before)
            return AutoencoderFit(model.eval(), losses, "diverged")
        losses.append(float(total) / len(images))
    return AutoencoderFit(model.eval(), losses, "finished")


class Decoder(Generator):
    """The images that a decoder makes, at and around the codes of given images (a `Charted` manifold).

    Degrees of freedom are the numbers of the code. Poses are the codes of the given images in their order: images as
    the autoencoder has seen them, not points of a box, most of which no image is encoded to. As everywhere, `render`
    takes any code. The target is the code, or what `target` makes of it.

    Args:
        model: an autoencoder, or anything with `encoder` and `decoder`, modules from images to codes `[n, d]` and back.
        images: `[n, *image]`, whose codes are the poses.
        target: as of `Generator`.

    Raises:
        ValueError: fewer than two images, or codes that do not differ.

    Source:
        avrutskiy2023, section 6.
    """

    def __init__(self, model: Any, images: Tensor, target: Any = None) -> None:
        self.encoder = model.encoder
        self.codes = torch.empty(0)
        with torch.no_grad():
            codes = self.encode(images).theta
        ends = list(zip(codes.amin(0).tolist(), codes.amax(0).tolist(), strict=True))
        super().__init__(model.decoder, {f"z{k}": end for k, end in enumerate(ends)}, target)
        self.codes = codes

    def encode(self, images: Tensor) -> Coordinates:
        """The encoder's codes of images: where a search for the nearest point of the manifold may start."""
        place = next(iter(self.encoder.parameters()))
        with torch.no_grad():
            return Coordinates(self.encoder(images.to(place)).to(images.device))

    def poses(self, n: int, start: int = 0, device: torch.device | str | None = None) -> Coordinates:
        """The codes of images number `start`, …, `start + n - 1`.

        Raises:
            ValueError: there are not so many images.
        """
        check_count("n", n, 1)
        check_count("start", start, 0)
        if start + n > len(self.codes):
            raise ValueError(f"this manifold has the codes of {len(self.codes)} images, got n={n} from start={start}")
        return Coordinates(self.codes[start : start + n].to(device))


def _perceptron(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]
    return layers[:-1]

"""Gradients of a network with respect to its image, one for each output and each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Progress", "check_gradients", "gradients", "network_values", "value_and_gradients"]

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` with numbers of samples, after each chunk."""


def gradients(model: nn.Module, image: Tensor, *, chunk: int = 512, progress: Progress | None = None) -> Tensor:
    """∇N_a for every output a, by reverse mode: one forward and A backward passes a chunk.

    The model is taken in evaluation mode, and its mode is put back afterwards.

    Args:
        model: takes images `[batch, *image]`, returns outputs `[batch, A]`; sample b of the output depends on sample b
            of the image alone.
        image: `[batch, *image]`; taken to the dtype and the device of the model's first parameter.
        chunk: how many samples at a time.
        progress: told how far it is.

    Returns:
        `[batch, A, *image]`, units of the output · intensity⁻¹, in the model's dtype. No autograd graph.

    Raises:
        ValueError: the output is not `[batch, A]`, does not depend on the image in autograd's eyes, mixes the samples
            of a batch, or a gradient holds NaN or infinity.

    Source:
        avrutskiy2023, sections 2.5 and 3.3.

    Example:
        >>> import torch
        >>> from jetprop.robustness import gradients
        >>> model = torch.nn.Linear(4, 3)
        >>> torch.equal(gradients(model, torch.rand(5, 4))[2], model.weight)
        True
    """
    return value_and_gradients(model, image, chunk=chunk, progress=progress)[1]


def value_and_gradients(
    model: nn.Module, image: Tensor, *, chunk: int = 512, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """N, `[batch, A]`, and what `gradients` gives, from the same forward pass."""
    if image.dim() < 2 or image.shape[0] == 0:
        raise ValueError(f"images are [batch, *image] with at least one sample, got {list(image.shape)}")
    if chunk < 1:
        raise ValueError(f"chunk is the number of samples at a time, ≥ 1; got {chunk!r}")
    image = _as_parameters(model, image)
    values, found = [], []
    with _in_evaluation(model):
        for start in range(0, len(image), chunk):
            value, gradient = _chunk(model, image[start : start + chunk], check=start == 0)
            values.append(value)
            found.append(gradient)
            if progress is not None:
                progress(min(start + chunk, len(image)), len(image))
    return torch.cat(values), check_gradients(torch.cat(found), "the network's")


def network_values(model: nn.Module, image: Tensor, *, chunk: int = 512) -> Tensor:
    """N, `[batch, A]`, float64, where the images lie; in evaluation mode, without an autograd graph."""
    with torch.no_grad(), _in_evaluation(model):
        parts = [model(_as_parameters(model, part)) for part in image.split(chunk)]
    return torch.cat(parts).to(image.device, torch.float64)


def check_gradients(gradient: Tensor, whose: str) -> Tensor:
    """Refuse gradients `[batch, A, *image]` that are not finite; the message names the samples."""
    if not bool(gradient.sum().isfinite()):  # the sum is cheap, but may overflow
        bad = (~gradient.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"{whose} gradients hold NaN or infinity at {len(bad)} of {len(gradient)} samples: {bad[:8]}"
                f"{' …' if len(bad) > 8 else ''}; leave them out, or look for what makes them so"
            )
    return gradient


def _chunk(model: nn.Module, image: Tensor, check: bool) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x = image.clone().requires_grad_()
        y = model(x)
    if not isinstance(y, Tensor) or y.dim() != 2 or len(y) != len(x):
        what = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"the model must return outputs [{len(x)}, A] for images {list(x.shape)}, it returned {what}")
    if not y.requires_grad:
        raise ValueError(
            "the model's output does not depend on the image as far as autograd sees: does it detach its input, or run "
            "under no_grad?"
        )

    def backward(weights: Tensor, keep: bool) -> Tensor:
        (gradient,) = torch.autograd.grad(y, x, weights, retain_graph=keep, allow_unused=True)
        return torch.zeros_like(x) if gradient is None else gradient

    first = torch.zeros_like(y)
    first[0] = 1
    if check and len(x) > 1 and bool(backward(first, True)[1:].nan_to_num(0, 0, 0).any()):
        raise ValueError(
            "the model mixes the samples of a batch: its output for sample 0 depends on other samples, so there is no "
            "gradient for one image; is there a batch normalisation without running statistics?"
        )
    last = y.shape[1] - 1
    rows = [backward(unit.expand_as(y), a < last) for a, unit in enumerate(torch.eye(last + 1).to(y))]
    return y.detach(), torch.stack(rows, dim=1)


def _as_parameters(model: nn.Module, image: Tensor) -> Tensor:
    """The image, in the dtype and on the device of the model's first parameter."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return image.detach() if parameter is None else image.detach().to(parameter.device, parameter.dtype)


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True

"""From a recipe to the objects that it names: manifold, source, test set; and the checks before training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from jetprop.jets import Jet
from jetprop.manifolds import Cube, Manifold
from jetprop.training.config import DataConfig, Recipe, RecipeError
from jetprop.training.data import Batch, Fresh, Rendered, Source, Stored
from jetprop.training.evaluation import HeldOut
from jetprop.training.models import MLP
from jetprop.training.named import load_named

__all__ = ["check_model", "dtype_of", "open_manifold", "open_source", "open_test", "prepare_model"]

FRESH_MEASURED = 4096
"""Fresh poses on which normalizers and standard deviations are measured, or `[data] images` if they are fewer."""


def dtype_of(recipe: Recipe) -> torch.dtype:
    """The dtype of weights and data."""
    return torch.float64 if recipe.training.precision == "64-true" else torch.float32


def open_manifold(config: DataConfig) -> Manifold:
    """The manifold that `[data]` names.

    Raises:
        RecipeError: there is no such manifold, or it does not take the options.

    Example:
        >>> from jetprop.training import DataConfig, open_manifold
        >>> open_manifold(DataConfig(options={"side": 0.3})).side
        0.3
    """
    named: Any
    if config.manifold == "cube":
        named = Cube
    elif ":" in config.manifold:
        named = load_named(config.manifold, "[data] manifold")
    else:
        raise RecipeError(f'[data] manifold = "{config.manifold}": write "cube", or "package.module:Class" of your own')
    try:
        manifold = named(**config.options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"[data] {config.manifold}(**{config.options}) fails: {error}; see [data.options]") from error
    if not isinstance(manifold, Manifold):
        raise RecipeError(
            f"[data] {config.manifold} made {type(manifold).__name__}, which is no manifold: it needs `dimension` and "
            "`sample`, see jetprop.manifolds.Manifold"
        )
    return manifold


def open_source(recipe: Recipe, device: torch.device | str = "cpu", manifold: Manifold | None = None) -> Source:
    """The source of batches that a recipe asks for.

    Args:
        recipe: `[data]`, and batch, seed and precision of `[training]`.
        device: where batches are wanted.
        manifold: instead of the one that `[data]` names.
    """
    data, training = recipe.data, recipe.training
    manifold = open_manifold(data) if manifold is None else manifold
    common: dict[str, Any] = {
        "start": data.start, "order": data.order, "seed": training.seed, "dtype": dtype_of(recipe), "device": device
    }  # fmt: skip
    if data.fresh:
        skip, measured = (data.test_start, data.test_images), min(data.images, FRESH_MEASURED)
        return Fresh(manifold, training.batch, measured=measured, skip=skip, **common)
    if data.storage == "render":
        return Rendered(manifold, data.images, training.batch, **common)
    return Stored.of(manifold, data.images, training.batch, **common)


def open_test(recipe: Recipe, device: torch.device | str = "cpu", manifold: Manifold | None = None) -> HeldOut | None:
    """The test set that a recipe asks for; None for `test_images = 0`."""
    data = recipe.data
    if data.test_images == 0:
        return None
    manifold = open_manifold(data) if manifold is None else manifold
    keep = data.storage == "memory"
    return HeldOut.of(manifold, data.test_images, data.test_start, dtype=dtype_of(recipe), device=device, keep=keep)


def prepare_model(model: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """A model on the device of the run, in its dtype.

    Raises:
        ValueError: its parameters lie on several devices or on none, or it is in float64 and the precision is not.
    """
    places = {str(t.device) for t in (*model.parameters(), *model.buffers())}
    if len(places) > 1 or "meta" in places:
        raise ValueError(
            f"the model's parameters and buffers lie on {', '.join(sorted(places))}; put all of them on one device, "
            f"e.g. model.to({str(device)!r}), before training"
        )
    dtype = dtype_of(recipe)
    other = next(
        (f"{n} is {p.dtype}" for n, p in model.named_parameters() if p.dtype not in (torch.float32, dtype)), None
    )
    if other is not None:
        raise ValueError(
            f"{other}, [training] precision = {recipe.training.precision!r} trains {dtype} weights; convert the model "
            f"with model.to({dtype}), or change the precision"
        )
    return model.to(device, dtype)


@torch.no_grad()
def check_model(model: nn.Module, batch: Batch) -> None:
    """Push two samples through, so that what does not fit fails before anything is trained, and says so.

    Raises:
        ValueError: the model does not take such inputs, or its outputs are not like the targets.
        MissingRuleError: an operation of the model has no jet rule.
    """
    inputs, targets = (Jet._of(jet.rows[:, :2], jet.basis) for jet in (batch.inputs, batch.targets))
    place = next(iter(model.parameters())).device
    if place != inputs.device:
        raise ValueError(
            f"the model lies on {place}, the source hands out batches on {inputs.device}; put both on one device"
        )
    shape, features = list(inputs.shape[1:]), inputs.shape[1:].numel()
    if isinstance(model, MLP) and model.widths[0] != features:
        raise ValueError(
            f"[model] widths begins with {model.widths[0]}, but one input is {shape}, {features} values; set widths = "
            f"{[features, *model.widths[1:]]}"
        )
    was_training = model.training
    model.eval()
    try:
        found = model(inputs.value) if inputs.basis.order == 0 else model(inputs)
    except NotImplementedError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"the model does not take inputs of shape {[2, *shape]} ({inputs.dtype}) with {len(inputs.basis)} rows: "
            f"{error}"
        ) from error
    finally:
        model.train(was_training)
    expected = torch.Tensor if inputs.basis.order == 0 else Jet
    if not isinstance(found, expected):
        raise ValueError(
            f"the model returned {type(found).__name__} for a {expected.__name__}; it must return one "
            f"{expected.__name__}, like the targets, {list(targets.shape[1:])} for each sample"
        )
    if found.shape != targets.shape:
        fix = f"; set widths = {[*model.widths[:-1], targets.shape[1]]}" if isinstance(model, MLP) else ""
        raise ValueError(
            f"the model's output is {list(found.shape[1:])} for each sample, the target is "
            f"{list(targets.shape[1:])}{fix}"
        )

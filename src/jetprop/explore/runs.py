"""Trained runs in a folder: which of them are networks of cubes, and what has to be known to show them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from jetprop.experiments.demo import NETWORKS
from jetprop.manifolds import Cube
from jetprop.training import CheckpointError, Recipe, RecipeError, load_model

__all__ = ["Run", "Runs", "find_runs"]

SIDE_BY_SIDE = 4
"""How many networks of one folder are compared on the page."""

OUTPUTS = 9


@dataclass(frozen=True, eq=False)
class Run:
    """A trained network of images of cubes.

    Args:
        name: for the page, unique among the runs found.
        short: without what all of its folder have in common.
        path: its folder.
        recipe: what it was trained by.
    """

    name: str
    short: str
    path: Path
    recipe: Recipe

    @cached_property
    def cube(self) -> Cube:
        """The manifold that it was trained on."""
        return Cube(**self.recipe.data.options)

    @cached_property
    def network(self) -> nn.Module:
        """The network, in evaluation mode.

        Raises:
            CheckpointError: the weights cannot be read.
            ValueError: it does not take the cube's images, or does not answer with nine numbers.
        """
        model = load_model(self.path)
        raster = self.cube.raster
        image = torch.zeros(1, raster.rows, raster.columns, dtype=next(model.parameters()).dtype)
        try:
            with torch.no_grad():
                found = tuple(model(image).shape)
        except RuntimeError as error:
            raise ValueError(
                f"{self.path}: the network does not take images of {raster.rows} × {raster.columns} pixels: {error}"
            ) from error
        if found != (1, OUTPUTS):
            raise ValueError(f"{self.path}: a cube is described by {OUTPUTS} outputs, the network gives {found[1:]}")
        return model

    @cached_property
    def deviation(self) -> Tensor:
        """σ of (3), the standard deviations of the outputs over the poses trained on, `[9]`, float64."""
        data = self.recipe.data
        return self.cube.outputs(self.cube.poses(data.images, data.start)).std(0, unbiased=False)


@dataclass(frozen=True, eq=False)
class Runs:
    """What a folder holds.

    Args:
        found: the runs that can be shown, at least one.
        left_out: those that cannot, and why.
    """

    found: list[Run]
    left_out: dict[str, str] = field(default_factory=dict)

    def named(self, name: str) -> Run:
        """A run by its name; the first for "".

        Raises:
            ValueError: there is none of this name.
        """
        for run in self.found:
            if name in (run.name, ""):
                return run
        raise ValueError(f"there is no run {name!r}, only {', '.join(repr(run.name) for run in self.found)}")

    def beside(self, run: Run) -> list[Run]:
        """The runs that are compared: this one and others of its folder with the same cube, in their order."""
        family = [r for r in self.found if r.path.parent == run.path.parent and r.cube == run.cube]
        place = family.index(run)
        first = max(0, min(place - SIDE_BY_SIDE + 1, len(family) - SIDE_BY_SIDE))
        return family[first : first + SIDE_BY_SIDE]


def find_runs(folder: Path) -> Runs:
    """All runs in a folder, at any depth; or the one whose folder it is.

    Args:
        folder: where to look, for instance `runs`.

    Raises:
        ValueError: there is none that can be shown; the message says why, and how to make one.

    Example:
        >>> from pathlib import Path
        >>> from jetprop.explore import find_runs
        >>> find_runs(Path("nowhere"))
        Traceback (most recent call last):
        ...
        ValueError: there is no folder nowhere. Make the demonstration's networks with `jetprop demo`...
    """
    remedy = "Make the demonstration's networks with `jetprop demo` (six minutes), or name the folder of other runs"
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}. {remedy}")
    places = sorted({path.parent for path in folder.rglob("recipe.json")})
    common = Path(os.path.commonpath([place.parent for place in places])) if places else folder
    found, left_out = [], {}
    for place in places:
        above, short = place.parent.relative_to(common).parts, _short(place)
        try:
            found.append(Run(" / ".join((*above, short)), short, place, _recipe(place)))
        except (ValueError, TypeError, OSError, CheckpointError) as error:
            left_out[" / ".join((*above, short))] = str(error)
    if not found:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in left_out.items())
        why = f"none of the runs in {folder} can be shown:{reasons}\n" if reasons else f"there is no run in {folder}. "
        raise ValueError(why + remedy)
    return Runs(found, left_out)


def _short(place: Path) -> str:
    """The name of the folder; the demonstration's networks have names of their own."""
    demonstrated = {f"demo-{order}": name for order, name in enumerate(NETWORKS)}
    return demonstrated.get(place.name, place.name or place.resolve().name)


def _recipe(place: Path) -> Recipe:
    """The recipe of a run of cubes that has weights."""
    if not (place / "model.safetensors").exists() and not list((place / "checkpoints").glob("*.safetensors")):
        raise CheckpointError(f"{place} holds no weights yet")
    values = json.loads((place / "recipe.json").read_text(encoding="utf-8"))
    recipe = Recipe.build(values, source=f"the recipe in {place}")
    if recipe.data.manifold != "cube":
        raise RecipeError(f"trained on the manifold {recipe.data.manifold!r}; this page shows cubes only")
    raster = Cube(**recipe.data.options).raster
    pixels = raster.rows * raster.columns
    widths = recipe.model.widths if recipe.model is not None and recipe.model.kind == "mlp" else []
    if recipe.model is None:
        raise RecipeError("trained with a network of the caller's own, which its folder does not describe")
    if widths and (widths[0] != pixels or widths[-1] != OUTPUTS):
        raise RecipeError(
            f"widths {widths}: the cube's images have {pixels} pixels and a cube is described by {OUTPUTS} outputs"
        )
    return recipe

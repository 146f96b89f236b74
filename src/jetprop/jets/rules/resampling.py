"""Resampling of images: interpolation, shuffles of pixels, patches, unpooling, sampling on grids. All are linear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from jetprop.jets.dispatch import rule, spell
from jetprop.jets.jet import Jet
from jetprop.jets.rules.linear import spatial
from jetprop.jets.rules.operands import axis, is_jet

__all__: list[str] = []


@rule("interpolate", "linear")
def interpolate(x: Jet, *args: Any, **kwargs: Any) -> Jet:
    """Resized images, in every mode, each linear in the values; rows join the batch."""
    return spatial(F.interpolate, x.dim() - 2)(x, *args, **kwargs)


def _on_images(name: str) -> Callable:
    """An operation on the last three axes, whatever comes before."""
    operation = getattr(torch, name)

    def apply(x: Jet, *args: Any, **kwargs: Any) -> Jet:
        if x.dim() < 3:
            raise ValueError(f"{name}: expected a value [*, C, H, W], got shape {tuple(x.shape)}")
        return Jet._of(operation(x.rows, *args, **kwargs), x.basis)

    return apply


for _name in ("pixel_shuffle", "pixel_unshuffle"):
    rule(_name, "selection")(_on_images(_name))


@rule("channel_shuffle", "selection", "native_channel_shuffle")
def channel_shuffle(x: Jet, groups: int) -> Jet:
    """The channels (axis 1) of several groups in turn."""
    if x.dim() < 3 or groups < 1 or x.shape[1] % groups:
        raise ValueError(
            f"channel_shuffle: expected a value [N, C, …] with C a multiple of groups={groups}, "
            f"got shape {tuple(x.shape)}"
        )
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


@rule("unfold", "selection")
def unfold(x: Jet, dimension: int, size: int, step: int) -> Jet:
    """Windows along an axis, as a new last axis: the method of tensors."""
    return Jet._of(x.rows.unfold(axis(dimension, x.dim()), size, step), x.basis)


spell(F.unfold, rule("im2col", "linear")(spatial(F.unfold, 2)))  # the namesake in torch.nn.functional
rule("col2im", "linear", F.fold)(spatial(F.fold, 1))


def _unpool(space: int) -> Callable:
    unpool = getattr(F, f"max_unpool{space}d")

    def apply(x: Jet, indices: Tensor, *args: Any, **kwargs: Any) -> Jet:
        everywhere = indices.expand(x.rows.shape[0], *indices.shape)
        if x.dim() == space + 2:
            everywhere = everywhere.flatten(0, 1)
        return spatial(lambda rows: unpool(rows, everywhere.contiguous(), *args, **kwargs), space)(x)

    return apply


for _space in (1, 2, 3):
    rule(f"max_unpool{_space}d", "linear")(_unpool(_space))


@rule("grid_sampler", "linear", "grid_sampler_2d", "grid_sampler_3d")
def grid_sampler(x: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Jet:
    """An image (or volume) sampled at the points of a grid, of which it is a linear function; rows join the channels.

    Raises:
        TypeError: the grid is a jet: where it crosses from pixel to pixel, slopes jump.
    """
    if is_jet(grid):
        raise TypeError(
            "grid_sampler: expected a constant grid, got a jet; interpolation is not differentiable where a point "
            "crosses from one pixel to the next. Take grid.value if the grid is meant to be constant"
        )
    channels = x.rows.movedim(0, 1).flatten(1, 2)
    out = torch.grid_sampler(channels, grid, interpolation_mode, padding_mode, align_corners)
    return Jet._of(out.unflatten(1, (len(x.basis), -1)).movedim(1, 0), x.basis)


@rule("affine_grid_generator", "linear")
def affine_grid_generator(theta: Jet, size: Any, align_corners: bool) -> Jet:
    """The grid of an affine map, linear in the map; rows join the batch."""
    count, batch = theta.rows.shape[:2]
    out = torch.affine_grid_generator(theta.rows.flatten(0, 1), [count * batch, *size[1:]], align_corners)
    return Jet._of(out.unflatten(0, (count, batch)), theta.basis)

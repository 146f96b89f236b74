"""What a run was made with."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from typing import Any

import torch

from jetprop import __version__
from jetprop.jets import compilation

__all__ = ["run_record"]

PACKAGES = ("torch", "lightning-fabric", "numpy", "safetensors", "pydantic")


def run_record(recipe: dict[str, Any], device: torch.device, world: int = 1) -> dict[str, Any]:
    """Configuration, seed, versions, device, precision and compilation, as plain values.

    Args:
        recipe: every key of it.
        device: of the first process.
        world: how many processes.
    """
    versions = {"python": platform.python_version(), "jetprop": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    cuda = device.type == "cuda"
    return {
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "recipe": recipe,
        "seed": recipe["training"]["seed"],
        "precision": recipe["training"]["precision"],
        "versions": versions,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device)
        if cuda
        else f"{device.type} ({platform.processor() or platform.machine()})",
        "processes": world,
        "threads": torch.get_num_threads(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "compilation": compilation(),
    }

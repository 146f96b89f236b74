"""Checkpoints: written whole or not at all, read without running code, the last two kept."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from jetprop.training.optimizers import Optimizers

__all__ = ["Checkpoint", "CheckpointError", "Checkpoints", "load_tensors", "save_tensors", "write_atomically"]

FORMAT = 1
KEEP = 2

log = logging.getLogger("jetprop")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, read, or used for this run."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        path: the file.
        tensors: of the model (`model.…`), the optimizers (`optimizer.…`), generators (`rng.…`) and the run's own.
        meta: plain values: format, step, recipe, seconds, ….
    """

    path: Path
    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def step(self) -> int:
        """How many steps had been made."""
        return int(self.meta["step"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without it."""
        return {name[len(prefix) + 1 :]: t for name, t in self.tensors.items() if name.startswith(prefix + ".")}

    def load_model(self, model: nn.Module) -> None:
        """Put the weights and buffers into a model of the same architecture.

        Raises:
            CheckpointError: names or shapes differ; says which.
        """
        held, own = self.part("model"), model.state_dict()
        faults = [f"{name} is not in the checkpoint" for name in own if name not in held]
        faults += [f"{name} is not in the model" for name in held if name not in own]
        faults += [
            f"{name} has shape {tuple(held[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
            for name in own
            if name in held and held[name].shape != own[name].shape
        ]
        if faults:
            raise CheckpointError(
                f"{self.path} belongs to another model: {'; '.join(faults[:6])}{' …' if len(faults) > 6 else ''}. Give "
                "the recipe that it was made with, or another folder"
            )
        model.load_state_dict(held)

    def load_optimizers(self, optimizers: Optimizers) -> None:
        """Put back the optimizers' state; their options are those of the recipe."""
        states = optimizers.state_dict()
        tensors = self.part("optimizer")
        dtypes = {tuple(name.split(".", 2)): tensor.dtype for name, tensor in tensors.items()}
        for number, state in enumerate(states):
            slots: dict[int, dict[str, Any]] = {}
            for name, tensor in tensors.items():
                member, parameter, key = name.split(".", 2)
                if int(member) == number:
                    slots.setdefault(int(parameter), {})[key] = tensor
            for member, parameter, key, value in self.meta["optimizer_values"]:
                if member == number:
                    slots.setdefault(parameter, {})[key] = value
            state["state"] = slots
        optimizers.load_state_dict(states)
        for number, member in enumerate(optimizers.members):  # torch has cast them to the dtype of the parameter
            parameters = [p for group in member.param_groups for p in group["params"]]
            for place, parameter in enumerate(parameters):
                for key, value in member.state.get(parameter, {}).items():
                    if isinstance(value, Tensor):
                        member.state[parameter][key] = value.to(dtypes[str(number), str(place), key])


class Checkpoints:
    """The checkpoints in a folder.

    Args:
        folder: made if it is not there.
        keep: how many are kept.
    """

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self.folder, self.keep = folder, keep

    def paths(self) -> list[Path]:
        """Every checkpoint, oldest first."""
        found = {
            int(m[1]): p for p in self.folder.glob("step-*.safetensors") if (m := re.search(r"step-(\d+)$", p.stem))
        }
        return [found[step] for step in sorted(found)]

    def latest(self) -> Checkpoint | None:
        """The newest one that can be read; None if there is none at all.

        Raises:
            CheckpointError: there are some, and none can be read.
        """
        paths = self.paths()
        faults = []
        for path in reversed(paths):
            try:
                return read(path)
            except CheckpointError as error:
                faults.append(str(error))
                log.warning("%s; trying the one before", error)
        if paths:
            raise CheckpointError("no checkpoint can be read: " + "; ".join(faults))
        return None

    def write(
        self, model: nn.Module, optimizers: Optimizers, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]
    ) -> Path:
        """Write one, named after its step, then drop those that are too old.

        Args:
            model: its weights and buffers are held.
            optimizers: their state is held.
            tensors: further ones, under their own names.
            meta: plain values; `step` is needed.

        Raises:
            CheckpointError: the disk is full or cannot be written; earlier checkpoints are intact then.
        """
        values: list[tuple[int, int, str, Any]] = []
        named: dict[str, Tensor] = dict(tensors)
        for name, value in model.state_dict().items():
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"{name} in the model's state is {type(value).__name__}; only tensors can be kept"
                )
            named[f"model.{name}"] = value
        for number, state in enumerate(optimizers.state_dict()):
            for parameter, slots in state["state"].items():
                for key, value in slots.items():
                    if isinstance(value, Tensor):
                        named[f"optimizer.{number}.{parameter}.{key}"] = value
                    else:
                        values.append((number, parameter, key, value))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{int(meta['step']):09d}.safetensors"
        save_tensors(path, named, {**meta, "format": FORMAT, "optimizer_values": values})
        for old in self.paths()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def clear(self) -> None:
        """Remove every checkpoint, and what interrupted writes have left."""
        for path in self.paths():
            path.unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove what interrupted writes have left."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


def read(path: Path) -> Checkpoint:
    """One checkpoint file, on the CPU.

    Raises:
        CheckpointError: the file is damaged, or of another format.
    """
    tensors, meta = load_tensors(path)
    if meta.get("format") != FORMAT:
        raise CheckpointError(f"{path} is of format {meta.get('format')}, this version reads {FORMAT}")
    return Checkpoint(path, tensors, meta)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Tensors and plain values in one safetensors file, written atomically.

    Raises:
        CheckpointError: the disk is full or cannot be written; what stood at `path` is intact then.
    """
    held = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    seen: set[int] = set()
    for name, t in held.items():  # the format has no aliases: tied weights are written twice
        if t.untyped_storage().data_ptr() in seen:
            held[name] = t.clone()
        seen.add(held[name].untyped_storage().data_ptr())
    try:
        text = json.dumps(dict(meta))
    except TypeError as error:
        raise CheckpointError(f"only plain values can be kept beside tensors: {error}") from error
    write_atomically(path, save(held, {"jetprop": text}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote; nothing in the file is executed.

    Raises:
        CheckpointError: the file is missing, damaged, or none of jetprop's.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            meta = json.loads((file.metadata() or {})["jetprop"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that after a kill or a power cut either the old or the new content stands there, whole.

    Raises:
        CheckpointError: the disk is full or cannot be written; says what is needed and what is free.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(_cannot_write(path, len(content), error)) from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, needed: int, error: OSError) -> str:
    message = f"{path} cannot be written: {os.strerror(error.errno) if error.errno else error}. It needs {needed} bytes"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            message += f", {shutil.disk_usage(path.parent).free} are free"
        except OSError:
            pass
        message += "; free some space, or copy the folder to another disk"
    else:
        message += "; make the folder writable, or give another one"
    return message + ". What was written before is intact: run the same command again to resume from it"


def torch_generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators that training on a device draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `torch_generators` gave."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)

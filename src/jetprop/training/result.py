"""What a run leaves behind: its result, in memory and on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from jetprop.jets import compilation
from jetprop.training.assembly import dtype_of
from jetprop.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    Checkpoints,
    load_tensors,
    save_tensors,
    write_atomically,
)
from jetprop.training.config import Recipe
from jetprop.training.loop import Status, Trainer
from jetprop.training.models import build_model
from jetprop.training.progress import Entry, read_log

__all__ = ["Result", "as_json", "check_same_recipe", "load_model", "read_ended", "read_result", "write_result"]

FREE_TO_CHANGE = {
    "training.devices",
    "training.accelerator",
    "training.evaluate_every",
    "training.checkpoint_every",
    "training.checkpoint_seconds",
    "training.log_every",
    "training.compile",
    "training.threads",
    "data.storage",
}
"""Keys in which a resumed run may differ from its checkpoint: they do not change what is trained on."""

TEST_SET = {"data.test_images", "data.test_start"}
"""Keys that only say what is tested on, unless fresh poses have to avoid it."""


@dataclass(eq=False)
class Result:
    """What a run came to.

    Args:
        model: trained, in evaluation mode. After divergence: as the last good checkpoint has it, if there is one.
        status: "finished", "diverged" (a cost became NaN or infinite) or "stopped" (by a callback).
        message: why, if it is not "finished".
        metrics: `test_error` and `train_error`, e of (3) as fractions, and `loss`, `E0`, `E1`, … of the last entry of
            the log; those that there are.
        history: the entries of the log.
        steps: optimizer steps made, over all interruptions.
        seconds: on each account of `Clock`: preparation, warmup, training, evaluation, checkpoint; and their sum,
            total.
        record: configuration, seed, versions, device, precision, compilation, normalizers, standard deviations.
        out: the folder, if there is one.
    """

    model: nn.Module
    status: Status
    message: str
    metrics: dict[str, float]
    history: list[Entry]
    steps: int
    seconds: dict[str, float]
    record: dict[str, Any]
    out: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether the budget was spent and every cost was finite."""
        return self.status == "finished"


def load_model(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """The network of a run, on the CPU, in evaluation mode; no code in the files is executed.

    Args:
        path: the folder of the run (its result, or its last checkpoint if it has not ended), or one of its
            `.safetensors` files.
        model: an untrained network of the same architecture; by default the recipe of the run builds one.

    Raises:
        CheckpointError: there is nothing to load, or it belongs to another architecture.
    """
    path = Path(path)
    if path.is_dir():
        final = path / "model.safetensors"
        if not final.exists():
            paths = Checkpoints(path / "checkpoints").paths()
            if not paths:
                raise CheckpointError(
                    f"{path} holds neither model.safetensors nor checkpoints; is it the folder of a run?"
                )
            final = paths[-1]
        path = final
    tensors, meta = load_tensors(path)
    recipe = Recipe.build(meta["recipe"], source=f"the recipe in {path}")
    if model is None:
        if recipe.model is None:
            raise CheckpointError(
                f"{path} was trained with a network of the caller's own; hand one over: load_model(…, model)"
            )
        model = build_model(recipe.model, recipe.training.seed)
    model = model.to(dtype_of(recipe))
    Checkpoint(path, tensors, meta).load_model(model)
    return model.eval()


def write_result(trainer: Trainer, metrics: dict[str, float], record: dict[str, Any], place: Path) -> None:
    """Write `model.safetensors`, `record.json`, `log.jsonl` and `result.json` into a folder."""
    seconds = {account: round(value, 6) for account, value in trainer.clock.all().items()}
    record = {
        **record,
        "compilation": {
            **compilation(),
            "step": trainer.compile_fallback or ("compiled" if trainer.compiled else "eager"),
        },
        "normalizers": trainer.kept["normalizers"].tolist(),
        "deviation": trainer.kept["deviation"].flatten().tolist(),
    }
    held = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    save_tensors(place / "model.safetensors", held, {**trainer.meta, "step": trainer.step})
    if not (place / "log.jsonl").exists():
        write_atomically(place / "log.jsonl", "".join(json.dumps(e) + "\n" for e in trainer.history).encode())
    write_atomically(place / "record.json", as_json(record))
    result = {
        "status": trainer.status,
        "message": trainer.message,
        "metrics": metrics,
        "steps": trainer.step,
        "seconds": {**seconds, "total": round(sum(seconds.values()), 6)},
        "record": record,
    }
    write_atomically(place / "result.json", as_json(result))


def check_same_recipe(held: dict[str, Any], recipe: Recipe, path: Path) -> None:
    """Refuse to go on with a run of another recipe.

    Args:
        held: the recipe in the checkpoint.
        recipe: the recipe to go on with; it may differ in what does not change the training.
        path: of the checkpoint.

    Raises:
        CheckpointError: names every key that differs.
    """
    old, new = _flat(held), _flat(recipe.values())
    free = FREE_TO_CHANGE if recipe.data.fresh else FREE_TO_CHANGE | TEST_SET
    differing = [key for key in sorted(old.keys() | new.keys()) if key not in free and old.get(key) != new.get(key)]
    if differing:
        listed = "; ".join(f"{key} is {old.get(key)!r} there and {new.get(key)!r} here" for key in differing)
        raise CheckpointError(
            f"{path} belongs to another recipe: {listed}. Give another folder, or start anew with resume=False"
        )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        k: v for key, inner in values.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }


def read_ended(folder: Path, recipe: Recipe, model: nn.Module | None) -> Result | None:
    """The result of a run that has ended already."""
    path = folder / "result.json"
    if not path.exists():
        return None
    held = json.loads(path.read_text(encoding="utf-8"))
    if held["status"] == "stopped":
        return None
    check_same_recipe(held["record"]["recipe"], recipe, path)
    old, new = _flat(held["record"]["recipe"]), _flat(recipe.values())
    if any(old[key] != new[key] for key in TEST_SET):
        return None  # the last checkpoint is tested anew
    return read_result(folder, folder, model, load=True)


def read_result(place: Path, out: Path | None, model: nn.Module | None, load: bool) -> Result:
    """What `write_result` wrote.

    Args:
        place: the folder that holds it.
        out: the folder of the run, if it has one.
        model: to load the weights into; None builds one from the recipe.
        load: False if the model is the trained one itself.
    """
    held = json.loads((place / "result.json").read_text(encoding="utf-8"))
    if load or model is None:
        model = load_model(place / "model.safetensors", model)
    return Result(
        model=model,
        status=held["status"],
        message=held["message"],
        metrics=held["metrics"],
        history=read_log(place / "log.jsonl"),
        steps=held["steps"],
        seconds=held["seconds"],
        record=held["record"],
        out=out,
    )


def as_json(values: Any) -> bytes:  # noqa: ANN401
    """Plain values as indented JSON."""
    return (json.dumps(values, indent=2) + "\n").encode()

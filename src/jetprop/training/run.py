"""`fit`: from a recipe to a trained network."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from jetprop.jets import compilation, compile_kernels
from jetprop.objectives import RandomDirections, Statistics, normalizers
from jetprop.training.assembly import check_model, open_manifold, open_source, open_test, prepare_model
from jetprop.training.checkpoint import Checkpoint, CheckpointError, Checkpoints, write_atomically
from jetprop.training.clock import Clock
from jetprop.training.config import RandomDirectionsConfig, Recipe, RecipeError
from jetprop.training.data import Source
from jetprop.training.evaluation import HeldOut
from jetprop.training.loop import Budget, Trainer
from jetprop.training.models import build_model
from jetprop.training.optimizers import build_optimizers
from jetprop.training.phases import plan_phases
from jetprop.training.progress import Callback, LogFile, ProgressBar, is_term
from jetprop.training.record import run_record
from jetprop.training.result import Result, as_json, check_same_recipe, read_ended, read_result, write_result
from jetprop.training.robust import RobustSetup
from jetprop.training.schedules import Schedule

__all__ = ["fit"]

MEASURED = ("normalizers", "deviation")
"""Tensors that every checkpoint keeps, beside the scales of robust terms."""


@dataclass
class _Run:
    """The arguments of `fit`, as every process gets them."""

    recipe: Recipe
    out: Path | None
    resume: bool
    model: nn.Module | None
    source: Source | None
    test: HeldOut | None
    callbacks: list[Callback] = field(default_factory=list)
    progress: bool = False


def fit(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    model: nn.Module | None = None,
    source: Source | None = None,
    test: HeldOut | tuple[Tensor, Tensor] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> Result:
    """Train a network as a recipe says.

    Nothing global is left changed: generators, default precision and the compilation mode of the engine are put back.
    With `devices` above 1, that many processes are spawned (a script then needs `if __name__ == "__main__":`), unless
    torchrun has started them.

    The folder `out` then holds `recipe.json`, `record.json`, `log.jsonl` (a line for each entry), `checkpoints/` (the
    last two), `model.safetensors` and, once the run has ended, `result.json`. A run that was killed goes on from its
    last checkpoint when it is called again; with a budget of steps or epochs its weights then are, bit for bit, those
    of a run without interruption on the same machine. A run that has ended is read back instead of run again.

    Args:
        recipe: a `Recipe`, nested dictionaries, or the path of a TOML or JSON file.
        out: a folder for this run; None keeps nothing on disk.
        resume: go on with what is in `out`; False starts anew and removes its checkpoints and log.
        model: a network of your own instead of `[model]`; it is trained itself (with several processes: a copy, whose
            weights it receives at the end).
        source: batches of your own instead of those of `[data]`; its batch size and order must agree with the recipe.
        test: a test set of your own, or a pair (inputs, targets).
        callbacks: called along the way.
        progress: whether to draw a progress bar; None draws one on a terminal.

    Returns:
        The model, its errors, and the record of the run.

    Raises:
        RecipeError: the recipe cannot be run.
        ValueError: model, source and recipe do not fit together; found before anything is trained.
        CheckpointError: `out` belongs to another recipe or model, or cannot be written.

    Example:
        >>> from jetprop.training import Recipe, fit
        >>> recipe = Recipe.parse('''
        ... model = {widths = [1681, 8, 9]}
        ... data = {images = 32, order = 1, test_images = 8}
        ... training = {batch = 16, steps = 4, accelerator = "cpu"}
        ... ''')
        >>> result = fit(recipe)
        >>> result.status, result.steps, sorted(result.metrics)
        ('finished', 4, ['E0', 'E1', 'loss', 'test_error', 'train_error'])
    """
    if isinstance(recipe, str | Path):
        recipe = Recipe.load(recipe)
    elif not isinstance(recipe, Recipe):
        recipe = Recipe.build(recipe)
    _check_given(recipe, model, source)
    if isinstance(test, tuple):
        test = HeldOut.tensors(*test)
    folder = None if out is None else Path(out)
    show = sys.stderr.isatty() if progress is None else progress
    if folder is not None:
        _make(folder)
        if resume and (ended := read_ended(folder, recipe, model)) is not None:
            return ended
    run = _Run(recipe, folder, resume, model, source, test, list(callbacks), show)
    external = "TORCHELASTIC_RUN_ID" in os.environ  # started by torchrun
    with tempfile.TemporaryDirectory() as exchange:
        place = folder or Path(exchange)
        if recipe.training.devices > 1 and not external:
            _fabric(recipe, "ddp_spawn").launch(_train_apart, run, place)  # type: ignore[arg-type]
            return read_result(place, folder, model, load=True)
        fabric = _fabric(recipe, "ddp" if external else "auto")
        if external:
            fabric.launch()
            place = Path(fabric.broadcast(str(place)))  # without a folder, the first process has made one for all
        trained = _train(fabric, run, place)
        result = read_result(place, folder, trained, load=False)
        fabric.barrier()
        return result


# ---- one process ----------------------------------------------------------------------------------------------------


def _train_apart(fabric: Fabric, run: _Run, place: Path) -> None:
    """What a process of its own does: results go through files, for a pipe would block on large ones."""
    try:
        _train(fabric, run, place)
    finally:
        torch.distributed.destroy_process_group()  # its threads must not outlive it


def _train(fabric: Fabric, run: _Run, place: Path) -> nn.Module:
    """Everything that one process does, from the recipe to the files of the result."""
    with ExitStack() as stack:
        devices = [fabric.device.index or 0] if fabric.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(_settings(run.recipe))
        return _train_inside(fabric, run, place)


def _train_inside(fabric: Fabric, run: _Run, place: Path) -> nn.Module:
    recipe, device = run.recipe, fabric.device
    clock = Clock(
        lambda: torch.cuda.synchronize(device) if device.type == "cuda" else None,
        {"wall": time.perf_counter, "cpu": time.process_time}[recipe.training.clock],
    )
    checkpoints = None if run.out is None else Checkpoints(run.out / "checkpoints")
    found = _found(checkpoints, run) if checkpoints is not None else None
    fabric.barrier()
    model = run.model
    if model is None:
        assert recipe.model is not None
        model = build_model(recipe.model, recipe.training.seed)
    model = prepare_model(model, recipe, device)
    torch.manual_seed(recipe.training.seed + fabric.global_rank)
    manifold = open_manifold(recipe.data) if run.source is None else None
    source = run.source or open_source(recipe, device, manifold)
    test = run.test
    if test is None and manifold is not None:
        test = open_test(recipe, device, manifold)
    robust = RobustSetup.of(recipe, source)
    kept = _measured(fabric, recipe, source, found, robust)
    _randomize(recipe, source, kept["normalizers"])
    phases = plan_phases(recipe.objective, source, kept["normalizers"], robust, recipe.augmentation, model)
    check_model(model, source.batch(0, max(phase.order for phase in phases)))
    widest = max(phases, key=lambda phase: len(phase.compare.basis))
    if robust is not None:
        check_model(model, (widest.source or source).batch(0, widest.order))
    bare = run_record(recipe.values(), device, fabric.world_size)
    callbacks, log = list[Callback](), None
    if fabric.is_global_zero:
        callbacks = list(run.callbacks)
        if run.out is not None:
            write_atomically(run.out / "recipe.json", as_json(recipe.values()))
            write_atomically(run.out / "record.json", as_json(bare))
            log = LogFile(run.out / "log.jsonl", found.step if found is not None else -1)
            callbacks.append(log)
        if run.progress:
            callbacks.append(ProgressBar())
    trainer = Trainer(
        model,
        source,
        phases,
        build_optimizers(model, recipe.optimizer),
        Schedule(recipe.schedule, recipe.optimizer.rate),
        Budget.of(recipe.training, source),
        fabric=fabric,
        deviation=kept["deviation"],
        test=test,
        evaluate_every=recipe.training.evaluate_every,
        log_every=recipe.training.log_every,
        checkpoints=checkpoints,
        checkpoint_every=recipe.training.checkpoint_every,
        checkpoint_seconds=recipe.training.checkpoint_seconds,
        kept=kept,
        meta={"recipe": recipe.values()},
        compile_step=recipe.training.compile == "step",
        autocast=torch.bfloat16 if recipe.training.precision == "bf16-mixed" else None,
        callbacks=callbacks,
        clock=clock,
    )
    if found is not None:
        trainer.resume(found)
        trainer.history += log.entries if log is not None else []
    trainer.run()
    metrics = _metrics(trainer, source)
    if fabric.is_global_zero:
        write_result(trainer, metrics, bare, place)
    fabric.barrier()
    return model.eval()


def _metrics(trainer: Trainer, source: Source) -> dict[str, float]:
    """The errors on both sets, and the last costs."""
    last = next((entry for entry in reversed(trainer.history) if "loss" in entry), {})
    metrics = {name: value for name, value in last.items() if name == "loss" or is_term(name)}
    if trainer.status == "diverged":
        newest = trainer.checkpoints.latest() if trainer.checkpoints is not None else None
        if newest is None:
            return metrics
        newest.load_model(trainer.model)
    if trainer.test is not None:
        metrics["test_error"] = trainer.error(iter(trainer.test.chunks()))
    if source.steps_per_epoch is not None:
        metrics["train_error"] = trainer.error(source.values())
    return metrics


def _measured(
    fabric: Fabric, recipe: Recipe, source: Source, found: Checkpoint | None, robust: RobustSetup | None
) -> dict[str, Tensor]:
    """Normalizers and standard deviations: those of the checkpoint, or measured by the first process."""
    kept: dict[str, Tensor] | None = None
    if found is not None:
        kept = {name: t for name, t in found.tensors.items() if name in MEASURED or name.startswith("scale.")}
    elif fabric.is_global_zero:
        statistics = Statistics.of(source.chunks() if robust is None else robust.measured(source.chunks()))
        kept = {
            "normalizers": normalizers(statistics, recipe.objective.normalizers),
            "deviation": statistics.deviation,
        }
        if robust is not None:
            kept.update({f"scale.{name}": scale for name, scale in robust.scales.items()})
    if found is None and fabric.world_size > 1:
        kept = fabric.broadcast(kept)
    assert kept is not None
    if robust is not None:
        robust.scales = {name.removeprefix("scale."): t for name, t in kept.items() if name.startswith("scale.")}
    return kept


def _randomize(recipe: Recipe, source: Source, factors: Tensor) -> None:
    wanted = recipe.data.directions
    if isinstance(wanted, RandomDirectionsConfig):
        source.randomize(RandomDirections.of(source.basis, factors, wanted.random, wanted.law))


# ---- settings -------------------------------------------------------------------------------------------------------


def _fabric(recipe: Recipe, strategy: str) -> Fabric:
    """Device and processes. Mixed precision is left to `Step`: Fabric's would round inputs and targets too."""
    training = recipe.training
    try:
        return Fabric(
            accelerator=training.accelerator,
            devices=training.devices,
            strategy=strategy,
            precision="64-true" if training.precision == "64-true" else "32-true",
        )
    except Exception as error:  # noqa: BLE001 - Lightning has its own exception for missing hardware
        raise RecipeError(
            f"[training] accelerator = {training.accelerator!r}, devices = {training.devices} cannot be had here: "
            f"{error}"
        ) from error


@contextmanager
def _settings(recipe: Recipe) -> Iterator[None]:
    """Matrix precision, threads and compilation mode for a run; put back afterwards."""
    matmul, mode, threads = torch.get_float32_matmul_precision(), compilation()["mode"], torch.get_num_threads()
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    torch.set_float32_matmul_precision(
        {"tf32": "high", "32-medium": "medium"}.get(recipe.training.precision, "highest")
    )
    if mode == "auto":
        compile_kernels("never" if recipe.training.compile == "never" else "large")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.set_num_threads(threads)
        compile_kernels(mode)


def _check_given(recipe: Recipe, model: nn.Module | None, source: Source | None) -> None:
    if (recipe.model is None) == (model is None):
        raise RecipeError(
            "the recipe has no [model], and no model was handed to fit; give one of them"
            if model is None
            else "the recipe has a [model], and a model was handed to fit too; drop one of them"
        )
    if source is None:
        return
    if source.batch_size != recipe.training.batch:
        raise RecipeError(
            f"[training] batch = {recipe.training.batch}, but the source draws {source.batch_size}; make them agree"
        )
    if source.basis.order != recipe.data.order:
        raise RecipeError(
            f"[data] order = {recipe.data.order}, but the source carries order {source.basis.order}; make them agree"
        )


# ---- folders --------------------------------------------------------------------------------------------------------


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"the folder {folder} cannot be made: {error.strerror}; give another one") from error


def _found(checkpoints: Checkpoints, run: _Run) -> Checkpoint | None:
    """The checkpoint to go on from; what is in the way is removed."""
    assert run.out is not None
    checkpoints.sweep()
    found = checkpoints.latest() if run.resume else None
    if found is not None:
        check_same_recipe(found.meta["recipe"], run.recipe, found.path)
    else:
        checkpoints.clear()
        (run.out / "log.jsonl").unlink(missing_ok=True)
    for name in ("result.json", "model.safetensors"):
        (run.out / name).unlink(missing_ok=True)
    return found

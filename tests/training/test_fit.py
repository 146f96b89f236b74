"""`fit` from end to end: results, folders, precision, and what is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import jetprop.training.checkpoint as checkpoint
from jetprop.jets import compilation
from jetprop.manifolds import Cube
from jetprop.objectives import Statistics, normalizers, relative_error
from jetprop.training import (
    MLP,
    Callback,
    CheckpointError,
    Recipe,
    RecipeError,
    Stored,
    Trainer,
    fit,
    load_model,
)
from training.curve import Curve, Noisy, recipe
from training.test_checkpoint import Full

OWN: dict[str, Any] = {"model": {"widths": None, "activation": None, "init": None}}


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def settings() -> tuple[str, str, int]:
    """What is global in PyTorch and in the engine."""
    return torch.get_float32_matmul_precision(), compilation()["mode"], torch.get_num_threads()


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"data": {"order": 0}},
        {"data": {"storage": "render"}},
        {"data": {"fresh": True}},
        {"data": {"directions": {"random": 1}}},
        {"data": {"directions": {"random": 2, "law": "rademacher"}, "fresh": True, "order": 1}},
        {"optimizer": {"name": "muon", "rate": 0.01}},
        {"schedule": {"kind": "cosine", "warmup": 0.1}},
        {"training": {"precision": "32-true"}},
        {"training": {"precision": "tf32"}},
        {"training": {"precision": "bf16-mixed"}},
        {"training": {"steps": None, "epochs": 4}},
        {"training": {"threads": 1}},
        {"model": {"widths": None, "activation": None, "init": None, "factory": "training.curve:Noisy"}},
    ],
    ids=str,
)
def test_recipes_train(sections: dict) -> None:
    before = *settings(), torch.get_rng_state()
    one, other = fit(recipe(**sections)), fit(recipe(**sections))
    assert one.finished and one.steps == 20 and one.metrics == other.metrics
    assert same(one.model, other.model), "the same recipe trains the same network"
    assert not one.model.training
    assert 0 < one.metrics["test_error"] < 3
    assert ("train_error" in one.metrics) == (not sections.get("data", {}).get("fresh", False))
    after = *settings(), torch.get_rng_state()
    assert before[:3] == after[:3] and torch.equal(before[3], after[3]), "nothing global is left changed"
    assert one.record["threads"] == sections.get("training", {}).get("threads", before[2])


def test_storage_does_not_change_the_network() -> None:
    one, other = fit(recipe()), fit(recipe(data={"storage": "render"}))
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-10)
    assert one.metrics["train_error"] == pytest.approx(other.metrics["train_error"])


def test_training_learns() -> None:
    training = {"steps": 600, "log_every": 600}
    untrained = fit(recipe(training={"steps": 1}))
    result = fit(recipe(training=training, optimizer={"rate": 1e-2}))
    assert result.metrics["test_error"] < 0.2 * untrained.metrics["test_error"]


def test_the_result_tells_how_it_came_about(tmp_path: Path) -> None:
    result = fit(recipe(), out=tmp_path)
    source = Stored.of(Curve(), 40, 8, dtype=torch.float64)
    found = Statistics.of(source.chunks())
    assert result.record["normalizers"] == pytest.approx(normalizers(found).tolist())
    assert result.record["deviation"] == pytest.approx(found.deviation.tolist())
    x, y = Curve().sample(20, 40, 0, dtype=torch.float64)
    with torch.no_grad():
        expected = relative_error(result.model(x.value), y.value, found.deviation)
    assert result.metrics["test_error"] == pytest.approx(expected, rel=1e-9)
    record = json.loads((tmp_path / "record.json").read_text())
    assert record == result.record
    assert record["seed"] == 0 and record["precision"] == "64-true" and record["versions"]["torch"] == torch.__version__
    assert record["compilation"]["step"] == "eager" and record["recipe"] == recipe().values()
    assert Recipe.load(tmp_path / "recipe.json").values() == recipe().values()


def test_a_run_that_has_ended_is_read_back(tmp_path: Path) -> None:
    class Count(Callback):
        steps = 0

        def on_step(self, trainer: Trainer) -> None:
            self.steps += 1

    count = Count()
    first = fit(recipe(), out=tmp_path)
    again = fit(recipe(training={"log_every": 7}), out=tmp_path, callbacks=[count])
    assert count.steps == 0 and again.metrics == first.metrics and same(again.model, first.model)
    assert again.history == first.history and again.seconds == first.seconds and again.out == tmp_path
    anew = fit(recipe(), out=tmp_path, resume=False, callbacks=[count])
    assert count.steps == 20 and same(anew.model, first.model)


def test_another_test_set_is_tested_without_training_again(tmp_path: Path) -> None:
    first = fit(recipe(), out=tmp_path)
    other = fit(recipe(data={"test_images": 5}), out=tmp_path)
    assert same(first.model, other.model) and other.steps == 20
    assert other.metrics["test_error"] != first.metrics["test_error"]


def test_networks_are_read_back_without_running_code(tmp_path: Path) -> None:
    result = fit(recipe(training={"checkpoint_every": 10}), out=tmp_path)
    assert same(load_model(tmp_path), result.model)
    assert not load_model(tmp_path).training
    (tmp_path / "model.safetensors").unlink()
    assert same(load_model(tmp_path), result.model), "the last checkpoint serves until there is a result"
    with pytest.raises(CheckpointError, match="is it the folder of a run"):
        load_model(tmp_path.parent)


def test_a_model_and_a_source_of_ones_own(tmp_path: Path) -> None:
    x, y = Curve().sample(30, order=1, dtype=torch.float64)
    source = Stored(x, y, batch=10)
    model = Noisy()
    own = recipe(**OWN, data={"order": 1, "test_images": 0}, training={"batch": 10})
    result = fit(own, model=model, source=source, out=tmp_path)
    assert result.model is model and result.finished and next(model.parameters()).dtype == torch.float64
    with pytest.raises(CheckpointError, match="hand one over"):
        load_model(tmp_path)
    other = load_model(tmp_path, Noisy())
    assert same(other, model)
    again = fit(own, model=Noisy(), source=source, out=tmp_path)
    assert same(again.model, model)


def test_labels_may_be_missing() -> None:
    x, y = Curve().sample(30, order=1, dtype=torch.float64)
    mask = torch.ones(3, 30, 1, dtype=torch.bool)
    mask[1:, 3:] = False  # derivatives are known for three samples only, so some batches have none
    result = fit(
        recipe(**OWN, data={"order": 1, "test_images": 0}, training={"batch": 10}),
        model=Noisy(),
        source=Stored(x, y, batch=10, mask=mask),
    )
    assert result.finished


@pytest.mark.parametrize(
    ("sections", "arguments", "error", "said"),
    [
        ({"model": {"widths": [5, 2]}}, {}, ValueError, r"widths = \[6, 2\]"),
        ({"model": {"widths": [6, 3]}}, {}, ValueError, r"target is \[2\]"),
        ({}, {"model": MLP([6, 2])}, RecipeError, "drop one of them"),
        (OWN, {}, RecipeError, "give one of them"),
        ({"data": {"manifold": "ball"}}, {}, RecipeError, 'write "cube"'),
        ({"data": {"manifold": "training.curve:Noisy"}}, {}, RecipeError, "is no manifold"),
        ({"data": {"options": {"frequenzy": 1}}}, {}, RecipeError, r"frequenzy.*see \[data.options\]"),
        ({"training": {"accelerator": "cuda"}}, {}, RecipeError, "cannot be had here"),
        ({"data": {"manifold": "cube", "order": 3}}, {}, ValueError, "up to order 2"),
    ],
)
def test_what_cannot_be_run_is_refused_before_training(sections: dict, arguments: dict, error: type, said: str) -> None:
    if sections.get("training", {}).get("accelerator") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(error, match=said):
        fit(recipe(**sections), **arguments)


def test_sources_must_agree_with_the_recipe() -> None:
    x, y = Curve().sample(30, order=1, dtype=torch.float64)
    with pytest.raises(RecipeError, match="the source draws 10"):
        fit(recipe(**OWN), model=Noisy(), source=Stored(x, y, batch=10))
    with pytest.raises(RecipeError, match="the source carries order 1"):
        fit(recipe(**OWN), model=Noisy(), source=Stored(x, y, batch=8))


def test_folders_of_another_recipe_are_refused(tmp_path: Path) -> None:
    fit(recipe(training={"checkpoint_every": 5}), out=tmp_path)
    changed = recipe(optimizer={"rate": 0.5}, model={"widths": [6, 9, 2]}, training={"seed": 4})
    with pytest.raises(CheckpointError) as error:
        fit(changed, out=tmp_path)
    for said in (
        "optimizer.rate is 0.001 there and 0.5 here",
        "model.widths is [6, 8, 2] there and [6, 9, 2] here",
        "training.seed is 0 there and 4 here",
        "resume=False",
    ):
        assert said in str(error.value)
    (tmp_path / "result.json").unlink()
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        fit(changed, out=tmp_path)
    assert fit(changed, out=tmp_path, resume=False).finished


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_whole(tmp_path: Path, monkeypatch) -> None:
    class Fill(Callback):
        def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
            if trainer.step == 10:
                monkeypatch.setattr(checkpoint, "open", Full, raising=False)

    every = recipe(training={"checkpoint_every": 5})
    with pytest.raises(CheckpointError, match="No space left.*run the same command again"):
        fit(every, out=tmp_path, callbacks=[Fill()])
    monkeypatch.undo()
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-000000005.safetensors", "step-000000010.safetensors"]
    assert same(fit(every, out=tmp_path).model, fit(recipe()).model)


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    class Close(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 3:
                log = next(c for c in trainer.callbacks if hasattr(c, "_file"))

                def refuse(_: str) -> int:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

                log._file.write = refuse  # type: ignore[attr-defined]

    with pytest.raises((CheckpointError, AttributeError), match="log.jsonl cannot be written|read-only"):
        fit(recipe(), out=tmp_path, callbacks=[Close()])


def test_a_place_that_is_no_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        fit(recipe(), out=tmp_path / "file" / "run")


def test_the_cube_trains_in_single_precision() -> None:
    result = fit(
        {
            "model": {"widths": [1681, 16, 9]},
            "data": {"images": 64, "test_images": 16},
            "training": {"batch": 32, "steps": 6, "accelerator": "cpu", "compile": "never"},
        }
    )
    assert result.finished and set(result.metrics) == {"loss", "E0", "E1", "E2", "test_error", "train_error"}
    assert isinstance(result.record["normalizers"], list) and len(result.record["normalizers"]) == 28
    assert Cube().dimension == 6


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_the_whole_step_can_be_compiled() -> None:
    eager = fit(recipe(training={"steps": 3}))
    compiled = fit(recipe(training={"steps": 3, "compile": "step"}))
    assert compiled.record["compilation"]["step"] == "compiled"
    assert compiled.metrics["loss"] == pytest.approx(eager.metrics["loss"], rel=1e-9)


def test_a_step_that_cannot_be_compiled_runs_eagerly_and_says_so(monkeypatch) -> None:
    class Uncompilable(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *_: Any) -> Any:
            raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", lambda module, **_: Uncompilable(module))
    result = fit(recipe(training={"compile": "step"}))
    assert result.record["compilation"]["step"] == "RuntimeError: no compiler here"
    assert same(result.model, fit(recipe()).model)

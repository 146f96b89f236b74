"""Runs in a folder: found, named, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jetprop.explore import find_runs


def changed(folder: Path, place: Path, **sections: dict) -> Path:
    """A copy of a run with another recipe."""
    shutil.copytree(folder / "2s" / "demo-0", place)
    path = place / "recipe.json"
    recipe = json.loads(path.read_text())
    for section, values in sections.items():
        recipe[section] = recipe[section] | values
    path.write_text(json.dumps(recipe))
    return place


def test_runs_of_the_demonstration_have_names(folder: Path) -> None:
    runs = find_runs(folder)
    assert [run.name for run in runs.found] == ["values only", "+ first derivatives"]
    assert runs.beside(runs.found[0]) == runs.found
    assert runs.named("") is runs.found[0]
    with pytest.raises(ValueError, match="no run 'demo'.*values only"):
        runs.named("demo")


def test_the_folder_of_a_run_is_a_run(folder: Path) -> None:
    (run,) = find_runs(folder / "2s" / "demo-1").found
    assert run.name == "+ first derivatives"


def test_a_run_says_what_it_was_trained_on(folder: Path) -> None:
    run = find_runs(folder).found[1]
    record = json.loads((run.path / "record.json").read_text())
    # Measured in training on float64 images, summed in another order.
    torch.testing.assert_close(run.deviation, torch.tensor(record["deviation"], dtype=torch.float64), rtol=1e-6, atol=0)
    held = load_file(run.path / "model.safetensors")
    torch.testing.assert_close(dict(run.network.named_parameters()), {k[6:]: v for k, v in held.items()})


def test_many_runs_are_compared_a_few_at_a_time(folder: Path, tmp_path: Path) -> None:
    for number in range(6):
        changed(folder, tmp_path / "many" / f"run{number}")
    changed(folder, tmp_path / "other" / "run")
    runs = find_runs(tmp_path)
    assert [run.name for run in runs.found][-2:] == ["many / run5", "other / run"]
    assert [run.short for run in runs.beside(runs.found[5])] == ["run2", "run3", "run4", "run5"]
    assert [run.short for run in runs.beside(runs.found[6])] == ["run"]


def test_without_runs_it_says_how_to_make_some(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match="jetprop demo"):
            find_runs(place)


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"data": {"manifold": "jetprop.manifolds:PhaseRetrieval"}}, "shows cubes only"),
        ({"model": {"widths": [100, 16, 9]}}, r"1681 pixels"),
        ({"model": {"widths": [1681, 16, 6]}}, r"described by 9 outputs"),
        ({"data": {"options": {"size": 3}}}, "size"),
        ({"training": {"batch": -1}}, "batch"),
    ],
)
def test_other_runs_are_refused(folder: Path, tmp_path: Path, sections: dict, complaint: str) -> None:
    changed(folder, tmp_path / "run", **sections)
    with pytest.raises(ValueError, match=rf"(?s)can be shown.*{complaint}.*jetprop demo"):
        find_runs(tmp_path)


def test_what_cannot_be_shown_is_left_out(folder: Path, tmp_path: Path) -> None:
    changed(folder, tmp_path / "good")
    empty = changed(folder, tmp_path / "empty")
    (empty / "model.safetensors").unlink()
    shutil.rmtree(empty / "checkpoints")
    broken = changed(folder, tmp_path / "broken")
    (broken / "recipe.json").write_text("{")
    runs = find_runs(tmp_path)
    assert [run.name for run in runs.found] == ["good"]
    assert "no weights yet" in runs.left_out["empty"]
    assert runs.left_out.keys() == {"empty", "broken"}


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    from jetprop.training import CheckpointError

    place = changed(folder, tmp_path / "run")
    (place / "model.safetensors").write_bytes(b"nothing")
    (run,) = find_runs(tmp_path).found
    with pytest.raises(CheckpointError):
        _ = run.network

"""Every registered experiment at its smoke size, its record, and the commands that run it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jetprop.cli import app
from jetprop.experiments import EXPERIMENTS, Context, Record, avrutskiy2023, demo, find, when_it_pays
from jetprop.experiments.demo import NETWORKS
from jetprop.report import write_demo

demo_module = __import__("jetprop.experiments.demo", fromlist=["demo"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of all experiments: a network that several need is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_smoke(name: str, tmp_path: Path, shared: Path) -> None:
    record = EXPERIMENTS[name].run(Context("smoke", shared))
    assert record.experiment == name
    assert record.figures and all(f.ours is not None and math.isfinite(f.ours) for f in record.figures)
    assert "--scale smoke" in record.command and record.settings
    assert Record.load(record.save(tmp_path)) == record


def test_finished_networks_are_read_back(tmp_path: Path) -> None:
    context = Context("smoke", tmp_path)
    first, second = (find("avrutskiy2023", "table2").run(context) for _ in range(2))
    assert first.figures == second.figures and first.seconds == second.seconds


def test_a_time_limit_leaves_the_figure_open_and_the_next_call_goes_on(tmp_path: Path) -> None:
    table = find("avrutskiy2023", "table1")
    stopped = table.run(Context("smoke", tmp_path, seconds=0.0))
    assert all(f.ours is None for f in stopped.figures if f.row != "time") and "stopped" in " ".join(stopped.notes)
    finished = table.run(Context("smoke", tmp_path))
    assert all(f.ours is not None for f in finished.figures)


def test_networks_trained_side_by_side_are_those_trained_one_after_the_other(tmp_path: Path) -> None:
    said = []
    together = find("when-it-pays").run(Context("smoke", tmp_path / "two", jobs=2, say=said.append))
    alone = find("when-it-pays").run(Context("smoke", tmp_path / "one"))
    assert together.figures == alone.figures
    assert sum("finished after 6 steps" in line for line in said) == 2 * len(alone.figures), "trained, then read back"


def test_recipes_are_not_chosen_by_the_test_set() -> None:
    chosen = when_it_pays.recipe(when_it_pays.Case("first", 65536, 1.0), when_it_pays.VALIDATION)["data"]
    tested = when_it_pays.recipe(when_it_pays.Case("first", 65536, 1.0))["data"]
    assert chosen["test_start"] >= tested["test_start"] + tested["test_images"] and tested["test_start"] >= 65536


def test_paper_settings_are_those_of_the_paper() -> None:
    chosen = avrutskiy2023.recipe("table6", 256, "paper")
    training = chosen["training"]
    assert (training["batch"] * 42, training["epochs"]) == (97020, 2000)
    starts = [round(fraction * 2000) for fraction, _ in chosen["schedule"]["steps"]]
    assert starts == [0, 1950, 1975] and [rate for _, rate in chosen["schedule"]["steps"]] == [1e-3, 1e-4, 1e-5]
    assert chosen["objective"]["phases"] == [{"from": 1975 / 2000, "weights": [1.0, 1.0, 0.0]}]


def test_the_demonstration_and_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"WIDTHS": [1681, 8, 8, 9], "TRAINING_IMAGES": 256, "TEST_IMAGES": 32}
    for name, value in small.items():
        monkeypatch.setattr(demo_module, name, value)
    record = demo(Context("cpu", tmp_path / "runs"), seconds=0.5)
    assert [network["name"] for network in record.data["networks"]] == list(NETWORKS)
    page = write_demo(record, tmp_path / "demo.html").read_text(encoding="utf-8")
    assert all(name in page for name in NETWORKS)


def test_an_unknown_experiment_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'avrutskiy2023 table2'"):
        find("avrutskiy2023", "tabel2")


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    code, output = run("experiments")
    assert code == 0 and all(name in output for name in EXPERIMENTS)
    folders = ("--runs", tmp_path / "runs", "--results", tmp_path / "results")
    code, output = run("reproduce", "avrutskiy2023", "table1", "--scale", "smoke", *folders)
    assert code == 0 and (tmp_path / "results" / "avrutskiy2023-table1-smoke.json").exists()
    assert run("reproduce", "avrutskiy2023", "table9", *folders)[0] == 1
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        "model = {widths = [1681, 4, 9]}\ndata = {images = 32, order = 1, test_images = 8}\n"
        'training = {batch = 16, steps = 4, accelerator = "cpu"}\n'
    )
    code, output = run("train", recipe, "--out", tmp_path / "run", "--set", "training.seed=3")
    assert code == 0 and "finished after 4 steps" in output
    code, output = run("train", recipe, "--out", tmp_path / "other", "--set", "training.sed=3")
    assert code == 1 and 'did you mean "seed"' in output

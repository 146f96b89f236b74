"""The loop: phases, budgets, logs, clocks, and how it ends."""

from __future__ import annotations

import json
import logging
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from jetprop import Basis, Jet
from jetprop.objectives import Match
from jetprop.training import (
    Budget,
    Callback,
    Clock,
    HeldOut,
    OptimizerConfig,
    PhasePlan,
    ProgressBar,
    Schedule,
    ScheduleConfig,
    Stored,
    Trainer,
    build_optimizers,
    fit,
    read_log,
)
from training.curve import Curve, recipe


class Watch(Callback):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.events: list[str] = []

    def on_start(self, trainer: Trainer) -> None:
        self.events.append("start")

    def on_step(self, trainer: Trainer) -> None:
        self.rows.append(len(trainer._phase.compare.basis))

    def on_log(self, trainer: Trainer, entry: dict) -> None:
        self.events.append(f"log {trainer.step}")

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        self.events.append(f"checkpoint {trainer.step}")

    def on_end(self, trainer: Trainer) -> None:
        self.events.append("end")


def trainer(model: nn.Module, **changes: Any) -> Trainer:
    """A loop over the curve, built by hand, without a recipe."""
    source = Stored.of(Curve(), 16, 8, order=1, dtype=torch.float64)
    given: dict[str, Any] = {
        "phases": [PhasePlan(0.0, 1, Match(source.basis))],
        "optimizers": build_optimizers(model, OptimizerConfig(name="sgd", rate=0.01)),
        "schedule": Schedule(ScheduleConfig(), 0.01),
        "budget": Budget(steps=6),
        "fabric": Fabric(accelerator="cpu", devices=1),
        **changes,
    }
    return Trainer(model, source, **given)


def test_one_step_is_plain_gradient_descent() -> None:
    torch.manual_seed(0)
    model, twin = nn.Linear(6, 2).double(), nn.Linear(6, 2).double()
    twin.load_state_dict(model.state_dict())
    run = trainer(model, log_every=1)
    assert run.run() == "finished" and run.step == 6
    for step in range(6):
        batch = run.source.batch(step, 1)
        loss = Match(Basis.full(2, 1))(twin(batch.inputs), batch.targets).total
        assert run.history[step]["loss"] == pytest.approx(float(loss.detach()), rel=1e-12)
        grads = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, g in zip(twin.parameters(), grads, strict=True):
                p -= 0.01 * g
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-12)


def test_phases_drop_the_rows_that_weigh_nothing() -> None:
    watch = Watch()
    phases = [{"from": 0.5, "weights": [1.0, 0.5, 0.0]}, {"from": 0.75, "weights": [1.0, 0.0, 0.0]}]
    result = fit(recipe(objective={"phases": phases}), callbacks=[watch])
    assert watch.rows == [6] * 10 + [3] * 5 + [1] * 5
    by_step = {entry["step"]: entry for entry in result.history if "loss" in entry}
    assert [name for name in by_step[10] if name.startswith("E")] == ["E0", "E1", "E2"]
    assert [name for name in by_step[15] if name.startswith("E")] == ["E0", "E1"]
    assert [name for name in by_step[20] if name.startswith("E")] == ["E0"]
    assert by_step[15]["loss"] == pytest.approx(by_step[15]["E0"] + 0.5 * by_step[15]["E1"])


def test_a_zero_in_the_middle_keeps_the_rows() -> None:
    watch = Watch()
    fit(recipe(objective={"weights": [1.0, 0.0, 1.0]}), callbacks=[watch])
    assert watch.rows == [6] * 20


def test_dropping_rows_changes_no_gradient() -> None:
    """Zero weights from the start, and the same without those rows, train the same network."""
    one = fit(recipe(objective={"weights": [1.0, 1.0, 0.0]}))
    other = fit(recipe(data={"order": 1}))
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-12)


def test_entries_of_the_log(tmp_path: Path) -> None:
    schedule = {"kind": "steps", "steps": [[0.5, 1e-4]]}
    result = fit(recipe(schedule=schedule, training={"evaluate_every": 10, "log_every": 8}), out=tmp_path)
    assert result.history == [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in result.history] == [8, 10, 16, 20]
    assert [round(entry["rate"][0], 9) for entry in result.history if "rate" in entry] == [1e-3, 1e-4, 1e-4]
    assert result.history[1]["test_error"] > 0
    assert result.history[0]["progress"] == 0.4


def test_a_log_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_log(path) == [{"step": 1, "loss": 2.0}]


def test_terms_in_the_log_are_means_over_the_steps_between() -> None:
    fine = fit(recipe(training={"log_every": 1, "steps": 6}))
    coarse = fit(recipe(training={"log_every": 3, "steps": 6}))
    for k in (0, 1):
        for name in ("loss", "E0", "E1", "E2"):
            mean = sum(entry[name] for entry in fine.history[3 * k : 3 * k + 3]) / 3
            assert coarse.history[k][name] == pytest.approx(mean, rel=1e-10)


def test_seconds_are_training_seconds_only() -> None:
    class Slow(Callback):
        def on_log(self, trainer: Trainer, entry: dict) -> None:
            with trainer.clock.on("evaluation"):
                torch.zeros(10).sum()

    result = fit(recipe(training={"steps": None, "seconds": 0.3, "evaluate_every": 20}), callbacks=[Slow()])
    assert result.status == "finished" and result.steps > 5
    assert 0.3 <= result.seconds["training"] < 3
    assert result.seconds["warmup"] > 0 and result.seconds["evaluation"] > 0
    assert result.seconds["total"] == pytest.approx(sum(v for k, v in result.seconds.items() if k != "total"), abs=1e-4)
    assert 0.5 < result.history[-1]["progress"] <= 1


def test_seconds_of_the_processor_do_not_count_waiting() -> None:
    class Slow(Callback):
        def on_step(self, trainer: Trainer) -> None:
            time.sleep(0.01)

    changes = {"steps": None, "seconds": 0.1, "clock": "cpu", "threads": 1}
    began = time.perf_counter()
    result = fit(recipe(training=changes), callbacks=[Slow()])
    assert result.steps > 10, "10 ms of waiting in each step would have left time for ten"
    assert 0.1 <= result.seconds["training"] < time.perf_counter() - began - 0.01 * (result.steps - 1)


def test_the_clock_books_on_one_account_at_a_time() -> None:
    now = [0.0]
    waits = []
    clock = Clock(lambda: waits.append(now[0]), lambda: now[0])
    now[0] = 2.0
    clock.switch("training")
    now[0] = 5.0
    with clock.on("evaluation"):
        now[0] = 6.0
    now[0] = 7.0
    assert clock.all() == {"preparation": 2, "warmup": 0, "training": 4, "evaluation": 1, "checkpoint": 0}
    clock.move(1.5, "training", "warmup")
    clock.restore({"training": 10.0})
    assert (clock.seconds("training"), clock.seconds("warmup")) == (12.5, 1.5)
    assert waits == [2.0, 5.0, 6.0]


def test_a_callback_can_stop_the_run_and_it_goes_on_later(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 7:
                trainer.stop("seven is enough")

    half = fit(recipe(), out=tmp_path, callbacks=[Stop()])
    assert (half.status, half.message, half.steps, half.finished) == ("stopped", "seven is enough", 7, False)
    rest, whole = fit(recipe(), out=tmp_path), fit(recipe())
    assert rest.finished and rest.steps == 20
    assert all(torch.equal(p, q) for p, q in zip(rest.model.parameters(), whole.model.parameters(), strict=True))


def test_callbacks_are_called_in_order(tmp_path: Path) -> None:
    watch = Watch()
    fit(recipe(training={"checkpoint_every": 10}), out=tmp_path, callbacks=[watch])
    assert watch.events == ("start,log 5,log 10,checkpoint 10,log 15,log 20,checkpoint 20,end".split(","))


class Explodes(nn.Module):
    """Fine at first; its derivatives are NaN from some forward pass on."""

    def __init__(self, after: int, row: int | None) -> None:
        super().__init__()
        self.linear, self.after, self.row, self.calls = nn.Linear(6, 2), after, row, 0

    def forward(self, x: Any) -> Any:
        if self.training:
            self.calls += 1
        y = self.linear(x)
        if self.calls <= self.after or not isinstance(y, Jet):
            return y
        spoiled = y.rows.clone()
        spoiled[slice(None) if self.row is None else self.row] *= float("inf")
        return Jet._of(spoiled, y.basis)


def test_divergence_names_term_row_and_steps_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    training = {"checkpoint_every": 4, "log_every": 6}
    model = Explodes(after=13, row=4)
    result = fit(
        recipe(model={"widths": None, "activation": None, "init": None}, training=training), model=model, out=tmp_path
    )
    assert result.status == "diverged" and not result.finished
    assert "E2 became inf at step 14, in row 4 (derivative (0, 1))" in result.message
    assert "the checkpoint of step 12 is the last good one" in result.message
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step-000000008.safetensors",
        "step-000000012.safetensors",
    ]
    assert all(bool(p.isfinite().all()) for p in result.model.parameters())
    again = fit(
        recipe(model={"widths": None, "activation": None, "init": None}, training=training), model=model, out=tmp_path
    )
    assert again.status == "diverged" and again.message == result.message


def test_weights_that_are_not_finite_are_never_kept(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 9:
                with torch.no_grad():
                    next(iter(trainer.model.parameters()))[0, 0] = float("nan")

    result = fit(recipe(training={"checkpoint_every": 3, "log_every": 100}), out=tmp_path, callbacks=[Spoil()])
    assert result.status == "diverged" and "layers.0.weight is not finite after step 9" in result.message
    assert bool(next(iter(result.model.parameters())).isfinite().all())


def test_a_signal_waits_for_the_end_of_the_step_and_a_checkpoint(tmp_path: Path) -> None:
    class Interrupt(Callback):
        def on_step(self, trainer: Trainer) -> None:
            if trainer.step == 7:
                signal.raise_signal(signal.SIGINT)

    handler = signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)  # shells start programs in the background with interrupts ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(recipe(), out=tmp_path, callbacks=[Interrupt()])
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-000000007.safetensors"]
    rest, whole = fit(recipe(), out=tmp_path), fit(recipe())
    assert all(torch.equal(p, q) for p, q in zip(rest.model.parameters(), whole.model.parameters(), strict=True))


def test_the_progress_bar_shows_terms_error_and_time_left(monkeypatch, capsys) -> None:
    monkeypatch.setattr(ProgressBar, "EVERY", 0.0)
    monkeypatch.setenv("COLUMNS", "200")
    fit(recipe(training={"evaluate_every": 10}), progress=True)
    shown = capsys.readouterr().err
    assert "100%" in shown and "E2 " in shown and "loss " in shown and " %" in shown
    fit(recipe())
    assert capsys.readouterr().err == ""


def test_nothing_is_logged_to_the_terminal(caplog) -> None:
    with caplog.at_level(logging.INFO):
        fit(recipe())
    assert [r for r in caplog.records if r.name.startswith("jetprop")] == []


def test_a_budget_is_steps_or_seconds() -> None:
    with pytest.raises(ValueError, match="steps or seconds"):
        Budget()
    with pytest.raises(ValueError, match="steps or seconds"):
        Budget(steps=1, seconds=1.0)


def test_a_test_set_of_ones_own() -> None:
    x = torch.rand(10, 6, dtype=torch.float64)
    result = fit(recipe(data={"test_images": 0}), test=(x, x[:, :2]))
    assert result.metrics["test_error"] > 0
    assert "test_error" not in fit(recipe(data={"test_images": 0})).metrics
    with pytest.raises(ValueError, match="as many inputs as targets"):
        HeldOut.tensors(x, x[:3])

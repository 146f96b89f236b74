"""The training loop of one process."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from jetprop.jets import compilation
from jetprop.training.checkpoint import Checkpoint, Checkpoints, restore_generators, torch_generators
from jetprop.training.clock import Clock
from jetprop.training.config import TrainingConfig
from jetprop.training.data import Source
from jetprop.training.evaluation import HeldOut, evaluate
from jetprop.training.optimizers import Optimizers
from jetprop.training.phases import PhasePlan, Step
from jetprop.training.progress import Callback, Entry
from jetprop.training.schedules import Schedule

__all__ = ["Budget", "Status", "Trainer"]

Status = Literal["finished", "diverged", "stopped"]

AGREE_EVERY = 16
"""Steps after which several processes agree anew on how much of a budget of seconds is spent."""

AHEAD = 2
"""Steps that the host may run ahead of a GPU, so that its clock means something."""


@dataclass(frozen=True)
class Budget:
    """How long to train: a number of steps, or of training seconds; exactly one is given."""

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError(f"a budget is steps or seconds, got steps={self.steps}, seconds={self.seconds}")

    @classmethod
    def of(cls, config: TrainingConfig, source: Source) -> Budget:
        """The budget of a recipe; epochs count the batches of the source."""
        if config.epochs is None:
            return cls(config.steps, config.seconds)
        if source.steps_per_epoch is None:
            raise ValueError("the source has no epochs; give [training] steps or seconds instead")
        return cls(config.epochs * source.steps_per_epoch)


class _Diverged(Exception):  # noqa: N818 - never leaves this file
    pass


class Trainer:
    """Runs optimizer steps until the budget is spent; `fit` builds one from a recipe.

    It takes any model that takes jets, any source and any phases, so it also serves programs that have no recipe.

    Args:
        model: set up on the device of `fabric`, in its precision.
        source: of batches; its share of the processes is set here.
        phases: in ascending order, the first from 0.
        optimizers: over the parameters of the model.
        schedule: of their rates.
        budget: how long.
        fabric: device, precision, processes.
        deviation: σ of the outputs over the training set, for the error of tests.
        test: what to test on, every `evaluate_every` steps; None for no test.
        evaluate_every: steps; 0 for never.
        log_every: steps between entries of the log.
        checkpoints: where to; None for none.
        checkpoint_every: steps; 0 for none by steps.
        checkpoint_seconds: seconds; 0 for none by time.
        kept: tensors that checkpoints hold beside the state of the run.
        meta: plain values that they hold.
        compile_step: whether to compile model and cost with `torch.compile`.
        autocast: dtype of mixed precision, None for none.
        callbacks: called in the first process.
        clock: to book on.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Source,
        phases: Sequence[PhasePlan],
        optimizers: Optimizers,
        schedule: Schedule,
        budget: Budget,
        *,
        fabric: Fabric,
        deviation: Tensor | None = None,
        test: HeldOut | None = None,
        evaluate_every: int = 0,
        log_every: int = 50,
        checkpoints: Checkpoints | None = None,
        checkpoint_every: int = 0,
        checkpoint_seconds: float = 0.0,
        kept: Mapping[str, Tensor] | None = None,
        meta: Mapping[str, Any] | None = None,
        compile_step: bool = False,
        autocast: torch.dtype | None = None,
        callbacks: Sequence[Callback] = (),
        clock: Clock | None = None,
    ) -> None:
        self.model, self.source, self.phases = model, source, list(phases)
        self.optimizers, self.schedule, self.budget, self.fabric = optimizers, schedule, budget, fabric
        self.deviation, self.test, self.evaluate_every = deviation, test, evaluate_every
        self.log_every, self.checkpoints = log_every, checkpoints
        self.checkpoint_every, self.checkpoint_seconds = checkpoint_every, checkpoint_seconds
        self.kept, self.meta, self.callbacks = dict(kept or {}), dict(meta or {}), list(callbacks)
        self.clock = clock or Clock(lambda: _wait(fabric.device))
        self.step, self.history = 0, list[Entry]()
        self.elapsed, self.progress = 0.0, 0.0
        self.status: Status = "finished"
        self.message = ""
        self.compile_fallback: str | None = None
        source.share(fabric.global_rank, fabric.world_size)
        dtype = next(iter(model.parameters())).dtype
        for phase in self.phases:
            phase.compare.to(fabric.device, dtype)
        self._phase = self.phases[0]
        self._parts = Step(model, self._phase.compare, autocast)
        # Fabric's own wrapper would round the costs to its default dtype, and inputs and targets in mixed precision.
        shared = fabric.strategy.setup_module(self._parts) if fabric.world_size > 1 else self._parts
        self._module: nn.Module = torch.compile(shared, dynamic=False) if compile_step else shared  # type: ignore[assignment]
        self.compiled = compile_step
        self._warm = False
        self._recent: list[Tensor] = []
        self._asked: str | None = None
        self._stop_reason: str | None = None
        self._signal: int | None = None
        self._events: deque[Any] = deque()
        self._agreed = (0, 0.0, 0.0)
        self._kept_step: int | None = None
        self._written = time.perf_counter()

    def stop(self, reason: str) -> None:
        """End the run after the present step, with status "stopped" (several processes: within a few steps)."""
        self._asked = reason

    def resume(self, checkpoint: Checkpoint) -> None:
        """Put everything back as it was when a checkpoint was written."""
        checkpoint.load_model(self.model)
        checkpoint.load_optimizers(self.optimizers)
        restore_generators(checkpoint.part(f"rng.{self.fabric.global_rank}"), self.fabric.device)
        self.step = checkpoint.step
        recent = checkpoint.tensors.get("recent")
        self._recent = [] if recent is None else list(recent.to(self.fabric.device).unbind())
        self._phase = self.phases[int(checkpoint.meta["phase"])]
        self._parts.compare = self._phase.compare
        self.clock.restore(checkpoint.meta["seconds"])
        self._agreed = (self.step, checkpoint.meta["seconds"]["training"], 0.0)
        self._kept_step = self.step

    def run(self) -> Status:
        """Train. Afterwards `status`, `message`, `step` and `history` tell what happened.

        Raises:
            CheckpointError: a checkpoint or the log cannot be written.
            KeyboardInterrupt: after a checkpoint, if there is a folder for them; likewise for SIGTERM.
        """
        self.model.train()
        self._call("on_start", self)
        try:
            with self._watching_signals():
                self.clock.switch("training")
                self._agree()
                while self.progress < 1 and self._stop_reason is None and self._signal is None:
                    self._enter(self.progress)
                    self.optimizers.set_factor(self.schedule(self.progress))
                    self._one_step()
                    self._after_step()
                    self._agree()
                self._flush_log()
                if self._stop_reason is not None:
                    self.status, self.message = "stopped", self._stop_reason
                elif self._signal is not None:
                    self.status, self.message = "stopped", signal.Signals(self._signal).name
                if self.checkpoints is not None and self._kept_step != self.step:
                    self._checkpoint()
        except _Diverged as error:
            self.status, self.message = "diverged", str(error)
        finally:
            self.clock.switch("evaluation")
            self._call("on_end", self)
        if self._signal is not None:
            signal.raise_signal(self._signal)
        return self.status

    def error(self, chunks: Iterator[tuple[Tensor, Tensor]]) -> float:
        """The error e of (3) over a set, shared by all processes."""
        assert self.deviation is not None
        world, rank = self.fabric.world_size, self.fabric.global_rank
        with self.clock.on("evaluation"):
            return evaluate(
                self.model, chunks, self.deviation, device=self.fabric.device, rank=rank, world=world, reduce=self._sum
            )

    # ---- steps ------------------------------------------------------------------------------------------------------

    def _enter(self, progress: float) -> None:
        """Change the phase where it is time to."""
        phase = max((p for p in self.phases if p.start <= progress), key=lambda p: p.start)
        if phase is not self._phase:
            self._flush_log()
            self._phase, self._parts.compare, self._warm = phase, phase.compare, False

    def _one_step(self) -> None:
        if self._warm:
            kernels, began = len(compilation()["kernels"]), self.clock.now()
            self._optimize()
            if len(compilation()["kernels"]) != kernels:
                self.clock.move(self.clock.now() - began, "training", "warmup")
        else:
            with self.clock.on("warmup"):
                self._optimize_carefully()
            self._warm = True

    def _optimize(self) -> None:
        source = self.source if self._phase.source is None else self._phase.source
        batch = source.batch(self.step, self._phase.order)
        total, rows = self._module(batch.inputs.rows, batch.targets.rows, batch.mask, batch.labels)
        self.fabric.backward(total)
        self.optimizers.step()
        self.optimizers.zero_grad()
        self._recent.append(rows)
        self.step += 1
        if rows.is_cuda:
            self._hold_back()

    def _optimize_carefully(self) -> None:
        """A first step: `torch.compile` may find that it cannot, which must not cost the run."""
        if not self.compiled:
            return self._optimize()
        before = torch_generators(self.fabric.device)
        try:
            return self._optimize()
        except Exception as error:  # noqa: BLE001 - whatever a compiler raises; a fault of the step itself shows again
            if self.fabric.world_size > 1:
                raise
            self.compile_fallback = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            self.compiled, self._module = False, self._parts
            self.optimizers.zero_grad()
            restore_generators(before, self.fabric.device)
            self._optimize()

    def _hold_back(self) -> None:
        event = torch.cuda.Event()
        event.record()
        self._events.append(event)
        if len(self._events) > AHEAD:
            self._events.popleft().synchronize()

    def _after_step(self) -> None:
        self._advance()
        for callback in self.callbacks:
            callback.on_step(self)
        if self.step % self.log_every == 0:
            self._flush_log()
        if self.evaluate_every and self.step % self.evaluate_every == 0 and self.test is not None and self.progress < 1:
            self._log({"test_error": self.error(iter(self.test.chunks()))})
        if self._due():
            self._checkpoint()

    def _advance(self) -> None:
        """Bring `elapsed` and `progress` up to date: alike in all processes, and never backwards."""
        if self.fabric.world_size == 1:
            elapsed = self.clock.seconds("training")
        else:
            step, seconds, pace = self._agreed
            elapsed = seconds + pace * (self.step - step)
        self.elapsed = max(self.elapsed, elapsed)
        done = self.elapsed / self.budget.seconds if self.budget.seconds else self.step / (self.budget.steps or 1)
        self.progress = min(done, 1.0)

    def _agree(self) -> None:
        """Stop if a callback wants to; let the first of several processes decide that, and how late it is."""
        if self.fabric.world_size == 1:
            self._stop_reason = self._asked
        elif self.step % AGREE_EVERY == 0:
            step, seconds, _ = self._agreed
            mine = self.clock.seconds("training")
            pace = (mine - seconds) / (self.step - step) if self.step > step else 0.0
            mine, pace, self._stop_reason = self.fabric.broadcast((mine, pace, self._asked))
            self._agreed = (self.step, mine, pace)
        self._advance()

    # ---- log --------------------------------------------------------------------------------------------------------

    def _flush_log(self) -> None:
        """Average the costs since the last entry, and make an entry of them."""
        if not self._recent:
            return
        rows = self._recent_rows().to(torch.float64).mean(0)
        compare = self._phase.compare
        entry: Entry = {"rate": self.optimizers.rates, "loss": float(compare.total(rows)), **compare.named(rows)}
        self._recent.clear()
        self._log(entry)

    def _recent_rows(self) -> Tensor:
        """`Terms.rows` of the steps since the last entry, `[steps, R]`, averaged over the processes, on the CPU.

        Raises:
            _Diverged: one is not finite; names the first.
        """
        found = (self._sum(torch.stack(self._recent)) / self.fabric.world_size).cpu()
        if not bool(found.isfinite().all()):
            place, row = (int(i) for i in (~found.isfinite()).nonzero()[0])
            name = self._phase.compare.name(row)
            step = self.step - len(found) + place + 1
            raise _Diverged(
                f"{name} became {float(found[place, row])} at step {step}, in row {row} "
                f"({self._phase.compare.label(row)}){self._where_to_resume()}. Lower the rate, lengthen the warm-up, "
                f"weigh {name} less, or check that inputs and targets are finite"
            )
        return found

    def _where_to_resume(self) -> str:
        return "" if self._kept_step is None else f"; the checkpoint of step {self._kept_step} is the last good one"

    def _log(self, found: Entry) -> None:
        entry = {"step": self.step, "progress": round(self.progress, 6), "seconds": round(self.elapsed, 3), **found}
        self.history.append(entry)
        self._call("on_log", self, entry)

    def _call(self, hook: str, *args: Any) -> None:  # noqa: ANN401
        for callback in self.callbacks:
            getattr(callback, hook)(*args)

    def _sum(self, tensor: Tensor) -> Tensor:
        if self.fabric.world_size == 1:
            return tensor
        return self.fabric.all_reduce(tensor, reduce_op="sum")  # type: ignore[return-value]

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        if self.checkpoints is None:
            return False
        if self.checkpoint_every and self.step % self.checkpoint_every == 0:
            return True
        if not self.checkpoint_seconds:
            return False
        if self.fabric.world_size == 1:
            return time.perf_counter() - self._written > self.checkpoint_seconds
        if self.step % self.log_every:
            return False
        return bool(self.fabric.broadcast(time.perf_counter() - self._written > self.checkpoint_seconds))

    def _checkpoint(self) -> None:
        """Write one, unless something is not finite: the last good one stays."""
        assert self.checkpoints is not None
        with self.clock.on("checkpoint"):
            tensors = dict(self.kept)
            if self._recent:
                tensors["recent"] = self._recent_rows()
            bad = [name for name, p in self.model.named_parameters() if not bool(p.detach().sum().isfinite())]
            if bad:
                raise _Diverged(
                    f"{bad[0]} is not finite after step {self.step}{self._where_to_resume()}. Lower the rate"
                )
            for rank, states in enumerate(self._generators()):
                tensors.update({f"rng.{rank}.{name}": state for name, state in states.items()})
            if self.fabric.is_global_zero:
                booked = self.clock.all()
                state = {"step": self.step, "phase": self.phases.index(self._phase)}
                path = self.checkpoints.write(
                    self.model, self.optimizers, tensors, {**self.meta, **state, "seconds": booked}
                )
                self._call("on_checkpoint", self, path)
            self.fabric.barrier()
            self._written, self._kept_step = time.perf_counter(), self.step

    def _generators(self) -> list[dict[str, Tensor]]:
        own = torch_generators(self.fabric.device)
        if self.fabric.world_size == 1:
            return [own]
        return [self.fabric.broadcast(own, src=rank) for rank in range(self.fabric.world_size)]

    @contextmanager
    def _watching_signals(self) -> Iterator[None]:
        """Make an interrupt wait for the end of the step and a checkpoint; a second one does not wait."""
        alone = self.fabric.world_size == 1 and threading.current_thread() is threading.main_thread()
        if not alone or self.checkpoints is None:
            yield
            return
        before = {n: signal.getsignal(n) or signal.SIG_DFL for n in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _: object) -> None:
            self._signal = number
            for n, handler in before.items():
                signal.signal(n, handler)

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

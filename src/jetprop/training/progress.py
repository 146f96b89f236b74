"""Watching a run: callbacks, the log file, the progress bar."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from jetprop.training.checkpoint import CheckpointError

if TYPE_CHECKING:
    from jetprop.training.loop import Trainer

__all__ = ["Callback", "LogFile", "ProgressBar", "is_term", "read_log"]

Entry = dict[str, Any]
"""A line of the log: step, progress, seconds, and either rates, loss and terms, or an evaluation."""


def is_term(key: str) -> bool:
    """Whether a key of an entry names a term of the cost: E0, E1, …, R1_low, …, or S."""
    return key[:1] in ("E", "R", "S")


class Callback:
    """What may be done along a run; override what you need. Called in the first process only, between steps.

    `trainer.stop(reason)` ends the run after the present step.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, also of a resumed run."""

    def on_step(self, trainer: Trainer) -> None:
        """After every step: keep it cheap, and do not read tensors."""

    def on_log(self, trainer: Trainer, entry: Entry) -> None:
        """After a line of the log, a loss or an evaluation."""

    def on_checkpoint(self, trainer: Trainer, path: Path) -> None:
        """After a checkpoint has been written."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, whatever ended the run, errors included."""


class LogFile(Callback):
    """One line of JSON for each entry; a resumed run drops the lines that it is going to write anew.

    Args:
        path: the file.
        after: keep the entries up to this step.
    """

    def __init__(self, path: Path, after: int) -> None:
        self.path = path
        kept = [entry for entry in read_log(path) if entry["step"] <= after]
        self.entries = kept
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        try:
            path.write_text(text, encoding="utf-8")
            self._file: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed at the end of the run
        except OSError as error:
            raise CheckpointError(
                f"the log {path} cannot be written: {error.strerror}; free space or give another folder"
            ) from error

    def on_log(self, trainer: Trainer, entry: Entry) -> None:
        """Append a line."""
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise CheckpointError(
                f"the log {self.path} cannot be written: {error.strerror}; free space or give another folder, then "
                "resume"
            ) from error

    def on_end(self, trainer: Trainer) -> None:
        """Close the file."""
        try:
            self._file.close()
        except OSError:
            pass


def read_log(path: Path) -> list[Entry]:
    """The entries of a log, without a last line that a kill has cut off."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break
        if not isinstance(entry, dict) or "step" not in entry:
            break
        entries.append(entry)
    return entries


class ProgressBar(Callback):
    """A bar on the terminal, with loss, terms, error and the time left.

    Args:
        title: stands before the bar.
        stream: where it is drawn, by default the standard error stream.
    """

    EVERY = 0.1

    def __init__(self, title: str = "training", stream: IO[str] | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[found]}"),
            console=Console(file=stream or sys.stderr),
            transient=False,
        )
        self._task = self._progress.add_task(title, total=1.0, left="", found="")
        self._found: dict[str, str] = {}
        self._next = 0.0

    def on_start(self, trainer: Trainer) -> None:
        """Show the bar."""
        self._progress.start()

    def on_step(self, trainer: Trainer) -> None:
        """Move it, ten times a second at most."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self.EVERY
        self._progress.update(self._task, completed=trainer.progress, left=_left(trainer))

    def on_log(self, trainer: Trainer, entry: Entry) -> None:
        """Show the newest numbers."""
        for name in ("loss", *filter(is_term, entry), "test_error"):
            if name in entry:
                self._found[name] = (
                    f"e {100 * entry[name]:.3g} %" if name == "test_error" else f"{name} {entry[name]:.3g}"
                )
        self._progress.update(self._task, completed=trainer.progress, found="  ".join(self._found.values()))

    def on_end(self, trainer: Trainer) -> None:
        """Leave the last state on the terminal."""
        self._progress.update(self._task, completed=trainer.progress, left="")
        self._progress.stop()


def _left(trainer: Trainer) -> str:
    """The training time left, from the mean pace so far."""
    if not 0 < trainer.progress < 1:
        return ""
    seconds = trainer.clock.seconds("training") * (1 - trainer.progress) / trainer.progress
    if not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"

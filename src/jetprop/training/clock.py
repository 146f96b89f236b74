"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

__all__ = ["ACCOUNTS", "Account", "Clock"]

Account = Literal["preparation", "warmup", "training", "evaluation", "checkpoint"]
"""What a second is booked on, see `Clock`."""

ACCOUNTS: tuple[Account, ...] = ("preparation", "warmup", "training", "evaluation", "checkpoint")


class Clock:
    """A stop watch with one running account at a time.

    "training" is what budgets of seconds and comparisons at equal time count: optimizer steps, with fetching their
    batches and writing the log. Not in it: "preparation" (rendering, statistics, setting up), "warmup" (the first step
    of each phase and process, and steps in which kernels were compiled), "evaluation" and "checkpoint".

    Args:
        wait: waits until the device has done what it was given; called whenever the account changes.
        now: what the watch shows, in seconds; by default wall-clock time. `time.process_time` counts the processor's
            time instead, that of all threads together, which others on the machine do not stretch.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None, now: Callable[[], float] = time.perf_counter) -> None:
        self._wait, self.now = wait, now
        self._booked: dict[str, float] = dict.fromkeys(ACCOUNTS, 0.0)
        self._account: Account = "preparation"
        self._since = now()

    def switch(self, account: Account) -> Account:
        """Book what has passed since the last switch, and go on with another account; returns the one before."""
        before = self._account
        if account != before:
            self._wait()
            now = self.now()
            self._booked[before] += now - self._since
            self._account, self._since = account, now
        return before

    @contextmanager
    def on(self, account: Account) -> Iterator[None]:
        """Book a block on an account."""
        before = self.switch(account)
        try:
            yield
        finally:
            self.switch(before)

    def move(self, seconds: float, source: Account, target: Account) -> None:
        """Book seconds anew that went to the wrong account."""
        self._booked[source] -= seconds
        self._booked[target] += seconds

    def seconds(self, account: Account) -> float:
        """What an account holds, the running one up to now."""
        running = self.now() - self._since if account == self._account else 0.0
        return self._booked[account] + running

    def all(self) -> dict[str, float]:
        """What every account holds."""
        return {account: self.seconds(account) for account in ACCOUNTS}

    def restore(self, booked: dict[str, float]) -> None:
        """Add what an interrupted run had booked."""
        for account, seconds in booked.items():
            self._booked[account] += seconds

"""Networks of robust training, trained once and shared by every table and figure, with what was measured of them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

from jetprop.experiments.records import Figure, Record
from jetprop.experiments.registry import Context, Scale
from jetprop.experiments.robust_measures import Measured, measure, measure_all, stages_of
from jetprop.experiments.robust_networks import BUDGET, CPU_STRETCHES, Network, Stage, recipe
from jetprop.experiments.training_table import train, train_ahead
from jetprop.training import Result

__all__ = ["QUANTITIES", "SETS", "Runs", "quantity"]

SETS = ("training", "test")
QUANTITIES = ("e", "v_max", "v_sen", "v_inv")
KIND = {"v_max": "maximum", "v_sen": "sensitivity", "v_inv": "invariance"}


def quantity(measured: Measured, name: str, place: str) -> float:
    """One figure of a table, in per cent: "e", "v_max", "v_sen" or "v_inv" of a set."""
    return 100 * (measured.error[place] if name == "e" else measured.vulnerability[KIND[name]][place])


class Runs:
    """Trains networks in the folder of a context, and measures them; what is there already is read back.

    Args:
        context: where and how; its time limit holds for everything that is trained here.
        name: of the experiment.
    """

    def __init__(self, context: Context, name: str) -> None:
        self.context = context
        self.until = None if context.seconds is None else time.monotonic() + context.seconds
        self.results: dict[Network, Result] = {}
        self._measured: dict[tuple[Network, Stage], Measured] = {}
        self.record = Record(
            experiment=f"avrutskiy2023 {name}",
            scale=context.scale,
            command=f"jetprop reproduce avrutskiy2023 {name} --scale {context.scale} --seed {context.seed}",
            settings={},
            notes=[_conditions(context.scale)],
        )

    def train(self, networks: Iterable[Network]) -> None:
        """Train what is not trained yet, several side by side if the context says so."""
        context, wanted = self.context, list(dict.fromkeys(networks))
        recipes = {network: recipe(network, context.scale, context.seed) for network in wanted}
        names = {network: network.folder(context) for network in wanted}
        by_name = {names[network]: recipes[network] for network in wanted}
        train_ahead(context, by_name, self.until, partial(measure_all, context.scale))
        for network in wanted:
            column = f"{network.label}, {network.column}"
            self.record.settings[column] = recipes[network]
            if self.until is not None and time.monotonic() > self.until and network not in self.results:
                self.record.notes.append(f"{column}: not run, the time limit of this call was reached")
                continue
            result = train(context, names[network], recipes[network], self.until)
            self.record.seconds[column] = result.seconds["training"]
            if result.finished:
                self.results[network] = result
            else:
                self.record.notes.append(f"{column}: {result.status} after {result.steps} steps. {result.message}")

    def measured(self, network: Network, stage: Stage = "after") -> Measured | None:
        """What was measured of a network; None if its training has not finished."""
        result = self.results.get(network)
        if result is None or stage not in stages_of(result):
            return None
        if (network, stage) not in self._measured:
            self._measured[network, stage] = measure(result, self.context.scale, stage)
        return self._measured[network, stage]

    def value(self, network: Network, name: str, place: str = "test", stage: Stage = "after") -> float | None:
        """One figure in per cent, see `quantity`; None if there is none yet."""
        found = self.measured(network, stage)
        return None if found is None else quantity(found, name, place)

    def add(self, row: str, column: str, ours: float | None, published: float | None = None, unit: str = "%") -> None:
        """Put a figure into the record."""
        self.record.figures.append(Figure(row, column, ours, published, unit))


def _conditions(scale: Scale) -> str:
    if scale == "smoke":
        return "Proves that it runs; the figures mean nothing."
    if scale == "paper":
        return (
            "The paper's settings; vulnerabilities over the 20160 test images and the first 20160 training images. "
            "Directions: 16384 of each class."
        )
    return (
        f"16384 training images and {BUDGET['cpu']['seconds']:g} s of one core for every network, whatever the method, "
        "instead of 97020 and 2000 epochs; SiLU, Muon and cosine decay instead of sigmoids, Adam and steps. "
        "Errors over 4096 images of each set, vulnerabilities over 1024. Robust terms weigh 1, E0 and E1 "
        + "; ".join(f"{e0:g} and {e1:g} from {start:.0%} of the time" for start, (e0, e1), _ in CPU_STRETCHES)
        + ", which is the trade-off."
    )

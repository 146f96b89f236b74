"""Tables 3, 4, 5, 7, 8 of avrutskiy2023, and those that its text calls for: regularisation, directions, baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jetprop.experiments.records import Record
from jetprop.experiments.registry import Context, experiment
from jetprop.experiments.robust_claims import beats_the_best, trade_off
from jetprop.experiments.robust_measures import CLASSES
from jetprop.experiments.robust_networks import (
    CONTENDERS,
    MODERATE,
    TERMS,
    WIDTHS,
    Method,
    Network,
    Stage,
    before_trade_off,
    columns,
    levels,
    swept,
)
from jetprop.experiments.robust_runs import QUANTITIES, SETS, Runs

__all__ = ["PUBLISHED"]

PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "table3": {"e test": (9.95, 5.51, 3.12, 2.24, 1.54), "v_max test": (21.1, 17.3, 13.3, 11.6, 7.50)},
    "table4": {
        "e training": (3.66, 1.30, 0.73, 0.54, 0.37),
        "e test": (3.69, 1.33, 0.77, 0.59, 0.46),
        "v_max training": (23.4, 18.6, 13.9, 12.0, 7.68),
        "v_max test": (23.5, 18.7, 14.0, 12.1, 7.92),
        "v_sen training": (23.4, 18.6, 13.9, 12.0, 7.68),
        "v_sen test": (23.4, 18.7, 14.0, 12.1, 7.90),
        "v_inv training": (18.2, 15.3, 12.3, 10.9, 7.32),
        "v_inv test": (18.2, 15.4, 12.4, 11.0, 7.53),
    },
    "table5": {
        "e training": (1.87, 1.61, 1.65, 2.31, 3.42),
        "e test": (2.17, 1.93, 2.47, 3.98, 4.91),
        "v_max training": (24.6, 21.0, 18.0, 19.1, 24.3),
        "v_max test": (24.7, 21.1, 18.3, 19.6, 25.1),
        "v_sen training": (24.3, 20.3, 16.5, 12.6, 8.20),
        "v_sen test": (24.3, 20.4, 17.0, 15.6, 15.7),
        "v_inv training": (18.6, 16.9, 15.2, 16.0, 18.0),
        "v_inv test": (18.7, 17.0, 15.3, 15.6, 16.8),
    },
    "table7": {"e test": (22.9, 14.9, 8.42, 6.21, 4.71), "v_max test": (20.4, 17.0, 13.0, 11.2, 7.20)},
    "table8": {
        "e training": (12.7, 5.59, 1.90, 1.20, 0.69),
        "e test": (12.7, 5.62, 1.92, 1.23, 0.73),
        "v_max training": (22.4, 18.8, 14.1, 12.0, 7.50),
        "v_max test": (22.4, 18.9, 14.2, 12.1, 7.58),
        "v_sen training": (20.7, 18.4, 14.1, 12.0, 7.48),
        "v_sen test": (20.7, 18.5, 14.1, 12.1, 7.55),
        "v_inv training": (19.6, 16.3, 12.7, 11.0, 7.22),
        "v_inv test": (19.6, 16.4, 12.7, 11.1, 7.29),
    },
}
"""In per cent, for 0.6, 1.5, 4, 12 and 20* million weights."""

COST = {
    "smoke": "seconds",
    "cpu": "4 minutes of one core a network that no other table has trained; resumable, and --jobs 2 halves it",
    "paper": "hours on a GPU; resumable",
}


def _published(table: str, row: str, column: str) -> float | None:
    values = PUBLISHED.get(table, {}).get(row)
    return None if values is None else values[list(WIDTHS).index(column)]


def _table(runs: Runs, name: str, network: Callable[[str], tuple[Network, Stage]], brief: bool = False) -> Runs:
    """A table of the paper: one network for each number of weights; brief ones have only the rows that are printed."""
    context = runs.context
    runs.train(network(column)[0] for column in columns(context.scale))
    rows = [(quantity, place) for quantity in QUANTITIES for place in SETS]
    for quantity, place in rows:
        row = f"{quantity} {place}"
        if brief and row not in PUBLISHED[name]:
            continue
        for column in columns(context.scale):
            one, stage = network(column)
            runs.add(row, column, runs.value(one, quantity, place, stage), _published(name, row, column))
    runs.record.data["plots"] = [
        _plot(runs, "Error", "error e, %", ("e",)),
        _plot(runs, "Vulnerabilities", "vulnerability, %", ("v_max",) if brief else QUANTITIES[1:]),
    ]
    return runs


def _plot(runs: Runs, title: str, y: str, quantities: Sequence[str]) -> dict[str, Any]:
    """Test figures against the number of weights, the paper's dashed."""
    names, series = list(columns(runs.context.scale)), []
    held = {(figure.row, figure.column): figure for figure in runs.record.figures}
    for turn, quantity in enumerate(quantities):
        found = [held[f"{quantity} test", column] for column in names]
        for label, values in (("this run", [f.ours for f in found]), ("paper", [f.published for f in found])):
            dashed = label == "paper"
            series.append({"name": f"{quantity}, {label}", "x": names, "y": values, "dashed": dashed, "colour": turn})
    caption = "On the test set; dashed and hollow what the paper prints."
    return {"title": title, "x": "millions of weights", "y": y, "series": series, "caption": caption}


def _before(context: Context, name: str, method: Method) -> Record:
    runs = Runs(context, name)
    return _table(runs, name, lambda column: before_trade_off(method, column, context.scale), brief=True).record


def _after(context: Context, name: str, method: Method) -> Record:
    runs, sizes = Runs(context, name), columns(context.scale)
    runs.train(before_trade_off(method, column, context.scale)[0] for column in sizes)
    _table(runs, name, lambda column: (Network(method, column), "after"))
    runs.record.data["claims"] = [trade_off(runs, Network(method, column)) for column in sizes]
    return runs.record


@experiment("avrutskiy2023 table3", "First-order universal robust training, before the trade-off", **COST)
def table3(context: Context) -> Record:
    """Table 3: E = E0 + E1 + R^I_low + R^I_mid."""
    return _before(context, "table3", "I")


@experiment("avrutskiy2023 table4", "First-order universal robust training, trade-off adjusted", **COST)
def table4(context: Context) -> Record:
    """Table 4: after an epoch more with E = E0 + E1; at small scale, with a last stretch in which E0 weighs more."""
    return _after(context, "table4", "I")


@experiment("avrutskiy2023 table5", "Gaussian augmentation with σ = 0.055", **COST)
def table5(context: Context) -> Record:
    """Table 5: values alone, at noisy images."""
    runs = Runs(context, "table5")
    return _table(runs, "table5", lambda column: (Network("gaussian", column, MODERATE), "after")).record


@experiment("avrutskiy2023 table7", "Second-order universal robust training, before the trade-off", **COST)
def table7(context: Context) -> Record:
    """Table 7: with R^II_low and R^II_mid."""
    return _before(context, "table7", "II")


@experiment("avrutskiy2023 table8", "Second-order universal robust training, trade-off adjusted", **COST)
def table8(context: Context) -> Record:
    """Table 8: the same of second order."""
    return _after(context, "table8", "II")


def sweep(context: Context, name: str, methods: tuple[Method, ...]) -> Runs:
    """Networks of some methods at every strength, beside universal robust training at equal size and time."""
    runs = Runs(context, name)
    sizes = swept(context.scale)
    runs.train(Network(m, column) for column in sizes for m in CONTENDERS)
    runs.train(Network(m, column, level) for column in sizes for m in methods for level in levels(m, context.scale))
    for column in sizes:
        tried = [Network(m, column, level) for m in methods for level in levels(m, context.scale)]
        robust = [Network(m, column) for m in CONTENDERS]
        for network in (*robust, *tried):
            for quantity in QUANTITIES:
                runs.add(f"{network.label}, {column}", f"{quantity} test", runs.value(network, quantity))
        for method in methods:
            ours = [one for one in tried if one.method == method]
            for network in robust:
                runs.record.data.setdefault("claims", []).extend(beats_the_best(runs, network, ours))
            runs.record.data.setdefault("plots", []).append(_against_strength(runs, robust[0], ours))
    return runs


def _against_strength(runs: Runs, robust: Network, tried: list[Network]) -> dict[str, Any]:
    strengths = [one.level for one in tried]
    series: list[dict[str, Any]] = [
        {"name": quantity, "x": strengths, "y": [runs.value(one, quantity) for one in tried]} for quantity in QUANTITIES
    ]
    for turn, quantity in enumerate(QUANTITIES[:2]):
        level, ends = runs.value(robust, quantity), [strengths[0], strengths[-1]]
        name = f"{quantity}, robust (I)"
        series.append({"name": name, "x": ends, "y": [level, level], "dashed": True, "colour": turn})
    return {
        "title": f"{tried[0].method}, {robust.column} million weights",
        "x": "c²" if tried[0].method == "jacobian" else "radius of the ball",
        "y": "test images, %",
        "series": series,
        "log": "x" if len(tried) > 1 else "",
        "caption": "Clean test images; dashed, universal robust training at equal size and time.",
    }


@experiment("avrutskiy2023 jacobian", "Jacobian regularisation of every strength c²", **COST)
def jacobian(context: Context) -> Record:
    """Section 3.5.3: E = E0 + c² Σ ‖∂N/∂D‖², D low and mid; the paper's best v_max is 18 %."""
    return sweep(context, "jacobian", ("jacobian",)).record


@experiment("avrutskiy2023 baselines", "Adversarial training and smoothing, at several radii", **COST)
def baselines(context: Context) -> Record:
    """Not in the paper: projected gradient ascent of the squared error, and smoothing as TRADES does it."""
    return sweep(context, "baselines", ("adversarial", "smoothing")).record


@experiment("avrutskiy2023 directions", "Which classes of directions robust training needs", **COST)
def directions(context: Context) -> Record:
    """Section 3.5.1: low alone, low and mid, all three, mid and high; with what is left along each class."""
    runs = Runs(context, "directions")
    methods: tuple[Method, ...] = ("low", "I", "low+mid+high", "mid+high")
    chosen = [before_trade_off(m, column, context.scale) for column in swept(context.scale) for m in methods]
    runs.train(network for network, _ in chosen)
    for network, stage in chosen:
        row = f"{'+'.join(term[3:] for term in TERMS[network.method])}, {network.column}"
        for quantity in QUANTITIES:
            runs.add(row, f"{quantity} test", runs.value(network, quantity, stage=stage))
        found = runs.measured(network, stage)
        for kind in CLASSES:
            runs.add(row, f"R_{kind}", None if found is None else found.misalignment[kind], unit="")
    runs.record.notes.append(
        "Without the trade-off. R is (36) over test images: what is left of the oracle's derivatives along directions "
        "of a class, relative to their size."
    )
    return runs.record

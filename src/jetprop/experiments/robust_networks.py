"""The networks of the second half of avrutskiy2023: universal robust training and what it is compared with.

A `Network` is a method, a size and, where the method has one, a strength; `recipe` says how it is trained at each
scale, and its name is that of its folder, so every table and figure that needs it finds it trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jetprop.experiments import avrutskiy2023
from jetprop.experiments.recipes import Changes, common
from jetprop.experiments.registry import Context, Scale
from jetprop.training import Recipe

__all__ = [
    "BUDGET",
    "COLUMNS",
    "CONTENDERS",
    "GAUSSIAN",
    "JACOBIAN",
    "LARGEST",
    "MODERATE",
    "RADII",
    "TERMS",
    "WIDTHS",
    "Method",
    "Network",
    "Stage",
    "before_trade_off",
    "columns",
    "levels",
    "recipe",
    "swept",
]

Stage = Literal["before", "after"]
"""Before or after the trade-off; networks without one are "after"."""

BUDGET: dict[Scale, dict[str, Any]] = {
    "smoke": {"batch": 16, "steps": 16},
    "cpu": {"seconds": 240.0},
}
"""Training time of every network alike: seconds of one processor core. `paper` counts epochs."""

LARGEST = "20*"
"""The network of 20 million weights, which is trained in another way: section 3.5.2."""

WIDTHS: dict[str, list[int]] = {
    **{c: [1681, w, w, w, 128, 9] for c, w in {"0.6": 256, "1.5": 512, "4": 1024, "12": 2048}.items()},
    LARGEST: [1681, *[2048] * 5, 128, 9],
}
"""Of all layers, by the millions of weights that the paper calls the networks by."""

COLUMNS: dict[Scale, tuple[str, ...]] = {"smoke": ("0.6",), "cpu": ("0.6", "1.5"), "paper": tuple(WIDTHS)}
"""Networks of the tables."""

Method = Literal[
    "values",
    "I",
    "II",
    "I high",
    "I steady",
    "II steady",
    "low",
    "low+mid+high",
    "mid+high",
    "gaussian",
    "jacobian",
    "adversarial",
    "smoothing",
]
"""values: the networks of table 1. I and II: universal robust training of first and second order, with the trade-off,
I high with high directions too; steady, without it for all of the time; and of first order with other classes of
directions, steady as well. Then those under the assumption of invariance."""

TERMS: dict[Method, tuple[str, ...]] = {
    "I": ("R1_low", "R1_mid"),
    "II": ("R1_low", "R1_mid", "R2_low", "R2_mid"),
    "I steady": ("R1_low", "R1_mid"),
    "II steady": ("R1_low", "R1_mid", "R2_low", "R2_mid"),
    "low": ("R1_low",),
    "I high": ("R1_low", "R1_mid", "R1_high"),
    "low+mid+high": ("R1_low", "R1_mid", "R1_high"),
    "mid+high": ("R1_mid", "R1_high"),
}
"""Terms of universal robust training beside E0 + E1; the largest network has high directions too."""

MODERATE = 0.055
"""σ of table 5."""

GAUSSIAN: dict[Scale, tuple[float, ...]] = {
    "smoke": (MODERATE, 0.095),
    "cpu": (0.02, MODERATE, 0.095, 0.13, 0.17),
    "paper": (0.005, 0.015, 0.03, 0.045, MODERATE, 0.065, 0.075, 0.085, 0.095, 0.11, 0.13, 0.15, 0.17),
}
"""σ of figures 6 and 7, in [0.005, 0.17]; 0.095 is the paper's best."""

JACOBIAN: dict[Scale, tuple[float, ...]] = {
    "smoke": (1.0, 10.0),
    "cpu": (3.0, 30.0, 300.0),
    "paper": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
}
"""c²; the paper tells the best v_max alone, 18 %, not the c² that it belongs to."""

RADII: dict[Scale, tuple[float, ...]] = {"smoke": (0.5,), "cpu": (1.0,), "paper": (0.1, 0.3, 1.0, 2.0, 3.0)}
"""Of the balls of adversarial training and smoothing, which are not in the paper; ‖x' − x‖, intensity."""

ASCENT, SMOOTHNESS = 3, 1.0
"""Steps of the inner ascent, and the weight of the smoothing term."""

EPOCHS, LARGEST_EPOCHS, SLOW, BATCH = 2000, 2200, 50, 2310
"""Of `paper`: epochs, how many of them with the lower rate, and the batch: 42 in an epoch, 84 for the largest."""

ROBUST_BATCH, PLAIN_BATCH = 192, 256
"""Of `cpu`: of methods with rows along directions and the oracle, and of all others."""

CONTENDERS: tuple[Method, ...] = ("I", "I high")
"""What the methods under the assumption of invariance are held against."""

Stretches = tuple[tuple[float, tuple[float, float], float], ...]
"""The cost along the training: from which part of it on, the weights of E0 and E1, and that of every robust term. The
last stretch is the trade-off; tables 3 and 7 show the networks before it."""

CPU_STRETCHES: Stretches = ((0.0, (10.0, 0.0), 1.0), (0.7, (100.0, 1.0), 1.0))
"""At `cpu` and `smoke`, of I and II; all other robust methods keep to the first stretch. At scale `paper` all weights
are 1, and for one epoch more those of the robust terms 0."""


@dataclass(frozen=True)
class Network:
    """One network.

    Args:
        method: how it is trained.
        column: its millions of weights, a key of `WIDTHS`.
        level: σ, c² or the radius; None for the methods that have none.
    """

    method: Method
    column: str
    level: float | None = None

    @property
    def robust(self) -> bool:
        """Whether the oracle's derivatives are trained."""
        return self.method in TERMS

    @property
    def label(self) -> str:
        """The method, and its strength."""
        return self.method if self.level is None else f"{self.method} {self.level:g}"

    def folder(self, context: Context) -> str:
        """The name of its folder, the same in every experiment of this scale, seed and budget."""
        if self.method == "values":
            return f"avrutskiy2023 table1 {context.scale} {self.column}"
        budget = BUDGET.get(context.scale, {}).get("seconds")
        time = "" if budget is None else f" {budget:g} s"
        return f"avrutskiy2023 {context.scale}{time} {self.label} {self.column} seed {context.seed}"


def columns(scale: Scale) -> tuple[str, ...]:
    """The networks of a table at a scale, by their millions of weights."""
    return COLUMNS[scale]


def swept(scale: Scale) -> tuple[str, ...]:
    """The networks that are trained at every strength of a method: in the paper the one of 4 million weights."""
    return {"smoke": ("0.6",), "cpu": ("1.5",), "paper": ("4",)}[scale]


def before_trade_off(method: Method, column: str, scale: Scale) -> tuple[Network, Stage]:
    """The network that tables 3 and 7 show, and at which stage.

    In the paper it is the one that then gets the epoch of the trade-off. At small scale the trade-off takes a good part
    of the time, so the network before it is one that has all of the time without.
    """
    if scale == "paper":
        return Network(method, column), "before"
    steady: dict[Method, Method] = {"I": "I steady", "II": "II steady"}
    return Network(steady.get(method, method), column), "after"


def levels(method: Method, scale: Scale) -> tuple[float, ...]:
    """The strengths that are tried for a method."""
    return {"gaussian": GAUSSIAN, "jacobian": JACOBIAN}.get(method, RADII)[scale]


def recipe(network: Network, scale: Scale, seed: int = 0) -> dict[str, Any]:
    """How a network is trained.

    `paper`: sections 2.4, 3.5 and 4.4 to the letter: 42 batches, 2000 epochs of Adam, the last 50 with a tenth of the
    rate; the largest network 84 and 2200; then for robust training one epoch more with E = E0 + E1 alone. `cpu`: every
    method for the same time of one core on 16384 images, with SiLU, Muon and cosine decay, and the trade-off within
    that time. `smoke`: a tiny network for a few steps.
    """
    if network.method == "values":
        return avrutskiy2023.recipe("table1", WIDTHS[network.column][1], scale, seed)
    if scale == "paper":
        return _paper(network, seed)
    small = scale == "smoke"
    widths = [1681, 16, 16, 8, 9] if small else WIDTHS[network.column]
    data = {"images": 64 if small else 16384, "test_images": 32 if small else 4096}
    training = {**BUDGET[scale], "clock": "cpu", "threads": 1, "seed": seed, "log_every": 16 if small else 200}
    cost = _cost(network, CPU_STRETCHES if network.method in ("I", "I high", "II") else CPU_STRETCHES[:1])
    changes = {**({} if small else {"training.batch": ROBUST_BATCH if network.robust else PLAIN_BATCH}), **cost}
    if small and "objective.robust" in cost:
        changes["robust.directions"] = 64
    return common(widths, cost.get("data.order", 0), data, training).replace(changes).values(full=False)


def _paper(network: Network, seed: int) -> dict[str, Any]:
    largest = network.column == LARGEST
    robust = network.robust
    full = LARGEST_EPOCHS if largest else EPOCHS
    epochs = full + 1 if robust else full
    cost = _cost(network, ((0.0, (1.0, 1.0), 1.0), (full / epochs, (1.0, 1.0), 0.0)))
    values: dict[str, Any] = {
        "model": {"widths": WIDTHS[network.column]},
        "data": {"order": cost.get("data.order", 0)},
        "optimizer": {"name": "adam", "rate": 1e-3},
        "schedule": {"kind": "steps", "steps": [[(full - SLOW) / epochs, 1e-4]]},
        "training": {
            "batch": BATCH // 2 if largest else BATCH,
            "epochs": epochs,
            "seed": seed,
            "precision": "tf32",
            "log_every": 500,
        },
    }
    if "objective.robust" in cost:
        cost["robust.directions"] = 16384
    return Recipe.build(values).replace(cost).values(full=False)


def _cost(network: Network, stretches: Stretches) -> Changes:
    """What is minimised, at any scale."""
    method, level = network.method, network.level
    if method in TERMS:
        terms = list(TERMS[method])
        if network.column == LARGEST and method in ("I", "II"):
            terms += ["R1_high", "R2_high"][: 2 if method == "II" else 1]
        order = 2 if any(term.startswith("R2") for term in terms) else 1
        # the oracle needs second derivatives along the motions, the network does not learn them
        costs = [
            {"weights": [*weights, 0.0][: order + 1], "robust": dict.fromkeys(terms, robust) if robust else {}}
            for _, weights, robust in stretches
        ]
        return {
            "data.order": order,
            "objective.weights": costs[0]["weights"],
            "objective.robust": costs[0]["robust"],
            "objective.phases": [
                {"from": start, **cost} for (start, _, _), cost in zip(stretches[1:], costs[1:], strict=True)
            ],
        }
    if method == "jacobian":
        return {"objective.robust": {"R1_low": level, "R1_mid": level}, "robust.targets": "zero"}
    if method == "gaussian":
        return {"augmentation": {"kind": "gaussian", "sigma": level}}
    if method == "adversarial":
        return {"augmentation": {"kind": "adversarial", "radius": level, "steps": ASCENT}}
    return {"augmentation": {"kind": "smoothing", "radius": level, "steps": ASCENT, "weight": SMOOTHNESS}}

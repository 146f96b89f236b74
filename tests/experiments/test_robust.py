"""The second half of avrutskiy2023: recipes, sharing of networks, measurements, claims."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from jetprop.experiments import Context, find, training_table
from jetprop.experiments.robust_claims import beats_the_best, further_under_noise, trade_off
from jetprop.experiments.robust_measures import CLASSES, _Alignment, measure, measure_all, model_of, stages_of
from jetprop.experiments.robust_networks import GAUSSIAN, TERMS, WIDTHS, Method, Network, levels, recipe
from jetprop.experiments.robust_runs import Runs
from jetprop.experiments.training_table import BEFORE, KeepBefore
from jetprop.manifolds import Cube
from jetprop.oracle import Oracle
from jetprop.robustness import vulnerability
from jetprop.training import Recipe, fit, load_model

METHODS: tuple[Method, ...] = (
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
)


@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
@pytest.mark.parametrize("method", [*METHODS, "values", "adversarial", "smoothing"])
def test_every_network_has_a_recipe_that_can_be_run(method: Method, scale: Any) -> None:
    level = None if method in TERMS or method == "values" else levels(method, scale)[0]
    built = Recipe.build(recipe(Network(method, "0.6", level), scale))
    assert built.objective.robust_orders().keys() == (
        {"low", "mid"} if method == "jacobian" else {term[3:] for term in TERMS.get(method, ())}
    )


def test_robust_training_at_the_scale_of_the_paper_is_as_section_3_5_has_it() -> None:
    chosen = recipe(Network("I", "4"), "paper")
    training, objective = chosen["training"], chosen["objective"]
    assert (training["batch"] * 42, training["epochs"]) == (97020, 2001)
    assert [round(f * 2001) for f, _ in chosen["schedule"]["steps"]] == [1950]
    assert objective["robust"] == {"R1_low": 1.0, "R1_mid": 1.0} and objective["weights"] == [1.0, 1.0]
    (phase,) = objective["phases"]
    steps = 42 * 2001
    assert (42 * 2000) / steps >= phase["from"] > (42 * 2000 - 1) / steps, "exactly the last epoch"
    assert phase["robust"] == {} and phase["weights"] == [1.0, 1.0]


def test_the_largest_network_of_the_paper() -> None:
    chosen = recipe(Network("II", "20*"), "paper")
    widths = chosen["model"]["widths"]
    weights = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    assert widths.count(2048) == 5 and 19e6 < weights < 21e6
    assert (chosen["training"]["batch"] * 84, chosen["training"]["epochs"]) == (97020, 2201)
    assert chosen["objective"]["robust"].keys() == {f"R{k}_{c}" for k in (1, 2) for c in CLASSES}
    assert chosen["objective"]["weights"] == [1.0, 1.0, 0.0], "E2 is no part of the cost"


def test_gaussian_augmentation_at_the_scale_of_the_paper_has_no_epoch_more() -> None:
    chosen = recipe(Network("gaussian", "20*", 0.055), "paper")
    assert (chosen["training"]["batch"], chosen["training"]["epochs"]) == (1155, 2200)
    assert chosen["augmentation"] == {"kind": "gaussian", "sigma": 0.055} and chosen["data"]["order"] == 0
    assert min(GAUSSIAN["paper"]) == 0.005 and max(GAUSSIAN["paper"]) == 0.17 and 0.095 in GAUSSIAN["paper"]


def test_all_methods_have_the_same_time_and_size() -> None:
    budgets, sizes = set(), set()
    for method in METHODS:
        network = Network(method, "1.5", None if method in TERMS else levels(method, "cpu")[0])
        chosen = recipe(network, "cpu")
        budgets.add((chosen["training"]["seconds"], chosen["training"]["clock"], chosen["training"]["threads"]))
        sizes.add((tuple(chosen["model"]["widths"]), chosen["data"]["images"]))
    assert len(budgets) == 1 and sizes == {(tuple(WIDTHS["1.5"]), 16384)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(Context("smoke", tmp_path_factory.mktemp("robust")), "table4")
    runs.train([Network("I", "0.6"), Network("gaussian", "0.6", 0.055)])
    return runs


def test_the_weights_from_before_the_trade_off_are_kept(trained: Runs) -> None:
    robust, noisy = (trained.results[n] for n in (Network("I", "0.6"), Network("gaussian", "0.6", 0.055)))
    assert stages_of(robust) == ("before", "after") and stages_of(noisy) == ("after",)
    before, after = model_of(robust, "before").state_dict(), model_of(robust).state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(ValueError, match="no before"):
        model_of(noisy, "before")


def test_they_are_those_of_a_run_that_ends_there(tmp_path: Path) -> None:
    """At a constant rate."""
    base = Recipe.build(recipe(Network("I", "0.6"), "smoke")).replace({"schedule": {"kind": "constant"}})
    (phase,) = base.objective.phases
    kept = KeepBefore(tmp_path / BEFORE, phase.from_)
    fit(base, out=tmp_path / "whole", callbacks=[kept], progress=False)
    steps = math.ceil(16 * phase.from_)
    changed = base.replace({"training.steps": steps, "objective.phases": []})
    short = fit(changed, out=tmp_path / "short", progress=False).model
    for name, value in load_model(tmp_path / BEFORE).state_dict().items():
        assert torch.equal(value, short.state_dict()[name]), name


def test_what_an_earlier_run_has_left_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / BEFORE
    path.write_bytes(b"old")
    KeepBefore(path, 0.9).on_step(SimpleNamespace(progress=0.5))
    assert not path.exists()


def test_measurements_are_those_of_the_parts(trained: Runs) -> None:
    network = Network("I", "0.6")
    found = measure(trained.results[network], "smoke", "before")
    model = model_of(trained.results[network], "before")
    oracle = Oracle.at(Cube(), Cube().poses(16, 97020), order=1)
    slopes = vulnerability(model, oracle.image.value, oracle)
    for kind, mean in slopes.means().items():
        assert found.vulnerability[kind]["test"] == pytest.approx(mean, rel=1e-4), "float32 against float64"
    with torch.no_grad():
        off = model(oracle.image.value.float()).double() - oracle.target.value
    deviation = torch.tensor(trained.results[network].record["deviation"], dtype=torch.float64)
    assert found.error["test"] == pytest.approx(float((off.square().mean(0).sqrt() / deviation).mean()), rel=1e-5)
    assert found.misalignment.keys() == set(CLASSES)


def test_a_network_that_is_the_oracle_has_no_misalignment_and_a_constant_one_as_much_as_the_targets() -> None:
    oracle = Oracle.at(Cube(), Cube().poses(64), order=1)
    aligned, constant = (_Alignment(64, torch.device("cpu")) for _ in range(2))
    aligned.update(oracle, oracle.gradient())
    constant.update(oracle, torch.zeros_like(oracle.gradient()))
    assert all(value == 0 for value in aligned.compute().values())
    # c is the mean of the norm whose mean square is taken here
    assert all(1 <= value < 1.5 for value in constant.compute().values())


def test_measurements_are_read_back_until_the_weights_change(trained: Runs) -> None:
    result = trained.results[Network("I", "0.6")]
    assert result.out is not None
    first = measure(result, "smoke")
    path = result.out / "measured-after.json"
    held = json.loads(path.read_text())
    held["found"]["error"]["test"] = 0.5
    path.write_text(json.dumps(held))
    assert measure(result, "smoke").error["test"] == 0.5, "read back"
    held["key"]["weights"] = "another's"
    path.write_text(json.dumps(held))
    assert measure(result, "smoke") == first, "measured anew"


def test_tables_share_networks(tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("table3", "table4", "table4"):
        find("avrutskiy2023", name).run(Context("smoke", tmp_path, say=said.append))
    assert len(list(tmp_path.iterdir())) == 2, "with the trade-off and without"


def test_a_process_of_its_own_trains_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_table, "keep_freed_memory", lambda: None)  # it would hold for this process too
    after = pickle.loads(pickle.dumps(partial(measure_all, "smoke")))
    said = training_table._train_apart(tmp_path, recipe(Network("I", "0.6"), "smoke"), None, after)
    assert said == "finished after 16 steps"
    assert {path.stem for path in tmp_path.glob("measured-*.json")} == {"measured-before", "measured-after"}


def test_a_time_limit_leaves_figures_and_claims_open(tmp_path: Path) -> None:
    for name in ("table4", "fig6", "fig9", "attacks", "directions"):
        record = find("avrutskiy2023", name).run(Context("smoke", tmp_path, seconds=0.0))
        assert record.figures and all(figure.ours is None for figure in record.figures)
        assert all(claim["holds"] is None for claim in record.data.get("claims", []))
        assert len(record.notes) > 1


class Invented:
    """`Runs` with given figures."""

    def __init__(self, values: Mapping[tuple[Network, str, str], float], scale: str = "paper") -> None:
        self.values, self.context = values, SimpleNamespace(scale=scale)

    def value(self, network: Network, name: str, place: str = "test", stage: str = "after") -> float | None:
        return self.values.get((network, name, stage))


@pytest.mark.parametrize(
    ("after", "holds"), [((3.69, 23.5), True), ((6.0, 23.5), False), ((3.69, 27.0), False), (None, None)]
)
def test_the_claim_of_the_trade_off(after: tuple[float, float] | None, holds: bool | None) -> None:
    network = Network("I", "0.6")
    values = {(network, "e", "before"): 9.95, (network, "v_max", "before"): 21.1}
    if after is not None:
        values |= {(network, "e", "after"): after[0], (network, "v_max", "after"): after[1]}
    found = trade_off(Invented(values), network)  # type: ignore[arg-type]
    assert found["holds"] is holds


def test_at_small_scale_the_network_before_the_trade_off_is_one_without() -> None:
    steady = Network("I steady", "0.6")
    values = {(steady, "e", "after"): 9.95, (steady, "v_max", "after"): 21.1}
    values |= {(Network("I", "0.6"), "e", "after"): 3.69, (Network("I", "0.6"), "v_max", "after"): 23.5}
    assert trade_off(Invented(values, "cpu"), Network("I", "0.6"))["holds"] is True  # type: ignore[arg-type]
    with_it, without = (recipe(Network(m, "0.6"), "cpu") for m in ("I", "I steady"))
    assert without["objective"]["phases"] == [] and len(with_it["objective"]["phases"]) == 1
    for one in (with_it, without):
        one["objective"].pop("phases")
    assert with_it == without


@pytest.mark.parametrize(
    ("mine", "holds"),
    [
        ((0.77, 14.0), [True, True]),
        ((3.0, 14.0), [False, True]),  # less accurate than the most robust
        ((0.77, 17.0), [False, True]),  # more robust than the one that is as accurate
        ((0.77, 26.0), [False, False]),
        ((0.3, 26.0), [False, True]),  # none is as accurate
        ((0.77, None), [None, None]),
    ],
)
def test_the_claims_over_the_best_baseline(mine: tuple[float, float | None], holds: list[bool | None]) -> None:
    robust, others = Network("I", "4"), [Network("gaussian", "4", s) for s in (0.01, 0.095, 0.2)]
    values = {(robust, "e", "after"): mine[0], (robust, "v_max", "after"): mine[1]}
    for one, (e, v) in zip(others, ((0.5, 25.0), (2.5, 16.5), (4.0, 18.0)), strict=True):
        values |= {(one, "e", "after"): e, (one, "v_max", "after"): v}
    found = beats_the_best(Invented({k: v for k, v in values.items() if v is not None}), robust, others)  # type: ignore[arg-type]
    assert [claim["holds"] for claim in found] == holds
    assert holds[0] is None or found[0]["found"].endswith("gaussian 0.095"), "compared with the most robust"


def test_a_best_at_the_end_of_what_was_tried_is_said_to_be_there() -> None:
    robust, others = Network("I", "4"), [Network("gaussian", "4", s) for s in (0.01, 0.2)]
    values = {(one, name, "after"): x for one in (robust, *others) for name, x in (("e", 1.0), ("v_max", 20.0))}
    values[others[1], "v_max", "after"] = 19.0
    assert "stronger ones might be" in beats_the_best(Invented(values), robust, others)[0]["found"]  # type: ignore[arg-type]


def test_the_claims_under_noise() -> None:
    def curve(errors: tuple[float, float], v: tuple[float, float], plain: tuple[float, float]) -> dict[str, Any]:
        return {
            "error": {"none": list(plain), "expansion": list(errors), "projection": list(errors)},
            "v_max": {"none": [x + 0.001 for x in v], "expansion": list(v), "projection": list(v)},
        }

    curves = {
        "I": curve((0.01, 0.3), (0.08, 0.15), (0.01, 0.32)),
        "II": curve((0.01, 0.1), (0.08, 0.1), (0.01, 0.15)),
        "N 0.095": curve((0.03, 0.15), (0.18, 0.2), (0.03, 0.2)),
    }
    assert [claim["holds"] for claim in further_under_noise("20*", (0.0, 0.25), curves)] == [True] * 5
    swapped = {"I": curves["II"], "II": curves["I"], "N 0.095": curves["N 0.095"]}
    assert [claim["holds"] for claim in further_under_noise("20*", (0.0, 0.25), swapped)] == [
        False,
        False,
        False,
        True,
        True,
    ]

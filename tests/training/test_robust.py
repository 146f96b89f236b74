"""Universal robust training as a recipe: the same whatever the storage, the process and the history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jetprop import Basis, Jet, Oracle
from jetprop.manifolds import Cube
from jetprop.objectives import ImageDirections, RandomDirections, RobustScales, with_directions
from jetprop.training import (
    Callback,
    Directed,
    Fresh,
    ModelConfig,
    Recipe,
    RecipeError,
    Rendered,
    RobustSetup,
    Source,
    Step,
    Stored,
    Trainer,
    build_model,
    fit,
    plan_phases,
    read_log,
)
from jetprop.training.checkpoint import load_tensors
from training.curve import FEATURES, OUTPUTS, Curve, recipe

ROBUST: dict[str, Any] = {
    "data": {"order": 2},
    "objective": {
        "weights": [1.0, 1.0, 0.0],
        "robust": {"R1_low": 1.0, "R1_mid": 0.5, "R2_mid": 0.25},
        "phases": [{"from": 0.75, "weights": [1.0, 1.0, 0.0], "robust": {}}],
    },
    "robust": {"directions": 64},
}
F64: dict[str, Any] = {"dtype": torch.float64}


def banks(*kinds: str, count: int = 16) -> dict[str, ImageDirections]:
    return {kind: ImageDirections(kind, (FEATURES,), count=count) for kind in kinds}


def sources(batch: int = 6, order: int = 2) -> list[Source]:
    common: dict[str, Any] = {**F64, "order": order, "start": 3}
    return [
        Stored.of(Curve(), 20, batch, **common),
        Rendered(Curve(), 20, batch, **common),
        Fresh(Curve(), batch, **common),
    ]


@pytest.mark.parametrize("kind", range(3))
def test_rows_are_added_whatever_the_source(kind: int) -> None:
    """Batch rows are those of `with_directions`, with direction (k + epoch) mod B for sample k."""
    source = sources()[kind]
    held = banks("low", "mid")
    directed = Directed(source, held, {"low": 1, "mid": 2})
    for step in (0, 1, 7):
        inner = source.batch(step, 2)
        numbers, epoch = source.numbers(step)
        assert epoch == (0 if kind == 2 else step // 3)
        d = torch.stack([bank.bank[(numbers + epoch) % 16] for bank in held.values()])
        found = directed.batch(step, 1)
        x, y, _ = with_directions(inner.inputs, inner.targets, d, directed.rows(1))
        assert torch.equal(found.inputs.rows, x.rows) and torch.equal(found.targets.rows, y.rows)
        assert found.inputs.basis == directed.basis_of(1)
        oracle = Oracle(inner.inputs, inner.targets).directional(d.double())
        assert torch.allclose(found.targets.d(3, 3), oracle.d(1, 1), rtol=1e-10)


def test_every_epoch_pairs_a_sample_with_the_next_direction() -> None:
    bank = ImageDirections("high", (1,), count=7)
    bank.bank.copy_(torch.arange(7.0)[:, None])
    x = Jet.constant(torch.arange(6.0)[:, None], Basis.full(1, 1))
    directed = Directed(Stored(x, x, batch=3), {"high": bank}, {"high": 1}, "zero")
    for epoch in range(9):
        for place in range(2):
            made = directed.batch(2 * epoch + place, 0).inputs
            assert torch.equal(made.d(1), (made.value + epoch) % 7)


@pytest.mark.parametrize("kind", range(3))
def test_processes_share_each_batch(kind: int) -> None:
    held = banks("low")
    whole = Directed(sources()[kind], held, {"low": 2})
    parts = [Directed(sources()[kind], held, {"low": 2}) for _ in range(3)]
    for rank, part in enumerate(parts):
        part.share(rank, 3)
    for step in (0, 4):
        one = whole.batch(step, 2)
        for name in ("inputs", "targets"):
            joined = torch.cat([getattr(part.batch(step, 2), name).rows for part in parts], 1)
            assert torch.allclose(joined, getattr(one, name).rows, rtol=1e-10, atol=1e-12)


def test_singular_samples_add_nothing_and_parts_weigh_what_the_whole_does() -> None:
    x, y = Curve().sample(12, order=1, **F64)
    rows = x.rows.clone()
    rows[2, [2, 7, 8]] = rows[1, [2, 7, 8]]  # both degrees of freedom move these images alike
    setup = RobustSetup(banks("mid"), {"mid": 1}, "oracle", {"R1_mid": torch.ones(OUTPUTS).double()})
    objective = recipe(data={"order": 1}, objective={"robust": {"R1_mid": 1.0}}).objective
    model = build_model(ModelConfig(widths=[FEATURES, 5, OUTPUTS], activation="tanh"), 0).double()

    def terms(rank: int, world: int) -> Tensor:
        source = Stored(Jet(rows, x.basis), y, batch=12)
        source.share(rank, world)
        (phase,) = plan_phases(objective, source, torch.ones(3), setup)
        assert phase.source is not None
        batch = phase.source.batch(0, 1)
        return Step(model, phase.compare)(batch.inputs.rows, batch.targets.rows, batch.mask, batch.labels)[1]

    whole = terms(0, 1)
    assert torch.allclose(torch.stack([terms(k, 3) for k in range(3)]).mean(0), whole, rtol=1e-12)
    order = Stored(Jet(rows, x.basis), y, batch=12).numbers(0)[0]
    d = setup.banks["mid"](order).double()
    prediction = model(Jet.seed(x.value[order], d[None]))
    target = Oracle(x[order], y[order]).directional(d, 1)
    squares = (prediction.d(0) - target.d(0)).square().sum(1)
    regular = torch.tensor([int(k) not in (2, 7, 8) for k in order])
    assert float(whole[3]) == pytest.approx(float(squares[regular].sum().detach() / 12), rel=1e-9)


def test_labels_that_are_missing_stay_so() -> None:
    x, y = Curve().sample(12, order=1, **F64)
    mask = torch.rand(3, 12, OUTPUTS) < 0.5
    plain = Stored(x, y, batch=12, mask=mask)
    batch, without = Directed(plain, banks("mid"), {"mid": 1}).batch(0, 1), plain.batch(0, 1)
    assert batch.mask is not None and without.mask is not None and batch.labels is not None
    assert torch.equal(batch.mask[:3], without.mask) and bool(batch.mask[3].all())
    assert torch.equal(batch.labels[:3], without.mask.sum(1).double())


def test_scales_are_measured_on_the_first_pairing() -> None:
    source = Stored.of(Curve(), 40, 8, order=1, **F64)
    wanted = recipe(data={"order": 1}, objective={"robust": {"R1_low": 1.0}}, robust={"directions": 16})
    setup = RobustSetup.of(wanted, source)
    assert setup is not None
    assert sum(len(x) for x, _ in setup.measured(source.chunks())) == 40
    meter = RobustScales(setup.banks, {"low": 1})
    meter.update(*Curve().sample(40, order=1, **F64))
    assert torch.equal(setup.scales["R1_low"], meter.compute()["R1_low"])


@pytest.mark.parametrize(
    "sections",
    [
        ROBUST,
        {**ROBUST, "data": {"order": 2, "storage": "render"}},
        {**ROBUST, "data": {"order": 2, "fresh": True}},
        {**ROBUST, "training": {"precision": "bf16-mixed"}},
        {**ROBUST, "training": {"precision": "32-true"}},
        {"data": {"order": 1}, "objective": {"weights": [1.0, 0.0], "robust": {"R1_high": 1.0}}},
        {
            "data": {"order": 0},
            "objective": {"robust": {"R1_low": 0.1, "R1_mid": 0.1}},
            "robust": {"targets": "zero", "directions": 8},
        },
        {
            "data": {"order": 1},
            "objective": {"robust": {"R1_own": 0.1}},
            "robust": {"classes": {"own": [[1.0, 1], [0.5, 0]]}, "directions": 8},
        },
        {"data": {"order": 0}, "augmentation": {"kind": "gaussian", "sigma": 0.1}},
        {"data": {"order": 0}, "augmentation": {"kind": "adversarial", "radius": 0.1, "steps": 3}},
        {"data": {"order": 0}, "augmentation": {"kind": "smoothing", "radius": 0.1, "weight": 0.5, "rate": 0.05}},
    ],
    ids=str,
)
def test_recipes_train(sections: dict) -> None:
    one, other = fit(recipe(**sections)), fit(recipe(**sections))
    assert one.finished and one.metrics == other.metrics
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q), "the same recipe trains the same network"
    terms = [name for name in one.history[0] if name[0] in "ERS"]
    robust = sections.get("objective", {}).get("robust", {})
    assert set(robust) <= set(terms) and ("S" in terms) == ("weight" in sections.get("augmentation", {}))
    if sections.get("objective", {}).get("phases"):
        last = [name for name in one.history[-1] if name[0] == "R"]
        assert not last, "the trade-off phase has no robust rows"
    assert 0 < one.metrics["test_error"] < 3


def test_storage_does_not_change_the_network() -> None:
    one, other = fit(recipe(**ROBUST)), fit(recipe(**{**ROBUST, "data": {"order": 2, "storage": "render"}}))
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-9)


def test_robust_terms_are_learned() -> None:
    """A network that is trained on R¹ has it many times smaller than one that only gets the log of it."""
    common = {
        "data": {"order": 1},
        "robust": {"directions": 64},
        "optimizer": {"rate": 0.03},
        "training": {"steps": 300, "log_every": 50},
    }
    terms = {
        weight: fit(recipe(**common, objective={"weights": [1.0, 1.0], "robust": {"R1_high": weight}})).metrics
        for weight in (1e-12, 1.0)
    }
    assert terms[1.0]["R1_high"] < terms[1e-12]["R1_high"] / 2


def final_state(folder: Path) -> dict[str, Tensor]:
    return load_tensors(sorted((folder / "checkpoints").iterdir())[-1])[0]


class Fail(Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step == self.at:
            raise RuntimeError("power cut")


@pytest.mark.parametrize(
    "sections",
    [ROBUST, {"data": {"order": 0}, "augmentation": {"kind": "adversarial", "radius": 0.1, "steps": 2}}],
    ids=["robust", "adversarial"],
)
def test_resumed_it_ends_in_the_same_bits(sections: dict, tmp_path: Path) -> None:
    """Cut off within the robust phase, after its end, and within the trade-off phase."""
    whole = recipe(**{**sections, "training": {"checkpoint_every": 3}})
    fit(whole, out=tmp_path / "whole")
    for at in (2, 5, 16, 19):
        with pytest.raises(RuntimeError, match="power cut"):
            fit(whole, out=tmp_path / "parts", callbacks=[Fail(at)])
    assert fit(whole, out=tmp_path / "parts").finished
    one, other = final_state(tmp_path / "whole"), final_state(tmp_path / "parts")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("whole", "parts")]
    assert [{k: v for k, v in e.items() if k != "seconds"} for e in logs[0]] == [
        {k: v for k, v in e.items() if k != "seconds"} for e in logs[1]
    ]


def test_the_state_of_adam_survives_the_change_of_phases(tmp_path: Path) -> None:
    fit(recipe(**{**ROBUST, "training": {"checkpoint_every": 20}}), out=tmp_path)
    steps = [t for name, t in final_state(tmp_path).items() if name.startswith("optimizer") and name.endswith(".step")]
    assert steps and all(int(t) == 20 for t in steps)


def test_images_of_the_cube_train() -> None:
    wanted = Recipe.build(
        {
            "model": {"widths": [1681, 8, 9]},
            "data": {"images": 24, "order": 2, "test_images": 8, "storage": "render"},
            "objective": {"weights": [1.0, 1.0, 0.0], "robust": {"R1_low": 1.0, "R2_mid": 1.0}},
            "robust": {"directions": 32},
            "training": {"batch": 8, "steps": 3, "accelerator": "cpu", "log_every": 1, "compile": "never"},
        }
    )
    found = fit(wanted)
    assert found.finished and {"E0", "E1", "R1_low", "R1_mid", "R2_mid"} <= found.metrics.keys()


def parsed(text: str) -> Recipe:
    return Recipe.parse(text + "\n[training]\nbatch = 4\nsteps = 10\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[objective]\nrobust = {R1_lo = 1.0}", 'no class of directions "lo"; did you mean "low"'),
        ("[objective]\nrobust = {R3_low = 1.0}", "write R1_CLASS or R2_CLASS"),
        ("[objective]\nrobust = {R1_low = -1.0}", "finite numbers ≥ 0"),
        ("[objective]\nrobust = {R1_low = inf}", "finite numbers ≥ 0"),
        ("[objective]\nweights = [0, 0, 0]\nrobust = {R1_low = 0.0}", "not all zero"),
        ("[objective]\nphases = [{from = 0.5, weights = [1, 1, 1], robust = {R4 = 1.0}}]", "R1_CLASS"),
        ("[data]\norder = 1\n[objective]\nrobust = {R2_low = 1.0}", r"need \[data\] order = 2, it is 1"),
        ("[data]\ndirections = {random = 1}\n[objective]\nrobust = {R1_low = 1.0}", 'directions = "all"'),
        ("[robust]\ndirections = 0", "directions = 0"),
        ("[robust]\ntargets = 'nothing'", "targets = 'nothing'"),
        ("[robust]\nclasses = {own = [[1.0]]}", "blur radius"),
        ("[robust]\ndirections = 3", "names no term"),
        ("[robust]\nbank = 3", 'no key "bank"'),
        ("[augmentation]\nsigma = 1.0", r"\[augmentation\] kind: missing"),
        ("[augmentation]\nkind = 'gaussian'", "needs sigma"),
        ("[augmentation]\nkind = 'gaussian'\nsigma = -1.0", "sigma = -1.0"),
        ("[augmentation]\nkind = 'gaussian'\nsigma = 0.1\nradius = 1.0", "radius does not belong"),
        ("[augmentation]\nkind = 'adversarial'", "needs radius"),
        ("[augmentation]\nkind = 'adversarial'\nradius = 1.0\nweight = 1.0", "weight does not belong"),
        ("[augmentation]\nkind = 'smoothing'\nradius = 1.0", "needs weight"),
        ("[augmentation]\nkind = 'gaussian'\nsigma = 0.1", "only the value's target is known"),
    ],
)
def test_faults_of_recipes_are_named(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parsed(text)


def randomized(source: Source) -> Source:
    source.randomize(RandomDirections(torch.ones(2), 1))
    return source


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Directed(sources()[0], banks("low"), {"mid": 1}), r"classes \['mid'\]"),
        (lambda: Directed(sources()[0], banks("low"), {}), "ask for directions"),
        (lambda: Directed(sources(order=1)[0], banks("low"), {"low": 2}), "carries order 1; raise its order"),
        (lambda: plan_phases(recipe(**ROBUST).objective, sources()[0], torch.ones(6)), "R1_low, R1_mid, R2_mid need"),
        (lambda: Directed(randomized(sources()[0]), banks("low"), {"low": 1}), "random derivatives"),
        (
            lambda: Directed(Stored.of(Cube(), 4, 2, order=1), banks("low"), {"low": 1}).batch(0, 1),
            r"shape \[6\], an image has \[41, 41\]",
        ),
    ],
)
def test_sources_that_do_not_fit_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()

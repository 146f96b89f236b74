"""The rivals at sizes that mean nothing: their gradients, in float64, against the engine's and nested reverse mode."""

import json
import sys
from io import StringIO

import pytest
import torch
from rich.console import Console
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from jetprop.benchmarks import bench_rivals
from jetprop.benchmarks.floor import floor_of
from jetprop.benchmarks.in_jenn import JennStep
from jetprop.benchmarks.problems import own_norms, problem
from jetprop.benchmarks.rivals import contestants
from jetprop.jets import push
from jetprop.report import rivals_figure, rivals_markdown, rivals_table

# Nested torch.func loads parts of torch that use its deprecated script decorator.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

TINY = [("mlp-3", 2), ("cnn-2", 3), ("transformer-4", 2)]
IN_PYTORCH = ("eager", "kernels", "torch.func", "double backward")
FOREIGN = ("jax jvp", "jax jet", "jenn")


def distance(found, truth):
    squares = [((a - b).square().sum(), b.square().sum()) for a, b in zip(found, truth, strict=True)]
    return float((sum(a for a, _ in squares) / sum(b for _, b in squares)) ** 0.5)


@pytest.mark.parametrize("order", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "batch"), TINY)
def test_the_truth_is_that_of_nested_reverse_mode(name, batch, order):
    given = problem(name, order, batch)
    network = own_norms(given.model) or given.model
    with sdpa_kernel(SDPBackend.MATH):
        rows = push(network, given.jet(), backend="reference").rows
    gradient = torch.autograd.grad(given.loss(rows), list(network.parameters()))
    assert distance(given.gradient(), gradient) < 1e-9


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("name", "batch"), TINY)
def test_every_rival_has_the_gradient_of_the_engine(name, batch, order):
    given = problem(name, order, batch)
    truth, seen = given.gradient(), set()
    for contestant, make in contestants(given, compiled=False):
        try:
            made = make()
        except ImportError:
            assert contestant in FOREIGN
            continue
        made.run()
        seen.add(contestant)
        wrong = name != "mlp-3" and contestant in ("torch.func", "double backward")
        off = distance(made.gradient(), truth)
        assert off > 1e-2 if wrong else off < 1e-9, f"{contestant} is off by {off:.1e}"
    assert seen >= set(IN_PYTORCH)


def test_every_order_counts_alike():
    """With target 0 each row adds 1 / rows to the loss."""
    given = problem("mlp-5", order=3, batch=4)
    rows = given.model(given.jet()).rows * given.weight
    assert torch.allclose(rows.square().flatten(1).mean(1), torch.ones(13, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("mlp-5", 2 * 13 * 4 * (2 * 4 * 5 + 3 * 2 * 5 * 5 + 3 * 5 * 3)),
        ("transformer-4", 2 * 13 * 4 * 16 * (2 * 4 * 12 + 3 * (4 * 4 + 2 * 4 * 8))),
        ("cnn-2", 2 * 13 * 4 * (2 * 27 * 2 * 144 + 3 * 18 * 4 * 36 + 3 * 4 * 10)),
    ],
)
def test_the_floor_does_the_products_of_all_rows(name, products):
    """Twice the multiplications: forward and weight gradient of all layers, input gradient of all but the first."""
    given = problem(name, order=3, batch=4)
    run = floor_of(given.model, given.x, len(given.basis))
    with FlopCounterMode(display=False) as counted:
        run()
    assert counted.get_total_flops() == products


@pytest.fixture(scope="module")
def measured():
    return bench_rivals("mlp-3", (1, 2), batch=2, seconds=0.0, compiled=False)


def test_a_case_has_times_memory_and_rightness(measured):
    assert [case["case"]["order"] for case in measured] == [1, 2]
    for case in measured:
        assert set(case["timings"]) >= {"floor", *IN_PYTORCH}
        assert set(case["right"]) == set(case["timings"]) - {"floor"}
        assert all(case["right"].values()), case["gradient_deviation"]
        assert all(case["peak_megabytes"][name] > 0 for name in IN_PYTORCH)
    assert json.loads(json.dumps(measured)) == measured


def test_it_is_shown_as_a_table_and_a_plot(measured):
    text = rivals_markdown(measured)
    assert rivals_markdown({"environment": {}, "cases": measured}) == text
    assert all(f"| {name} |" in text for name in ("floor", *IN_PYTORCH, "jax jvp", "jenn"))
    wrong = [{**case, "right": {**case["right"], "torch.func": False}} for case in measured]
    assert "| WRONG " in rivals_markdown(wrong)
    console = Console(file=StringIO(), width=100)
    console.print(rivals_table(measured))
    assert "double backward" in console.file.getvalue()  # type: ignore[attr-defined]
    assert [panel.get_title() for panel in rivals_figure(wrong).axes] == ["order 1", "order 2"]
    with pytest.raises(ValueError, match="benchmark 0 has no case, timings"):
        rivals_table([{}])


def test_who_is_not_installed_is_named(monkeypatch):
    for package in ("jax", "jenn"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "jenn.core", None)
    (case,) = bench_rivals("mlp-3", (1,), batch=2, seconds=0.0, compiled=False)
    assert case["notes"] == {name: "not installed" for name in FOREIGN}
    assert "| jax jet | not installed |" in rivals_markdown([case])


def test_who_is_too_slow_is_measured_once_and_left_out_of_higher_orders():
    low, high = bench_rivals("mlp-3", (1, 2), batch=2, seconds=0.0, limit=0.0, compiled=False)
    assert low["timings"]["torch.func"]["turns"] == 1
    assert low["notes"]["torch.func"].startswith("measured once")
    assert high["notes"]["torch.func"].startswith("left out: ")
    assert high["timings"]["eager"]["turns"] >= 3


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_the_whole_step_is_compiled():
    (case,) = bench_rivals("cnn-2", (1,), batch=2, seconds=0.0)
    assert case["right"]["whole step"]
    assert not case["right"]["double backward"] and case["right"]["double backward, own norms"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rnn-3", 1, 2), "a network is named mlp-SIZE, cnn-SIZE, transformer-SIZE, got 'rnn-3'"),
        (("mlp", 1, 2), "got 'mlp'"),
        (("mlp-3", 0, 2), "order must be at least 1"),
        (("mlp-3", 1, 1), "batch at least 2"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        problem(*arguments)


def test_jenn_refuses_what_it_has_not():
    with pytest.raises(ValueError, match="got 'mlp-3', order 2"):
        JennStep(problem("mlp-3", 2, 2))

"""A whole training step of the engine and its rivals side by side: time, memory, and whether the gradient is right.

Contestants, on the same weights and data (see `jetprop.benchmarks.problems`):

- `floor`: the bare matrix products and convolutions of the same rows (see `jetprop.benchmarks.floor`);
- `eager`: jets, no compiler; `kernels`: jets with compiled elementwise kernels, what a plain call does; `whole step`:
  jets and loss under the caller's own `torch.compile(fullgraph=True)`;
- `torch.func`: `jvp` nested to the order, `vmap` over directions; `double backward`: vector-Jacobian products
  differentiated in their vector; both once more with `, own norms` where the network has batch or layer norm;
- `jax jvp`, `jax jet`: the step in JAX, jitted: nested `jvp`, and Taylor mode;
- `jenn`: order 1 of perceptrons, in float64, its only precision.

A contestant is right if its gradient is that of the engine in float64, which the tests hold against nested reverse
mode, up to `TOLERANCE`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from jetprop.benchmarks.by_hand import double_backward, nested_forward
from jetprop.benchmarks.floor import floor_of
from jetprop.benchmarks.in_jax import JAX_MODES, JaxStep
from jetprop.benchmarks.in_jenn import JennStep, jenn_applies
from jetprop.benchmarks.memory import peak_bytes
from jetprop.benchmarks.problems import Problem, own_norms, problem
from jetprop.benchmarks.timing import Timing, take_turns
from jetprop.jets import compilation, compile_kernels

__all__ = ["RIVAL_MODELS", "TOLERANCE", "bench_rivals", "contestants"]

RIVAL_MODELS = ("mlp-32", "mlp-128", "mlp-256", "mlp-1024", "cnn-16", "transformer-64")

TOLERANCE = 1e-3
"""Of gradients in float32, relative by norm: rounding stays below 1e-4, a lost term is above 1e-2."""

Result = TypeVar("Result")

OURS = ("eager", "kernels", "whole step")


@dataclass(frozen=True)
class Contestant:
    """One way to take the step.

    Args:
        run: the step, gradient included.
        gradient: that of the last step, in the order of the parameters.
        peak: bytes of one step on top of parameters and input; None if unknown.
    """

    run: Callable[[], object]
    gradient: Callable[[], list[Tensor]]
    peak: Callable[[], int | None]


def bench_rivals(
    model: str,
    orders: Sequence[int] = (1, 2, 3),
    batch: int = 64,
    seconds: float = 10.0,
    limit: float = 10.0,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    compiled: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> list[dict]:
    """Measure one network, an order after the other.

    Args:
        model: `mlp-L`, `cnn-C` or `transformer-E`, see `jetprop.benchmarks.problems`.
        orders: ascending.
        batch: samples a step.
        seconds: the time for turns of each order; first calls, with compilation, come on top.
        limit: seconds for one step. A rival that takes more is measured once and left out of higher orders.
        device: "cpu" or "cuda".
        dtype: of the contestants.
        compiled: whether `whole step` takes part, whose compilation takes a minute or so.
        progress: told what happens, a line at a time.

    Returns:
        For each order: the case, a `Timing` for each contestant as a dictionary (its ratio is to the floor), the
        seconds of its first call, its peak in megabytes (10⁶ bytes), its relative deviation from the gradient in
        float64, whether that is right, and notes about those not measured, or once.
    """
    found, slow = [], {}
    for order in sorted(orders):
        exact = _eagerly(lambda order=order: problem(model, order, batch))()
        case = _measure(exact, exact.to(dtype, device), seconds, limit, compiled, slow, progress)
        found.append(
            {
                "case": {"model": model, "order": order, "batch": batch, "dtype": str(dtype).removeprefix("torch.")},
                "rows": len(exact.basis),
                "threads": torch.get_num_threads(),
                "device": device,
                **case,
            }
        )
        slow |= {
            name: f"{t['seconds']:.0f} s at order {order}" for name, t in case["timings"].items() if t["turns"] == 1
        }
    return found


def _measure(
    exact: Problem,
    given: Problem,
    seconds: float,
    limit: float,
    compiled: bool,
    slow: dict[str, str],
    progress: Callable[[str], None],
) -> dict:
    truth = _eagerly(exact.gradient)()
    device = given.x.device.type
    notes: dict[str, str] = {}
    ready: dict[str, Contestant] = {}
    first, warm, deviation = {}, {}, {}
    for name, make in contestants(given, compiled):
        progress(f"{given.name}, order {given.order}: first call of {name}")
        if name in slow:
            notes[name] = f"left out: {slow[name]}"
            continue
        try:
            first[name], contestant = _timed(lambda make=make: _made(make), device)
            warm[name], _ = _timed(contestant.run, device)
        except Exception as error:
            if name in OURS:
                raise
            notes[name] = "not installed" if isinstance(error, ImportError) else f"fails: {_brief(error)}"
            continue
        ready[name] = contestant
        deviation[name] = _distance(contestant.gradient(), truth)
    floor = floor_of(given.model, given.x, len(given.basis))
    floor()
    progress(f"{given.name}, order {given.order}: taking turns for {seconds:g} s")
    timings: dict[str, Timing] = {}
    pace = 5 * warm["kernels"]
    for chosen in (
        [name for name in ready if name in OURS or warm[name] <= min(pace, limit)],
        [name for name in ready if name not in OURS and pace < warm[name] <= limit],
    ):
        turns = take_turns({"floor": floor, **{n: ready[n].run for n in chosen}}, "floor", seconds / 2, at_least=3)
        timings = turns | timings  # the floor beside the quick ones stands
    for name in set(ready) - set(timings):
        timings[name] = Timing(warm[name], warm[name] / timings["floor"].seconds, 0.0, 1)
        notes[name] = f"measured once: a step takes more than {limit:g} s"
    progress(f"{given.name}, order {given.order}: peak memory")
    peak = {name: contestant.peak() for name, contestant in ready.items()}
    return {
        "timings": {name: asdict(timings[name]) for name in ("floor", *ready)},
        "first_call_seconds": {name: round(s, 3) for name, s in first.items()},
        "peak_megabytes": {name: None if n is None else round(n / 1e6, 3) for name, n in peak.items()},
        "gradient_deviation": deviation,
        "right": {name: d < TOLERANCE for name, d in deviation.items()},
        "notes": notes,
    }


def contestants(given: Problem, compiled: bool = True) -> Iterator[tuple[str, Callable[[], Contestant]]]:
    """Name and maker of everything that can take the step, in the order of the table; a maker may raise.

    Args:
        given: network, data and loss.
        compiled: whether `whole step` is among them.
    """
    model, loss, x = given.model, given.loss, given.jet()

    def jets() -> Tensor:
        return loss(model(x).rows)

    yield "eager", lambda: _torch(given, jets, _eagerly)
    yield "kernels", lambda: _torch(given, jets)
    if compiled:
        yield "whole step", lambda: _torch(given, torch.compile(jets, fullgraph=True, dynamic=False))

    composed = own_norms(model)
    for name, rows in (("torch.func", nested_forward), ("double backward", double_backward)):
        for suffix, network in (("", model), (", own norms", composed)):
            if network is not None:
                yield name + suffix, lambda rows=rows, network=network: _torch(given, _by_hand(given, rows, network))
    for mode in JAX_MODES:
        yield mode, lambda mode=mode: _foreign(JaxStep, given, mode)
    if jenn_applies(given):
        yield "jenn", lambda: _foreign(JennStep, given)


def _eagerly(run: Callable[[], Result]) -> Callable[[], Result]:
    """The same without compiled kernels."""

    def uncompiled() -> Result:
        before = compilation()["mode"]
        compile_kernels("never")
        try:
            return run()
        finally:
            compile_kernels(before)

    return uncompiled


def _by_hand(given: Problem, rows: Callable[..., Tensor], network: nn.Module) -> Callable[[], Tensor]:
    return lambda: given.loss(rows(network, given.x, given.directions, given.order))


def _torch(
    given: Problem,
    objective: Callable[[], Tensor],
    around: Callable[[Callable[[], None]], Callable[[], None]] = lambda run: run,
) -> Contestant:
    parameters = list(given.model.parameters())

    def forget() -> None:
        for p in parameters:
            p.grad = None

    @around
    def run() -> None:
        forget()
        objective().backward()

    def gradient() -> list[Tensor]:
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]

    def peak() -> int:
        forget()  # gradients from before would be freed within the step
        return peak_bytes(run, given.x.device.type)

    return Contestant(run, gradient, peak)


def _foreign(step: Callable[..., JaxStep | JennStep], *given: object) -> Contestant:
    made = step(*given)
    return Contestant(made, made.gradient, made.peak_bytes if isinstance(made, JaxStep) else lambda: None)


def _made(make: Callable[[], Contestant]) -> Contestant:
    contestant = make()
    contestant.run()
    return contestant


def _timed(run: Callable[[], Result], device: str) -> tuple[float, Result]:
    start = time.perf_counter()
    result = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def _distance(found: list[Tensor], truth: list[Tensor]) -> float:
    """‖found - truth‖ / ‖truth‖ over all parameters."""
    pairs = [(a.to(b), b) for a, b in zip(found, truth, strict=True)]
    return float(
        (sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)) ** 0.5  # type: ignore[operator]
    )


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]

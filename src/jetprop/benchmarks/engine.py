"""The engine against the bare matrix products of the same rows, and against the ways one would do it by hand.

The network is the paper's, 1681-L-L-L-128-9 with sigmoids; a step is forward, a linear functional of all output rows,
and backward to the parameters. The floor is the matrix products alone: forward, weight gradient, and input gradient
except for the first layer. Contestants:

- `eager`: jets, no compiler;
- `kernels`: jets with compiled elementwise kernels, what a plain call does;
- `recomputed`: the same within `jetprop.jets.recomputed_activations`;
- `whole step`: jets under the caller's own `torch.compile(fullgraph=True)`;
- `by hand`: the same products and kernels in a loop written for this network, without autograd or dispatch: what is
  left between it and the floor is the elementwise work, what is left above it is the price of being general;
- `torch.func`: `jacfwd` nested to the order, with `vmap` inside, differentiated by autograd;
- `double backward`: vector-Jacobian products differentiated in their vector, nested to the order;
- `CUDA graph`: the step of `kernels` captured once and replayed, on GPUs;
- `jax`: `jacfwd` nested to the order and `grad`, jitted, where JAX is installed.

Memory is measured in steps of its own, apart from the timings: the bytes that autograd keeps for backward, the input
among them, and the most that a step holds at a time on top of parameters and input, gradients included. The floor has
neither: its operands lie there before it starts. For JAX it is what XLA has planned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetprop.benchmarks.engine_in_jax import nested_in_jax
from jetprop.benchmarks.in_jax import jax_installed
from jetprop.benchmarks.memory import peak_bytes
from jetprop.benchmarks.timing import take_turns
from jetprop.jets import Basis, Jet, compilation, compile_kernels, recomputed_activations, towers
from jetprop.jets.kernels import tower_adjoint, tower_forward

__all__ = ["EngineCase", "bench_engine"]

DIRECTIONS, OUTPUTS, PIXELS = 6, 9, 1681

SLOW = ("torch.func", "double backward", "jax")
"""They take turns of their own."""

UNSEEN = ("recomputed", "torch.func", "by hand", "CUDA graph", "jax")
"""What they keep for backward cannot be seen: autograd saves nothing, what it saves has no storage, or the hook that
would see it is taken."""


@dataclass(frozen=True)
class EngineCase:
    """One row of the table.

    Args:
        width: L of 1681-L-L-L-128-9.
        order: 1 (7 rows) or 2 (28 rows).
        batch: images a step.
    """

    width: int
    order: int
    batch: int = 64


def bench_engine(
    case: EngineCase,
    seconds: float = 20.0,
    device: str = "cpu",
    rivals: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> dict:
    """Measure one case.

    Args:
        case: which network and order.
        seconds: the time for turns; compilation and warm-up come on top.
        device: "cpu" or "cuda".
        rivals: whether to measure `torch.func`, double backward and (if it is installed, on CPUs) JAX too.
        progress: told what happens, a line at a time.

    Returns:
        The case, a `jetprop.benchmarks.timing.Timing` for each contestant, its saved and its peak megabytes (10⁶ bytes;
        see `jetprop.benchmarks.peak_bytes`), and how far its parameter gradients are from those of the eager jets
        (relative, by norm).
    """
    torch.manual_seed(0)
    sizes = [PIXELS, case.width, case.width, case.width, 128, OUTPUTS]
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.Sigmoid())]
    model = nn.Sequential(*layers[:-1]).to(device)
    basis = Basis.full(DIRECTIONS, case.order)
    x = Jet(torch.randn(len(basis), case.batch, PIXELS, device=device), basis)
    cotangent = torch.randn(len(basis), case.batch, OUTPUTS, device=device)

    def loss() -> Tensor:
        return (model(x).rows * cotangent).sum()

    parameters = list(model.parameters())

    def forget() -> None:
        for parameter in parameters:
            parameter.grad = None

    def step(objective: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            forget()
            objective().backward()

        return run

    compiled_loss = torch.compile(loss, fullgraph=True)
    kernels = step(loss)

    def thrifty() -> Tensor:
        with recomputed_activations():
            return loss()

    def eagerly() -> None:
        compile_kernels("never")
        kernels()
        compile_kernels("auto")

    contestants: dict[str, Callable[[], None]] = {
        "floor": _floor(sizes, len(basis) * case.batch, device),
        "eager": eagerly,
        "kernels": kernels,
        "recomputed": step(thrifty),
        "whole step": step(compiled_loss),
        "by hand": _by_hand(model, x, cotangent),
    }
    if device == "cuda":
        contestants["CUDA graph"] = _captured(kernels, parameters)
    if rivals:
        contestants["torch.func"] = step(lambda: _nested_forward(model, x, cotangent))
        contestants["double backward"] = step(lambda: _double_backward(model, x, cotangent))
    planned: dict[str, Callable[[], int]] = {}
    if rivals and jax_installed() and device == "cpu":
        contestants["jax"], planned["jax"] = nested_in_jax(model, x, cotangent)
    deviation: dict[str, float] = {}
    saved: dict[str, int | None] = {}
    eagerly()
    truth = [p.grad.clone() for p in parameters]  # type: ignore[union-attr]
    for name, run in contestants.items():
        progress(f"L = {case.width}, {len(basis)} rows: first call of {name}")
        saved[name] = None if name in UNSEEN else _saved_bytes(run)
        run()
        if name != "floor":
            deviation[name] = _distance([p.grad for p in parameters], truth)  # type: ignore[misc]
    quick = {name: run for name, run in contestants.items() if name not in SLOW}
    progress(f"L = {case.width}, {len(basis)} rows: taking turns for {seconds:g} s")
    timings = take_turns(quick, "floor", seconds)
    if rivals:
        slow = take_turns(
            {name: contestants[name] for name in contestants if name == "floor" or name not in quick}, "floor", seconds
        )
        timings |= {name: t for name, t in slow.items() if name != "floor"}
    progress(f"L = {case.width}, {len(basis)} rows: peak memory")
    peak: dict[str, int] = {}
    for name, run in contestants.items():
        if name != "floor":
            forget()  # gradients from before would be freed within the step
            peak[name] = planned[name]() if name in planned else peak_bytes(run, device)
    return {
        "case": asdict(case),
        "rows": len(basis),
        "threads": torch.get_num_threads(),
        "device": device,
        "timings": {name: asdict(t) for name, t in timings.items()},
        "saved_megabytes": {name: n and round(n / 1e6, 2) for name, n in saved.items() if name != "floor"},
        "peak_megabytes": {name: round(n / 1e6, 2) for name, n in peak.items()},
        "gradient_deviation": deviation,
        "compilation": compilation(),
    }


def _floor(sizes: list[int], rows: int, device: str) -> Callable[[], None]:
    inputs = [torch.randn(rows, a, device=device) for a in sizes[:-1]]
    cotangents = [torch.randn(rows, b, device=device) for b in sizes[1:]]
    weights = [torch.randn(b, a, device=device) for a, b in zip(sizes, sizes[1:], strict=False)]

    def run() -> None:
        for x, w in zip(inputs, weights, strict=True):
            torch.mm(x, w.t())
        for k, (x, w, g) in enumerate(zip(inputs, weights, cotangents, strict=True)):
            torch.mm(g.t(), x)
            if k:
                torch.mm(g, w)

    return run


def _by_hand(model: nn.Sequential, x: Jet, cotangent: Tensor) -> Callable[[], None]:
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    sigmoid, basis = towers.sigmoid, x.basis

    @torch.no_grad()
    def run() -> None:
        rows, saved = x.rows, []
        for layer in layers:
            z = F.linear(rows, layer.weight)
            z[0].add_(layer.bias)
            saved.append((rows, z))
            if layer is not layers[-1]:
                rows = tower_forward(z, sigmoid, basis, "sigmoid")
        g = cotangent
        for layer, (rows, z) in zip(reversed(layers), reversed(saved), strict=True):
            if layer is not layers[-1]:
                g = tower_adjoint(z, g, sigmoid, basis, "sigmoid")
            flat = g.flatten(0, 1)
            layer.weight.grad, layer.bias.grad = flat.t() @ rows.flatten(0, 1), g[0].sum(0)
            if layer is not layers[0]:
                g = (flat @ layer.weight).view(rows.shape)

    return run


def _captured(run: Callable[[], None], parameters: list[nn.Parameter]) -> Callable[[], None]:
    """A step as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    gradients = [parameter.grad for parameter in parameters]

    def replay() -> None:
        graph.replay()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    return replay


def _path(x: Jet) -> Callable[[Tensor], Tensor]:
    """The images as a polynomial of the degrees of freedom ν, with the rows as its derivatives at ν = 0."""
    pairs = [(i, j) for i, j in x.basis.labels[1 + DIRECTIONS :]]  # type: ignore[misc]
    halves = torch.tensor([0.5 if i == j else 1.0 for i, j in pairs], device=x.device)

    def at(nu: Tensor) -> Tensor:
        total = x.value + torch.tensordot(nu, x.first, 1)
        if x.basis.order < 2:
            return total
        return total + torch.tensordot(halves * torch.stack([nu[i] * nu[j] for i, j in pairs]), x.second, 1)

    return at


def _rows(x: Jet, value: Tensor, first: Tensor, second: Tensor | None) -> Tensor:
    """Rows from full derivative arrays `[6, B, 9]` and `[6, 6, B, 9]`."""
    rows = [value, *first.unbind(0)]
    if second is not None:
        rows += [second[i, j] for i, j in x.basis.labels[1 + DIRECTIONS :]]  # type: ignore[misc]
    return torch.stack(rows)


def _nested_forward(model: nn.Module, x: Jet, cotangent: Tensor) -> Tensor:
    path, zero = _path(x), torch.zeros(DIRECTIONS, device=x.device)

    def value(nu: Tensor) -> tuple[Tensor, Tensor]:
        y = model(path(nu))
        return y, y

    def first(nu: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        jacobian, y = torch.func.jacfwd(value, has_aux=True)(nu)
        return jacobian, (jacobian, y)

    if x.basis.order == 2:
        hessian, (jacobian, y) = torch.func.jacfwd(first, has_aux=True)(zero)
        return (_rows(x, y, jacobian.permute(2, 0, 1), hessian.permute(2, 3, 0, 1)) * cotangent).sum()
    jacobian, (_, y) = first(zero)
    return (_rows(x, y, jacobian.permute(2, 0, 1), None) * cotangent).sum()


def _double_backward(model: nn.Module, x: Jet, cotangent: Tensor) -> Tensor:
    nu = torch.zeros(DIRECTIONS, x.shape[0], 1, device=x.device, requires_grad=True)
    total = x.value + (nu * x.first).sum(0)
    if x.basis.order == 2:
        for row, (i, j) in enumerate(x.basis.labels[1 + DIRECTIONS :]):  # type: ignore[misc]
            total = total + nu[i] * nu[j] * (0.5 if i == j else 1.0) * x.second[row]
    value = model(total)
    first = _jacobian(value, nu)
    second = _jacobian(first, nu).permute(1, 0, 2, 3) if x.basis.order == 2 else None
    return (_rows(x, value, first, second) * cotangent).sum()


def _jacobian(y: Tensor, nu: Tensor) -> Tensor:
    """∂y/∂ν_i for every i, in front of y's axes, from one vector-Jacobian product differentiated in its vector."""
    v = torch.zeros_like(y, requires_grad=True)
    (back,) = torch.autograd.grad(y, nu, v, create_graph=True)
    return torch.stack([torch.autograd.grad(back[i].sum(), v, create_graph=True)[0] for i in range(DIRECTIONS)])


def _saved_bytes(run: Callable[[], None]) -> int:
    """Bytes of the distinct tensors that autograd keeps for backward (parameters left out)."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and not (
            tensor._base is not None and isinstance(tensor._base, nn.Parameter)
        ):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def _distance(grads: list[Tensor], truth: list[Tensor]) -> float:
    difference = sum(float((a - b).square().sum()) for a, b in zip(grads, truth, strict=True))
    return (difference / sum(float(b.square().sum()) for b in truth)) ** 0.5

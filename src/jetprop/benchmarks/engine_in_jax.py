"""The step of `jetprop bench engine` in JAX, jitted: forward mode nested to the order."""

# pyright: reportMissingImports=false

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from jetprop.jets import Jet

__all__ = ["nested_in_jax"]

Array = Any


def nested_in_jax(model: nn.Sequential, x: Jet, cotangent: Tensor) -> tuple[Callable[[], None], Callable[[], int]]:
    """`jacfwd` nested to the order of x along its path, then `grad` to the parameters, compiled by XLA.

    Args:
        model: linear layers with sigmoids between them.
        x: over `Basis.full(directions, order)`, order 1 or 2; the images are the polynomial with these derivatives.
        cotangent: `[R, batch, outputs]`.

    Returns:
        The step, which leaves its gradients in the parameters' `.grad`, and a function that says how many bytes XLA
        has planned for it beside its inputs.

    Raises:
        ImportError: JAX is not installed.
    """
    os.environ.setdefault("NPROC", str(torch.get_num_threads()))  # as many threads as PyTorch has; read once
    import jax
    import jax.numpy as jnp

    directions, order = len(x.basis.directions), x.basis.order
    pairs = [(i, j) for i, j in x.basis.labels[1 + directions :]]  # type: ignore[misc]
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]

    def network(parameters: list[tuple[Array, Array]], image: Array) -> Array:
        for k, (weight, bias) in enumerate(parameters):
            image = image @ weight.T + bias
            if k + 1 < len(parameters):
                image = jax.nn.sigmoid(image)
        return image

    def loss(parameters: list[tuple[Array, Array]], rows: Array, cotangent: Array) -> Array:
        def value(nu: Array) -> tuple[Array, tuple[Array, ...]]:
            image = rows[0] + jnp.tensordot(nu, rows[1 : 1 + directions], 1)
            for row, (i, j) in enumerate(pairs, 1 + directions):
                image = image + nu[i] * nu[j] * (0.5 if i == j else 1.0) * rows[row]
            y = network(parameters, image)
            return y, (y,)

        def raised(f: Callable[[Array], tuple[Array, tuple[Array, ...]]]) -> Callable[[Array], Any]:
            def derivative(nu: Array) -> tuple[Array, tuple[Array, ...]]:
                found, below = jax.jacfwd(f, has_aux=True)(nu)
                return found, (*below, found)

            return derivative

        f = value
        for _ in range(order):
            f = raised(f)
        y, first, *second = f(jnp.zeros(directions, rows.dtype))[1]
        out = [y, *(first[..., i] for i in range(directions)), *(h[..., i, j] for h in second for i, j in pairs)]
        return (jnp.stack(out) * cotangent).sum()

    parameters = [tuple(jnp.asarray(t.numpy(force=True)) for t in (q.weight, q.bias)) for q in layers]
    data = (jnp.asarray(x.rows.numpy(force=True)), jnp.asarray(cotangent.numpy(force=True)))
    compiled = jax.jit(jax.grad(loss)).lower(parameters, *data).compile()

    def run() -> None:
        found = jax.block_until_ready(compiled(parameters, *data))
        for layer, (weight, bias) in zip(layers, found, strict=True):
            layer.weight.grad, layer.bias.grad = (torch.from_dlpack(g) for g in (weight, bias))

    def planned() -> int:
        plan = compiled.memory_analysis()
        return int(plan.temp_size_in_bytes + plan.output_size_in_bytes)

    return run, planned

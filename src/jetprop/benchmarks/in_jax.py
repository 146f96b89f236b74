"""The same step in JAX, jitted: nested `jax.jvp`, and Taylor mode (`jax.experimental.jet`), along the directions.

JAX is an extra (`pip install jetprop[bench]`). The networks are written once more, on the parameters of the PyTorch
ones by their names, from the primitives that Taylor mode knows.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from jetprop.benchmarks.problems import Problem

__all__ = ["JAX_MODES", "JaxStep", "jax_installed"]

Array = Any
Parameters = dict[str, Array]
Levels = tuple[Array, ...]

JAX_MODES = ("jax jvp", "jax jet")


def jax_installed() -> bool:
    """Whether JAX can be imported."""
    return importlib.util.find_spec("jax") is not None


class JaxStep:
    """One training step in JAX: call it, then take `gradient`.

    Args:
        problem: network, data and loss; its dtype is used.
        mode: "jax jvp" or "jax jet".

    Raises:
        ImportError: JAX is not installed.
        ValueError: another mode, or data that JAX cannot hold where PyTorch holds it.
    """

    def __init__(self, problem: Problem, mode: str) -> None:
        if mode not in JAX_MODES:
            raise ValueError(f"mode is one of {JAX_MODES}, got {mode!r}")
        os.environ.setdefault("NPROC", str(torch.get_num_threads()))  # as many threads as PyTorch has; read once
        import jax

        if problem.x.device.type == "cuda" and jax.default_backend() != "gpu":
            raise ValueError(f"the data lie on {problem.x.device}, JAX has only {jax.default_backend()!r} here")
        self._jax = jax
        self._wide = problem.x.dtype == torch.float64
        with self._precision():
            x, directions, target, weight = (
                jax.numpy.asarray(t.numpy(force=True))
                for t in (problem.x, problem.directions, problem.target, problem.weight)
            )
            self._parameters = {k: jax.numpy.asarray(p.numpy(force=True)) for k, p in problem.model.named_parameters()}
            network, rows = NETWORKS[problem.architecture], _nested if mode == "jax jvp" else _taylor
            heads = getattr(getattr(problem.model, "self_attn", None), "num_heads", None)
            settings = {} if heads is None else {"heads": heads}

            def loss(parameters: Parameters, x: Array, directions: Array, target: Array, weight: Array) -> Array:
                found = rows(lambda x: network(parameters, x, **settings), x, directions, problem.order)
                return (((found - target) * weight) ** 2).mean()

            step = jax.jit(jax.grad(loss))
            self._data = (x, directions, target, weight)
            self._compiled = step.lower(self._parameters, *self._data).compile()
        self._found: Parameters = {}

    def __call__(self) -> None:
        """Forward, loss, backward; returns when the gradient is there."""
        with self._precision():
            self._found = self._jax.block_until_ready(self._compiled(self._parameters, *self._data))

    def gradient(self) -> list[torch.Tensor]:
        """That of the last call, in the order of the parameters."""
        return [torch.from_numpy(np.array(self._found[k])) for k in self._parameters]

    def peak_bytes(self) -> int | None:
        """The temporary memory and the result that XLA has planned; None if it does not say."""
        plan = self._compiled.memory_analysis()
        return None if plan is None else int(plan.temp_size_in_bytes + plan.output_size_in_bytes)

    def _precision(self) -> AbstractContextManager[Any]:
        return self._jax.enable_x64(True) if self._wide else nullcontext()


def _nested(f: Callable[[Array], Array], x: Array, directions: Array, order: int) -> Array:
    import jax

    def along(v: Array) -> Levels:
        def value(x: Array) -> tuple[Array, Levels]:
            y = f(x)
            return y, (y,)

        def raised(g: Callable[[Array], tuple[Array, Levels]]) -> Callable[[Array], tuple[Array, Levels]]:
            def derivative(x: Array) -> tuple[Array, Levels]:
                _, tangent, below = jax.jvp(g, (x,), (v,), has_aux=True)
                return tangent, (*below, tangent)

            return derivative

        g = value
        for _ in range(order):
            g = raised(g)
        return g(x)[1]

    return _stacked(jax.vmap(along)(directions))


def _taylor(f: Callable[[Array], Array], x: Array, directions: Array, order: int) -> Array:
    import jax
    from jax.experimental.jet import jet

    def along(v: Array) -> Levels:
        zero = jax.numpy.zeros_like(v)
        value, derivatives = jet(f, (x,), ([v, *[zero] * (order - 1)],))  # derivatives, not divided by k!
        return value, *derivatives

    return _stacked(jax.vmap(along)(directions))


def _stacked(levels: Levels) -> Array:
    import jax.numpy as jnp

    return jnp.concatenate([levels[0][:1], *levels[1:]])


def _linear(p: Parameters, name: str, x: Array) -> Array:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def _norm(p: Parameters, name: str, x: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    from jax import lax

    centred = x - x.mean(axes, keepdims=True)
    scale = lax.rsqrt((centred * centred).mean(axes, keepdims=True) + 1e-5)
    return centred * scale * p[f"{name}.weight"].reshape(shape) + p[f"{name}.bias"].reshape(shape)


def _mlp(p: Parameters, x: Array) -> Array:
    from jax import lax

    for k in (0, 2, 4):
        x = lax.tanh(_linear(p, str(k), x))
    return _linear(p, "6", x)


def _cnn(p: Parameters, x: Array) -> Array:
    from jax import lax

    for conv, norm, stride in (("0", "1", 1), ("3", "4", 2)):
        x = lax.conv_general_dilated(
            x, p[f"{conv}.weight"], (stride, stride), [(1, 1), (1, 1)], dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        x = _norm(p, norm, x, (0, 2, 3), (-1, 1, 1))
        x = x * lax.logistic(x)
    return _linear(p, "8", x.mean((2, 3)))


def _transformer(p: Parameters, x: Array, heads: int) -> Array:
    import jax.numpy as jnp
    from jax import lax

    batch, tokens, width = x.shape
    packed = x @ p["self_attn.in_proj_weight"].T + p["self_attn.in_proj_bias"]
    q, k, v = (
        packed[..., i * width : (i + 1) * width].reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)
        for i in range(3)
    )
    scores = q @ k.transpose(0, 1, 3, 2) * (width // heads) ** -0.5
    grown = jnp.exp(scores - lax.stop_gradient(scores.max(-1, keepdims=True)))
    mixed = (grown / grown.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
    x = _norm(p, "norm1", x + _linear(p, "self_attn.out_proj", mixed), (-1,), (-1,))
    z = _linear(p, "linear1", x)
    z = 0.5 * z * (1 + lax.erf(z * 2**-0.5))
    return _norm(p, "norm2", x + _linear(p, "linear2", z), (-1,), (-1,))


NETWORKS: dict[str, Callable[..., Array]] = {"mlp": _mlp, "cnn": _cnn, "transformer": _transformer}
"""The architectures of `jetprop.benchmarks.problems`."""

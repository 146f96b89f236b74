"""The same step in JENN (https://pypi.org/project/jenn/), where it applies: perceptrons with tanh, order 1, in float64.

JENN carries the partial derivatives along all inputs, in NumPy. It is an extra (`pip install jetprop[bench]`).
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import importlib.util

import numpy as np
import torch

from jetprop.benchmarks.problems import Problem

__all__ = ["JennStep", "jenn_applies", "jenn_installed"]


def jenn_installed() -> bool:
    """Whether JENN can be imported."""
    return importlib.util.find_spec("jenn") is not None


def jenn_applies(problem: Problem) -> bool:
    """Whether JENN has the network and the derivatives."""
    return problem.architecture == "mlp" and problem.order == 1 and problem.x.device.type == "cpu"


class JennStep:
    """One training step in JENN: call it, then take `gradient`.

    Its gradient is (1/m) Σ weight (found - target) ∂found/∂θ over m points, so the weights of ours, 2 weight² m over
    the number of entries, make it that of `Problem.loss`.

    Args:
        problem: network, data and loss.

    Raises:
        ImportError: JENN is not installed.
        ValueError: it does not apply.
    """

    def __init__(self, problem: Problem) -> None:
        if not jenn_applies(problem):
            raise ValueError(f"JENN has perceptrons and order 1 on a CPU, got {problem.name!r}, order {problem.order}")
        from jenn.core import propagation
        from jenn.core.cache import Cache
        from jenn.core.data import Dataset
        from jenn.core.parameters import Parameters

        self._propagation = propagation
        parameters = [p.numpy(force=True).astype(float) for p in problem.model.parameters()]
        weights, biases = parameters[::2], parameters[1::2]
        sizes = [weights[0].shape[1], *(len(b) for b in biases)]
        self._parameters = Parameters(sizes, hidden_activation="tanh", output_activation="linear")
        self._parameters.initialize()
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True), 1):
            self._parameters.W[layer][:], self._parameters.b[layer][:] = w, b[:, None]
        target = problem.target.numpy(force=True).astype(float)
        scale = 2 * len(problem.x) / target.size * problem.weight.numpy(force=True).astype(float) ** 2
        each = np.broadcast_to(scale, target.shape)
        self._data = Dataset(
            problem.x.numpy(force=True).astype(float).T,
            target[0].T.copy(),
            target[1:].transpose(2, 0, 1).copy(),
            Y_weights=each[0].T.copy(),
            J_weights=each[1:].transpose(2, 0, 1).copy(),
        )
        self._cache = Cache(sizes, len(problem.x))

    def __call__(self) -> None:
        """Forward with partials, backward."""
        self._propagation.model_partials_forward(self._data.X, self._parameters, self._cache)
        self._propagation.model_backward(self._data, self._parameters, self._cache)

    def gradient(self) -> list[torch.Tensor]:
        """That of the last call, in the order of the parameters."""
        pairs = zip(self._parameters.dW[1:], self._parameters.db[1:], strict=True)
        return [torch.from_numpy(np.array(g)) for w, b in pairs for g in (w, b[:, 0])]

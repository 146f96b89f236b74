"""Standalone neural ODEs: a whole network as one differential equation with weights that vary with depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jetprop.jets import Jet
from jetprop.ode.activations import Activation, activation_function
from jetprop.ode.adaptive import integrate

__all__ = ["ConvolutionalODE", "DepthVaryingODE", "Solver", "StandaloneODE"]

Solver = Literal["euler", "dopri5"]
"""How the equation is solved: Euler's method, one step a cell, or an adaptive Runge-Kutta method of order 5."""


class DepthVaryingODE(nn.Module):
    """x'(t) = σ(A(t) x(t) + b(t)) on (0, T), with weights and biases given on `steps` cells of equal length.

    A subclass says what A(t) x + b(t) is. Jets go in as inputs, and for `weight` and `bias` through `functional_call`.

    Args:
        weight: shape of the weights of one cell.
        bias: length of the biases of one cell.
        time: T > 0.
        steps: number of cells L ≥ 2; cell l is [l T/L, (l + 1) T/L).
        activation: σ.
        solver: `"euler"`, x_{l+1} = x_l + (T/L) σ(A_l x_l + b_l), for which the network *is* the discrete one; or
            `"dopri5"`, adaptive, with weights linear between the left ends of the cells and constant on the last cell.
            It needs the package torchdiffeq. Its steps are chosen for a whole batch, by the error of the values.
        rtol: relative tolerance of the adaptive solver.
        atol: absolute tolerance of the adaptive solver.
        std: standard deviation of the initial weights and biases, all independent and normal.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        ValueError: a number is out of its range, or a name is none of those offered.
    """

    def __init__(
        self,
        weight: Sequence[int],
        bias: int,
        *,
        time: float,
        steps: int,
        activation: Activation,
        solver: Solver,
        rtol: float,
        atol: float,
        std: float,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        for name, number in {"time": time, "rtol": rtol, "atol": atol}.items():
            if not (math.isfinite(number) and number > 0):
                raise ValueError(f"{name} is a finite number > 0, got {number!r}")
        if not (math.isfinite(std) and std >= 0):
            raise ValueError(f"std, of the initial weights, is a finite number ≥ 0, got {std!r}")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
            raise ValueError(
                f"steps is an integer ≥ 2, got {steps!r}: with one step there is nothing that varies in depth"
            )
        if solver not in ("euler", "dopri5"):
            raise ValueError(f'solver is "euler" or "dopri5", got {solver!r}')
        self.time, self.steps, self.activation, self.solver = float(time), steps, activation, solver
        self.rtol, self.atol = float(rtol), float(atol)
        self.sigma: Callable[[Any], Any] = activation_function(activation)
        self.weight = nn.Parameter(std * torch.randn(steps, *weight, device=device, dtype=dtype))
        self.bias = nn.Parameter(std * torch.randn(steps, bias, device=device, dtype=dtype))

    @property
    def dt(self) -> float:
        """Length of a cell, T/L, which the Euler step multiplies the activation by."""
        return self.time / self.steps

    def affine(self, x: Any, weight: Any, bias: Any) -> Any:
        """A x + b with the weights and biases of one cell."""
        raise NotImplementedError

    def check_input(self, x: Tensor | Jet) -> None:
        """Refuse what does not fit the model."""
        raise NotImplementedError

    def cells(self) -> Iterator[tuple[Any, Any]]:
        """Weight and bias of each cell, in order of depth."""
        # unbind: one backward step for all cells, where indexing would write a full gradient for each
        return zip(self.weight.unbind(0), self.bias.unbind(0), strict=True)

    def forward(self, x: Any, trajectory: bool = False) -> Any:
        """The state at T, `[batch, …]`, or at the ends of all cells, `[batch, steps + 1, …]`, the input first.

        Args:
            x: inputs, a tensor or a jet.
            trajectory: whether to return all states.

        Raises:
            ValueError: the inputs are of another shape than the model's.
            RuntimeError: the adaptive solver fails.
        """
        self.check_input(x)
        if self.solver == "dopri5":
            return self._adaptive(x, trajectory)
        states = [x]
        for weight, bias in self.cells():
            x = x + self.dt * self.sigma(self.affine(x, weight, bias))
            if trajectory:
                states.append(x)
        if not trajectory:
            return x
        if isinstance(x, Jet) and not isinstance(states[0], Jet):  # parameters are jets, the input is not
            states[0] = Jet.constant(states[0], x.basis)
        return torch.stack(states, dim=1)

    def _adaptive(self, x: Any, trajectory: bool) -> Any:
        cells = list(self.cells())

        def velocity(t: float, state: Any) -> Any:
            place = min(max(t / self.dt, 0.0), self.steps - 1.0)
            left = min(int(place), self.steps - 2)
            (w, b), (w_next, b_next) = cells[left], cells[left + 1]
            part = place - left
            return self.sigma(self.affine(state, w + part * (w_next - w), b + part * (b_next - b)))

        count = self.steps + 1 if trajectory else 2
        times = torch.linspace(0, self.time, count, dtype=torch.float64, device=x.device)
        return integrate(velocity, x, times, rtol=self.rtol, atol=self.atol, trajectory=trajectory)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"weight={list(self.weight.shape)}, time={self.time:g}, steps={self.steps}, "
            f"activation={self.activation!r}, solver={self.solver!r}"
        )


class StandaloneODE(DepthVaryingODE):
    """x'(t) = σ(W(t) x(t) + b(t)), x(0) the input, x(T) the output: a dense network of constant width.

    Args:
        width: N, components of the state.
        time, steps, activation, solver, rtol, atol, std, device, dtype: as of `DepthVaryingODE`; the defaults are the
            paper's.

    Raises:
        ValueError: a number is out of its range, or a name is none of those offered.

    Source:
        jaroudi2022, (1) and section 5: T = 3, 150 steps, so that the Euler step is 1/50.

    Example:
        >>> import torch
        >>> from jetprop import Jet
        >>> from jetprop.ode import StandaloneODE
        >>> model = StandaloneODE(4, steps=10)
        >>> x = torch.rand(5, 4)
        >>> model(x).shape, model(x, trajectory=True).shape, model(Jet.seed(x)).first.shape
        (torch.Size([5, 4]), torch.Size([5, 11, 4]), torch.Size([4, 5, 4]))
    """

    def __init__(
        self,
        width: int,
        time: float = 3.0,
        steps: int = 150,
        activation: Activation = "tanh",
        *,
        solver: Solver = "euler",
        rtol: float = 1e-3,
        atol: float = 1e-6,
        std: float = 1e-3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _positive_integer("width", width)
        options: dict[str, Any] = {"rtol": rtol, "atol": atol, "std": std, "device": device, "dtype": dtype}
        super().__init__((width, width), width, time=time, steps=steps, activation=activation, solver=solver, **options)
        self.width = width

    def affine(self, x: Any, weight: Any, bias: Any) -> Any:
        """W x + b."""
        return F.linear(x, weight, bias)

    def check_input(self, x: Tensor | Jet) -> None:
        """Refuse what is not `[batch, width]`."""
        if x.dim() != 2 or x.shape[1] != self.width:
            raise ValueError(
                f"inputs are [batch, {self.width}], the width of the model, got {list(x.shape)}; flatten images, or "
                f"build StandaloneODE(width=…) for this width"
            )


class ConvolutionalODE(DepthVaryingODE):
    """x'(t) = σ(w(t) * x(t) + b(t)): the state is an image of C channels, the weights are convolutions that keep it so.

    Args:
        channels: C.
        kernel: k, odd; images are padded by zeros.
        time, steps, activation, solver, rtol, atol, std, device, dtype: as of `DepthVaryingODE`.

    Raises:
        ValueError: a number is out of its range, or a name is none of those offered.

    Source:
        jaroudi2022, section 6, names it as future work.

    Example:
        >>> import torch
        >>> from jetprop.ode import ConvolutionalODE
        >>> ConvolutionalODE(3, steps=4)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 3,
        time: float = 3.0,
        steps: int = 150,
        activation: Activation = "tanh",
        *,
        solver: Solver = "euler",
        rtol: float = 1e-3,
        atol: float = 1e-6,
        std: float = 1e-3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        _positive_integer("channels", channels)
        _positive_integer("kernel", kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel is odd, so that images keep their size, got {kernel}")
        shape = (channels, channels, kernel, kernel)
        options: dict[str, Any] = {"rtol": rtol, "atol": atol, "std": std, "device": device, "dtype": dtype}
        super().__init__(shape, channels, time=time, steps=steps, activation=activation, solver=solver, **options)
        self.channels, self.kernel = channels, kernel

    def affine(self, x: Any, weight: Any, bias: Any) -> Any:
        """The convolution w * x + b."""
        return F.conv2d(x, weight, bias, padding=self.kernel // 2)

    def check_input(self, x: Tensor | Jet) -> None:
        """Refuse what is not `[batch, channels, rows, columns]`."""
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(f"inputs are [batch, {self.channels}, rows, columns], got {list(x.shape)}")


def _positive_integer(name: str, number: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} is an integer ≥ 1, got {number!r}")

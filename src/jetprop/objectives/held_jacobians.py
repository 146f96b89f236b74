"""Passes through a network whose Jacobians are held constant: there, back, and there again, with weight gradients.

Of a linear layer y_i = y_{i−1} w_i + b_i the weight gradient is y_{i−1}ᵀ dy_i; that of the scalar (tangent ỹ₀, sent
through all layers' Jacobians) · dy_K is ỹ_{i−1}ᵀ dy_i, with the Jacobians of what lies between held constant. So one
forward and one backward pass of the network, a forward pass of tangents, and *one* product (y + βỹ)ᵀ dy for each layer
make the gradient of a loss and of a penalty on its input gradient.

Forward passes of tangents are the derivative of the backward pass by its own cotangent, so everything is reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from jetprop.objectives.penalties import SampleLoss, finite, loss_of_samples, same_randomness_after, trained

__all__ = ["HeldJacobians", "input_gradient"]


@dataclass(eq=False)
class _Layer:
    """One use of a weight.

    Args:
        weight: w, as the model gave it.
        bias: b, or None.
        apply: (y, w, b) to y w + b.
        reverse: (dy, y, w) to the cotangent of y.
        weigh: (dy, y, w) to yᵀ dy.
        offset: dy to the gradient of b.
        at_input: whether y is the network's input.
        stop: whether the cotangent of y is not wanted any more.
    """

    weight: Tensor
    bias: Tensor | None
    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    reverse: Callable[[Tensor, Tensor, Tensor], Tensor]
    weigh: Callable[[Tensor, Tensor, Tensor], Tensor]
    offset: Callable[[Tensor], Tensor]
    at_input: bool = False
    stop: bool = False
    y: Tensor | None = None
    tangent: Tensor | None = None
    cotangents: list[Tensor] = field(default_factory=list)


FEW_CHANNELS = 4
"""Up to so many input channels the reverse of a plane convolution is a product and a sum of overlapping tiles."""


class HeldJacobians:
    """One forward pass of a model, after which vectors go through its Jacobians both ways.

    Layers with weights are those called as `linear`, `conv1d` to `conv3d`, their transposes, and `x @ w` with a
    parameter w; whatever lies between has no parameters.

    Args:
        model: the network.
        x: inputs, `[batch, …]`.

    Raises:
        NotImplementedError: under autocast, or (from `backward`) a parameter that acts in another way.

    Source:
        demyanov2015, sections 3.3, 7.1, 7.5. There (y + βỹ)ᵀ dy is two products.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        if torch.is_autocast_enabled(x.device.type):
            raise NotImplementedError("held Jacobians know no autocast; switch it off here, or take exact=True")
        self.parameters = trained(model)
        self.x = x.detach().requires_grad_()
        self._layers: list[_Layer] = []
        self._handles: list[Tensor] = []
        with _Recording(self):
            self.output: Tensor = model(self.x)

    def backward(self, cotangent: Tensor) -> Tensor:
        """dy_K to dy₀ = dy_K · J; every layer keeps its dy.

        Args:
            cotangent: like the output.

        Returns:
            Like x, a constant.
        """
        self._seed = cotangent.detach().requires_grad_()
        own = list(self.parameters.values())
        reverse, *others = torch.autograd.grad(
            self.output,
            [self.x, *own, *self._handles],
            self._seed,
            create_graph=True,
            allow_unused=True,
        )
        faults = [name for name, g in zip(self.parameters, others, strict=False) if g is not None]
        if faults:
            raise NotImplementedError(
                f"the form of the paper is for weights of linear layers and convolutions; {', '.join(faults[:4])}"
                f"{' and more' if len(faults) > 4 else ''} act in another way: take exact=True, or freeze them"
            )
        if reverse is None:
            raise ValueError("the model's output does not depend on its input, so it has no derivatives")
        self._reverse = reverse
        return reverse.detach()

    def forward(self, tangent: Tensor) -> Tensor:
        """ỹ₀ to ỹ_K = J ỹ₀, after `backward`; every layer keeps the tangent of its input."""
        (output,) = torch.autograd.grad(self._reverse, self._seed, tangent)
        return output

    def backward_again(self, cotangent: Tensor) -> None:
        """Another dy_K; every layer keeps the second dy. The last pass."""
        for layer in self._layers:
            layer.stop = layer.at_input
        torch.autograd.grad(self.output, [self.x, *self._handles], cotangent, allow_unused=True)

    def gradients(self, task: float, weight: float) -> list[Tensor | None]:
        """Both terms, task · Σ yᵀ dy + weight · Σ ỹᵀ dy' for each parameter.

        dy' is the last dy; biases have the first term only.

        Args:
            task: of the first term.
            weight: of the second.
        """
        outputs, slopes = [], []
        for layer in self._layers:
            if not layer.cotangents or layer.y is None:
                continue
            first, last, w = layer.cotangents[0], layer.cotangents[-1], layer.weight.detach()
            if layer.weight.requires_grad:
                terms = [(first, task, layer.y)] if task else []
                if weight and layer.tangent is not None:
                    terms.append((last, weight, layer.tangent))
                if len(terms) == 2 and first is last:
                    terms = [(first, 1.0, task * layer.y + weight * layer.tangent)]  # type: ignore[operator]
                outputs += [layer.weight] * len(terms)
                slopes += [factor * layer.weigh(dy, y, w) for dy, factor, y in terms]
            if task and layer.bias is not None and layer.bias.requires_grad:
                outputs.append(layer.bias)
                slopes.append(task * layer.offset(first))
        own = list(self.parameters.values())
        if not outputs:
            return [None] * len(own)
        return list(torch.autograd.grad(outputs, own, slopes, allow_unused=True))

    def _called(self, layer: _Layer, y: Tensor) -> Tensor:
        layer.at_input = y is self.x or y._base is self.x
        self._layers.append(layer)
        # A leaf that stands for the weight: asking for its gradient has autograd pass by, whatever y depends on.
        handle = layer.weight.detach().requires_grad_()
        self._handles.append(handle)
        return _There.apply(y, handle, layer)  # type: ignore[return-value]


def input_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: SampleLoss) -> tuple[Tensor, Tensor]:
    """The losses `[batch]` and g = ∇ₓL of each sample, `[batch, …]`, constants; for any module.

    The random numbers drawn meanwhile will be drawn again, so a pass after it has the same dropout masks.

    Raises:
        FloatingPointError: g is not finite.
    """
    with same_randomness_after(x):
        if torch.is_autocast_enabled(x.device.type):
            leaf = x.detach().requires_grad_()
            output = model(leaf)
        else:
            passes = HeldJacobians(model, x)
            leaf, output = passes.x, passes.output
        losses = loss_of_samples(loss, output, y)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), finite(gradient)


class _There(torch.autograd.Function):
    """A layer, and as its backward pass `_Back`."""

    @staticmethod
    def forward(ctx, y: Tensor, handle: Tensor, layer: _Layer) -> Tensor:  # type: ignore[override] # noqa: ANN001
        ctx.save_for_backward(y)
        ctx.layer = layer  # and not the passes: a cycle through autograd's graph would never be freed
        bias = None if layer.bias is None else layer.bias.detach()
        return layer.apply(y, layer.weight.detach(), bias)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple:  # type: ignore[override] # noqa: ANN001
        layer: _Layer = ctx.layer
        layer.y = ctx.saved_tensors[0].detach()
        layer.cotangents.append(dy.detach())
        if not ctx.needs_input_grad[0] or layer.stop:
            return None, None, None
        return _Back.apply(dy, layer), None, None


class _Back(torch.autograd.Function):
    """The reverse of a layer, linear in dy; its own derivative by dy is the layer again, without its bias."""

    @staticmethod
    def forward(ctx, dy: Tensor, layer: _Layer) -> Tensor:  # type: ignore[override] # noqa: ANN001
        ctx.layer = layer
        assert layer.y is not None
        return layer.reverse(dy, layer.y, layer.weight.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, tangent: Tensor) -> tuple:  # type: ignore[override] # noqa: ANN001
        layer: _Layer = ctx.layer
        layer.tangent = tangent
        return layer.apply(tangent, layer.weight.detach(), None), None


class _Recording(TorchFunctionMode):
    """Has layers with weights go through `_There`."""

    def __init__(self, passes: HeldJacobians) -> None:
        super().__init__()
        self._passes = passes

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        make = _LAYERS.get(function)
        if make is not None:
            y, layer = make(*args, **kwargs)
            if layer is not None and y.requires_grad | layer.weight.requires_grad and not self._follows(layer):
                return self._passes._called(layer, y)
        return function(*args, **kwargs)

    def _follows(self, layer: _Layer) -> bool:
        """Whether weight or bias depend on the input, which `_There` would cut off."""
        return any(t is not None and _reaches(t, self._passes.x) for t in (layer.weight, layer.bias))


def _reaches(tensor: Tensor, leaf: Tensor) -> bool:
    """Whether autograd leads from a tensor back to a leaf."""
    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if getattr(node, "variable", None) is leaf:
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, _Layer | None]:  # noqa: A002
    layer = _Layer(
        weight,
        bias,
        apply=F.linear,
        reverse=lambda dy, y, w: dy @ w,
        weigh=lambda dy, y, w: dy.reshape(-1, dy.shape[-1]).T @ y.reshape(-1, y.shape[-1]),
        offset=lambda dy: dy.reshape(-1, dy.shape[-1]).sum(0),
    )
    return input, layer


def _matmul(input: Tensor, other: Tensor) -> tuple[Tensor, _Layer | None]:  # noqa: A002
    ours = isinstance(other, nn.Parameter) and other.requires_grad and other.dim() == 2 and input.dim() >= 2
    return _linear(input, other.T) if ours else (input, None)


def _convolution(space: int, transposed: bool) -> Callable[..., tuple[Tensor, _Layer | None]]:
    def of(number: int | tuple[int, ...]) -> list[int]:
        return [number] * space if isinstance(number, int) else list(number) * (space if len(number) == 1 else 1)

    def layer(y: Tensor, w: Tensor, b: Any, stride: Any, pad: Any, dilation: Any, out: Any, groups: int) -> Any:
        if y.dim() != space + 2:
            return y, None  # without an axis for the batch
        if isinstance(pad, str):
            total = [0 if pad == "valid" else d * (k - 1) for d, k in zip(of(dilation), w.shape[2:], strict=True)]
            if any(n % 2 for n in total):
                return y, None  # PyTorch pads one side more
            pad = [n // 2 for n in total]
        options = (of(stride), of(pad), of(dilation), transposed, of(out), groups)

        def back(dy: Tensor, y: Tensor, w: Tensor, wanted: list[bool]) -> Any:
            return torch.ops.aten.convolution_backward(dy, y, w, None, *options, wanted)

        def fold(dy: Tensor, y: Tensor, w: Tensor) -> Tensor:
            columns = w.flatten(1).T @ dy.flatten(2)
            return torch.ops.aten.col2im(columns, y.shape[2:], w.shape[2:], options[2], options[1], options[0])

        # the library for CPUs takes as long for the input gradient of one channel as for that of thirty-two
        few = y.device.type == "cpu" and space == 2 and not transposed and groups == 1 and w.shape[1] <= FEW_CHANNELS
        made = _Layer(
            w,
            b,
            apply=lambda y, w, b: torch.ops.aten.convolution(y, w, b, *options),
            reverse=fold if few else lambda dy, y, w: back(dy, y, w, [True, False, False])[0],
            weigh=lambda dy, y, w: back(dy, y, w, [False, True, False])[1],
            offset=lambda dy: dy.sum((0, *range(2, dy.dim()))),
        )
        return y, made

    def plain(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):  # noqa: ANN001, ANN202, A002
        return layer(input, weight, bias, stride, padding, dilation, 0, groups)

    def transpose(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):  # noqa: ANN001, ANN202, A002
        return layer(input, weight, bias, stride, padding, dilation, output_padding, groups)

    return transpose if transposed else plain


_LAYERS: dict[Any, Callable[..., tuple[Tensor, _Layer | None]]] = {
    F.linear: _linear,
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__), _matmul),
    **{getattr(F, f"conv{space}d"): _convolution(space, False) for space in (1, 2, 3)},
    **{getattr(F, f"conv_transpose{space}d"): _convolution(space, True) for space in (1, 2, 3)},
}

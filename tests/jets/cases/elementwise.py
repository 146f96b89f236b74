"""Cases of the elementwise rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jets.rule_cases import Case, drawn, spelled, tensor

BEYOND_KINKS = tensor([[-4.3, -0.41, 0.27], [1.63, -1.21, 7.3]])
"""On every side of the kinks at 0, ±½, ±1, ±3 and 6, and on none."""


def elementwise(
    name: str,
    low: float = -2.0,
    high: float = 2.0,
    module: nn.Module | None = None,
    oracle: Callable[[Tensor], Tensor] | None = None,
    x: Tensor | None = None,
    label: str = "",
    smooth: bool = True,
    order: int = 4,
    **options: Any,
) -> Case:
    """A function of one tensor in all its spellings, those of `torch.nn` among them."""
    words = spelled(name, **options)
    if module is not None:
        words["module"] = module
        if "inplace" in module.__dict__:
            words["module in place"] = _in_place(module)
    first = next(iter(words))
    function = words.pop(first)
    x = drawn(2, 3, low=low, high=high) if x is None else x
    return Case(name, function, x, label, words, oracle, smooth, per_sample=True, order=order)


def _in_place(module: nn.Module) -> Callable:
    options = {k: v for k, v in module.__dict__.items() if not k.startswith("_") and k != "training"}

    def call(x: Any) -> Any:
        twin = type(module).__new__(type(module))
        twin.__dict__.update(module.__dict__ | options | {"inplace": True})
        y = x.clone()
        assert twin(y) is y
        return y

    return call


def kinked(name: str, **options: Any) -> Case:
    """A function with kinks, tried between them."""
    return elementwise(name, x=BEYOND_KINKS, **options)


CASES = [
    elementwise("sigmoid", module=nn.Sigmoid()),
    elementwise("tanh", module=nn.Tanh()),
    elementwise("tan", -1.2, 1.2),
    elementwise("exp"),
    elementwise("expm1"),
    elementwise("exp2"),
    elementwise("sqrt", 0.4, 2.0),
    elementwise("rsqrt", 0.4, 2.0),
    elementwise("reciprocal", 0.4, 2.0),
    elementwise("square"),
    elementwise("log", 0.4, 2.0),
    elementwise("log1p", -0.5, 2.0),
    elementwise("log2", 0.4, 2.0),
    elementwise("log10", 0.4, 2.0),
    elementwise("sin"),
    elementwise("cos"),
    elementwise("sinh"),
    elementwise("cosh"),
    elementwise("asin", -0.8, 0.8),
    elementwise("acos", -0.8, 0.8),
    elementwise("atan"),
    elementwise("asinh"),
    elementwise("acosh", 1.4, 3.0),
    elementwise("atanh", -0.8, 0.8),
    elementwise("erf"),
    elementwise("erfc"),
    elementwise("lgamma", 0.5, 3.0),
    elementwise("digamma", 0.7, 3.0),
    elementwise("silu", module=nn.SiLU()),
    elementwise("gelu", module=nn.GELU()),
    elementwise("gelu", module=nn.GELU("tanh"), label="tanh", approximate="tanh"),
    elementwise("softplus", module=nn.Softplus()),
    elementwise(
        "softplus",
        x=tensor([[-4.0, 0.5, 1.4], [1.6, 3.0, 9.0]]),
        module=nn.Softplus(2.0, 3.0),
        label="threshold",
        smooth=False,
        beta=2.0,
        threshold=3.0,
    ),
    elementwise("mish", module=nn.Mish()),
    elementwise("elu", module=nn.ELU()),
    elementwise("elu", module=nn.ELU(0.6), label="alpha", alpha=0.6),
    elementwise("celu", module=nn.CELU()),
    # PyTorch's own slopes hold 1/alpha in single precision.
    elementwise("celu", module=nn.CELU(0.5), label="alpha", alpha=0.5),
    elementwise("selu", module=nn.SELU()),
    elementwise("softsign", module=nn.Softsign()),
    elementwise("tanhshrink", module=nn.Tanhshrink()),
    elementwise("log_sigmoid", module=nn.LogSigmoid()),
    kinked("relu", module=nn.ReLU()),
    kinked("relu6", module=nn.ReLU6()),
    kinked("leaky_relu", module=nn.LeakyReLU()),
    kinked("leaky_relu", module=nn.LeakyReLU(0.3), label="slope", negative_slope=0.3),
    kinked("hardtanh", module=nn.Hardtanh()),
    kinked("hardtanh", module=nn.Hardtanh(-0.5, 1.7), label="bounds", min_val=-0.5, max_val=1.7),
    kinked("hardsigmoid", module=nn.Hardsigmoid(), oracle=lambda x: F.relu6(x + 3) / 6),
    kinked("hardswish", module=nn.Hardswish()),
    kinked("hardshrink", module=nn.Hardshrink()),
    kinked("hardshrink", module=nn.Hardshrink(0.3), label="lambd", lambd=0.3),
    kinked("softshrink", module=nn.Softshrink()),
    kinked("softshrink", module=nn.Softshrink(0.3), label="lambd", lambd=0.3),
    kinked("threshold", module=nn.Threshold(0.1, -0.7), threshold=0.1, value=-0.7),
    kinked("abs"),
    kinked("clamp", label="both", min=-1.0, max=2.0),
    kinked("clamp", label="min", min=-1.0),
    kinked("clamp", label="max", max=0.2),
    Case("clamp to numbers", lambda x: x.clamp(-0.4, 0.4), BEYOND_KINKS),
    *(elementwise(name, -2.7, 2.7, smooth=False) for name in ("sign", "sgn", "floor", "ceil", "round", "trunc")),
    *(
        Case("power of a jet", lambda x, p=p: x**p, drawn(2, 3, low=0.4, high=2.0), label=f"{p}", per_sample=True)
        for p in (3, -1, -2, 0.5, 1.5, -0.5, 2.7)
    ),
    Case("power of a jet", lambda x: x**3, drawn(2, 3), label="of negative numbers", per_sample=True),
]

AT_KINKS = {
    "relu": (F.relu, [0.0]),
    "relu6": (F.relu6, [0.0, 6.0]),
    "leaky_relu": (F.leaky_relu, [0.0]),
    "hardtanh": (F.hardtanh, [-1.0, 1.0]),
    "hardsigmoid": (F.hardsigmoid, [-3.0, 3.0]),
    "hardshrink": (F.hardshrink, [-0.5, 0.5]),
    "softshrink": (F.softshrink, [-0.5, 0.5]),
    "threshold": (lambda x: F.threshold(x, 0.1, -0.7), [0.1]),
    "abs": (torch.abs, [0.0]),
    "clamp": (lambda x: torch.clamp(x, -1.0, 2.0), [-1.0, 2.0]),
    "clamp, between tensors": (lambda x: torch.clamp(x, tensor(-1.0, 2.0), tensor(0.0, 2.0)), [-1.0, 2.0]),
    "clamp_min": (lambda x: torch.clamp_min(x, -1.0), [-1.0]),
    "clamp_max": (lambda x: torch.clamp_max(x, 2.0), [2.0]),
    "hardswish": (F.hardswish, [-3.0, 3.0]),
    "elu": (lambda x: F.elu(x, 0.6), [0.0]),
    "celu": (lambda x: F.celu(x, 0.5), [0.0]),
    "selu": (F.selu, [0.0]),
    "prelu": (lambda x: F.prelu(x, tensor([0.3])), [0.0]),
    "rrelu": (lambda x: F.rrelu(x, training=False), [0.0]),
    "softsign": (F.softsign, [0.0]),
    **{name: (getattr(torch, name), [0.5, 0.5, 0.2, 0.2]) for name in ("amax", "amin", "max", "min", "median")},
    **{
        f"{function.__name__} of two": (lambda x, f=function: f(x, tensor(0.5)) * f(tensor(0.2), x), [0.5, 0.2, 0.3])
        for function in (torch.maximum, torch.minimum, torch.fmax, torch.fmin, torch.max, torch.min)
    },
    "clamp_min to a jet": (lambda x: torch.clamp_min(x, x.flip(1)), [0.5, 0.5]),
    "clamp_max to a jet": (lambda x: torch.clamp_max(x, x.flip(1)), [0.5, 0.5]),
    "maximum of jets": (lambda x: torch.maximum(x**2, x.flip(1)), [1.0, 0.7, 1.0]),
    "cummax": (lambda x: x.cummax(1)[0], [0.5, 0.5, 0.2]),
    "max of an axis": (lambda x: x.max(1)[0], [0.5, 0.5, 0.2]),
    "aminmax": (lambda x: torch.cat(list(torch.aminmax(x, dim=1))), [0.5, 0.5, 0.2, 0.2]),
    "huber_loss": (lambda x: F.huber_loss(x, 0 * x, reduction="none"), [1.0, -1.0, 0.0]),
    "smooth_l1_loss": (lambda x: F.smooth_l1_loss(x, 0 * x, reduction="none"), [1.0, -1.0, 0.0]),
    "l1_loss": (lambda x: F.l1_loss(x, 0 * x, reduction="none"), [0.0]),
}
"""Kinks, at which the first derivative is PyTorch's own choice."""

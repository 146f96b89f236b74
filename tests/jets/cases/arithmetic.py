"""Cases of sums, products, quotients and powers."""

from __future__ import annotations

import numpy as np
import torch

from jets.rule_cases import Case, drawn, tensor

X = drawn(2, 3)
OTHER = drawn(2, 3, seed=3)
POSITIVE = drawn(2, 3, low=0.4, high=2.0)
WIDTH = drawn(2, 3, low=0.5, high=1.5, seed=4)
INTEGERS = torch.tensor([[0, 1, 2], [3, 0, 1]])


def in_place(method, *args):
    return lambda x: getattr(x.clone(), method)(*args)


CASES = [
    Case(
        "mul",
        lambda x: x * OTHER,
        X,
        "constant",
        {
            "right": lambda x: OTHER * x,
            "torch": lambda x: torch.mul(x, OTHER),
            "input": lambda x: torch.mul(input=x, other=OTHER),
            "multiply": lambda x: torch.multiply(OTHER, x),
            "method of the constant": lambda x: OTHER.mul(x),
            "in place": in_place("mul_", OTHER),
            "augmented": in_place("__imul__", OTHER),
        },
    ),
    Case("mul", lambda x: x * 2.5, X, "number", {"right": lambda x: 2.5 * x, "numpy": lambda x: np.float32(2.5) * x}),
    Case("mul", lambda x: x * x[0], X, "jets", {"in place": lambda x: x.clone().mul_(x[0])}),
    Case("mul", lambda x: x[0] * OTHER, X, "constant of higher rank", {"right": lambda x: OTHER * x[0]}),
    Case("mul", lambda x: x[0] * x.unsqueeze(0), X, "jets of differing rank"),
    Case("mul", lambda x: x.sum() * x, X, "0-d jet", {"right": lambda x: x * x.sum()}),
    Case(
        "div",
        lambda x: x / WIDTH,
        X,
        "by a constant",
        {
            "torch": lambda x: torch.div(x, WIDTH),
            "divide": lambda x: torch.divide(x, WIDTH),
            "true_divide": lambda x: torch.true_divide(x, WIDTH),
            "in place": in_place("div_", WIDTH),
            "augmented": in_place("__itruediv__", WIDTH),
        },
    ),
    Case("div", lambda x: x / 2.5, X, "by a number", {"numpy": lambda x: x / np.float64(2.5)}),
    Case("div", lambda x: OTHER / x, POSITIVE, "of a constant", {"torch": lambda x: torch.div(OTHER, x)}),
    Case("div", lambda x: x / x[:, :1], POSITIVE, "jets"),
    Case("div", lambda x: x[0] / WIDTH, X, "by a constant of higher rank"),
    Case("rdiv", lambda x: 2.5 / x, POSITIVE, "", {"numpy": lambda x: np.float32(2.5) / x}),
    Case(
        "pow",
        lambda x: x**2,
        X,
        "2",
        {
            "torch": lambda x: torch.pow(x, 2),
            "method": lambda x: x.pow(2.0),
            "tensor": lambda x: x ** torch.tensor(2),
            "in place": in_place("pow_", 2),
            "numpy": lambda x: x ** np.int64(2),
        },
    ),
    Case("pow", lambda x: x**0, X, "0"),
    Case("pow", lambda x: x**1, X, "1", {"in place": in_place("__ipow__", 1)}),
    Case("pow", lambda x: x**-1.5, POSITIVE, "-1.5", {"tensor": lambda x: x ** tensor(-1.5)}),
    Case("pow", lambda x: x**INTEGERS, X, "integer tensor", {"doubles": lambda x: x ** INTEGERS.double()}),
    Case("pow", lambda x: x[0] ** OTHER, POSITIVE, "tensor of higher rank"),
    Case("pow", lambda x: x ** OTHER.clone().requires_grad_(), POSITIVE, "trained exponents"),
    Case("pow", lambda x: x ** (x[:1] + 0.5), POSITIVE, "jets"),
    Case("pow", lambda x: WIDTH**x, X, "of a tensor", {"torch": lambda x: torch.pow(WIDTH, x)}),
    Case(
        "rpow", lambda x: 2.5**x, X, "", {"torch": lambda x: torch.pow(2.5, x), "numpy": lambda x: np.float64(2.5) ** x}
    ),
    Case("float_power", lambda x: torch.float_power(x, 3), X, "", {"method": lambda x: x.float_power(3)}),
    Case("float_power", lambda x: torch.float_power(x, WIDTH), POSITIVE, "tensor"),
    Case(
        "addcmul",
        lambda x: torch.addcmul(OTHER, x, x, value=0.5),
        X,
        "",
        {"method": lambda x: OTHER.addcmul(x, x, value=0.5)},
    ),
    Case(
        "addcmul",
        lambda x: torch.addcmul(x, OTHER, WIDTH),
        X,
        "constants",
        {"in place": in_place("addcmul_", OTHER, WIDTH)},
    ),
    Case("addcdiv", lambda x: torch.addcdiv(x, OTHER, x, value=0.5), POSITIVE),
    Case(
        "addcdiv",
        lambda x: torch.addcdiv(x, OTHER, WIDTH),
        X,
        "constants",
        {"in place": in_place("addcdiv_", OTHER, WIDTH)},
    ),
    Case("lerp", lambda x: torch.lerp(x, OTHER, 0.3), X, "", {"method": lambda x: x.lerp(OTHER, 0.3)}),
    Case("lerp", lambda x: torch.lerp(OTHER, x, x), X, "jets"),
    Case("prod", lambda x: torch.prod(x, 1), X, "one axis", {"method": lambda x: x.prod(dim=-1)}),
    Case("prod", torch.prod, X, "all", {"method": lambda x: x.prod()}),
    Case("prod", lambda x: x.prod(0, keepdim=True), X, "kept"),
    Case(
        "prod",
        lambda x: x.prod(1),
        tensor([[0.0, 0.5, 2.0], [0.0, 0.0, 1.0]]),
        "zeros",
        oracle=lambda x: x[:, 0] * x[:, 1] * x[:, 2],
    ),
]

"""Cases of reductions, cumulative operations and order statistics."""

from __future__ import annotations

from typing import Any

import torch

from jets.rule_cases import Case, drawn, tensor

X = drawn(2, 3)
CUBE = drawn(2, 3, 2)
GAPS = torch.where(torch.tensor([[False, True, False], [False, False, False]]), torch.nan, X)
WITH_ZEROS = tensor([[0.0, 0.5, 0.0], [1.2, 0.0, -0.7]])
FUNCTIONS = {name: getattr(torch, name) for name in ("amax", "amin", "var_mean", "std_mean")}


def with_gaps(x: Any) -> Any:
    return torch.where(GAPS.isnan(), GAPS, x)


CASES = [
    *(
        case
        for name in ("amax", "amin")
        for case in (
            Case(
                name,
                lambda x, f=FUNCTIONS[name]: f(x, 1),
                X,
                "axis",
                {"method": lambda x, n=name: getattr(x, n)(dim=-1), "tuple": lambda x, n=name: getattr(x, n)((1,))},
            ),
            Case(name, lambda x, f=FUNCTIONS[name]: f(x), X, "all"),
            Case(name, lambda x, f=FUNCTIONS[name]: f(x, (0, -1), keepdim=True), CUBE, "axes, kept"),
        )
    ),
    Case("aminmax", lambda x: torch.aminmax(x, dim=1).max, X, "", {"method": lambda x: x.aminmax(dim=-1)[1]}),
    Case("aminmax", lambda x: torch.aminmax(x, dim=0, keepdim=True).min, X, "kept"),
    Case("aminmax", lambda x: torch.aminmax(x)[0], X, "all"),
    Case("nansum", lambda x: torch.nansum(with_gaps(x), 1), X, "", {"method": lambda x: with_gaps(x).nansum(dim=-1)}),
    Case("nansum", lambda x: torch.nansum(with_gaps(x)), X, "all"),
    Case("nanmean", lambda x: torch.nanmean(with_gaps(x), 1, True), X, "kept"),
    Case("nanmean", lambda x: with_gaps(x).nanmean(), X, "all"),
    *(
        case
        for name in ("var_mean", "std_mean")
        for case in (
            Case(name, lambda x, f=FUNCTIONS[name]: f(x, 1)[0], X, "spread"),
            Case(name, lambda x, f=FUNCTIONS[name]: f(x, (0, 2), keepdim=True)[1], CUBE, "mean, kept"),
            Case(name, lambda x, f=FUNCTIONS[name]: f(x, dim=1, correction=0)[0], X, "correction"),
            Case(name, lambda x, f=FUNCTIONS[name]: f(x, False)[0], X, "all, biased"),
        )
    ),
    Case("cumprod", lambda x: torch.cumprod(x, 1), X, "", {"method": lambda x: x.cumprod(dim=-1)}),
    Case("cumprod", lambda x: torch.cumprod(x, 1), WITH_ZEROS, "zeros", {"in place": lambda x: x.clone().cumprod_(1)}),
    Case("cumprod", lambda x: x.reshape(-1).cumprod(0), X, "longer"),
    # PyTorch's own third derivatives of it are NaN.
    Case(
        "logcumsumexp",
        lambda x: torch.logcumsumexp(x, 1),
        X,
        "",
        {"method": lambda x: x.logcumsumexp(dim=-1)},
        lambda x: torch.stack([x[:, : k + 1].logsumexp(1) for k in range(3)], 1),
    ),
    Case("cummax", lambda x: torch.cummax(x, 1)[0], X, "", {"method": lambda x: x.cummax(dim=-1).values}),
    Case("cummin", lambda x: torch.cummin(x, 0).values, X),
    Case("cummin", lambda x: torch.cummin(x.sum(), 0).values, X, "0-d"),
    Case("diff", lambda x: torch.diff(x), X, "", {"method": lambda x: x.diff(n=1, dim=1)}),
    Case("diff", lambda x: torch.diff(x, 2, 0, prepend=X[:1], append=x * 2), X, "prepended"),
    Case("trapezoid", lambda x: torch.trapezoid(x, dx=0.3), X, "", {"trapz": lambda x: torch.trapz(x, dx=0.3)}),
    Case("trapezoid", lambda x: torch.trapezoid(x, tensor([0.0, 0.3, 1.0]), dim=1), X, "abscissae"),
    Case("cumulative_trapezoid", lambda x: torch.cumulative_trapezoid(x, dim=0), X),
    Case("cumulative_trapezoid", lambda x: torch.cumulative_trapezoid(x, X), X, "abscissae"),
    # ---- order statistics
    Case(
        "sort",
        lambda x: torch.sort(x)[0],
        X,
        "",
        {"method": lambda x: x.sort(dim=1).values, "stable": lambda x: x.sort(stable=True)[0]},
    ),
    Case("sort", lambda x: torch.sort(x, 0, True)[0], CUBE, "descending"),
    Case("sort", lambda x: x.sum().sort()[0], X, "0-d"),
    Case("msort", torch.msort, X),
    Case("topk", lambda x: torch.topk(x, 2)[0], X, "", {"method": lambda x: x.topk(k=2, dim=-1).values}),
    Case("topk", lambda x: x.topk(1, 0, largest=False)[0], X, "smallest"),
    Case("kthvalue", lambda x: torch.kthvalue(x, 2)[0], X, "", {"method": lambda x: x.kthvalue(2, dim=1).values}),
    Case("kthvalue", lambda x: x.kthvalue(1, 0, True)[0], X, "kept"),
    Case("median", lambda x: torch.median(x, 1)[0], X, "axis", {"method": lambda x: x.median(dim=-1).values}),
    Case("median", torch.median, X, "all"),
    Case("nanmedian", lambda x: torch.nanmedian(with_gaps(x), 1, keepdim=True)[0], X, "axis, kept"),
    Case("nanmedian", lambda x: with_gaps(x).nanmedian(), X, "all"),
    Case("mode", lambda x: torch.mode(x, 1)[0], X, "", {"method": lambda x: x.mode().values}),
    *(
        Case("quantile", lambda x, i=i: torch.quantile(x, 0.3, 1, interpolation=i), X, i)
        for i in ("linear", "lower", "higher", "midpoint", "nearest")
    ),
    Case("quantile", lambda x: torch.quantile(x, tensor([0.2, 0.9]), 0, keepdim=True), CUBE, "several, kept"),
    Case("quantile", lambda x: x.quantile(tensor([0.2, 0.9])), CUBE, "all"),
    Case("quantile", lambda x: x.quantile(0.5, keepdim=True), CUBE, "all, kept"),
]

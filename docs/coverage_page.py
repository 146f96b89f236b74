"""Write docs/coverage.md: every rule, how Python spells it, and how far its cases are tried.

`python docs/coverage_page.py` writes it, as does every build of the documentation; a test insists that it is current.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE / "coverage.md"
sys.path[:0] = [str(HERE.parent / "tests")]  # where the cases are

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from jetprop.jets.dispatch import RULES, SPELLING_NAMES  # noqa: E402
from jets.cases.registry import CASES  # noqa: E402
from jets.rule_cases import OF_DOCTESTS  # noqa: E402

KINDS = {
    "linear": "All rows at once; constants reach the value row alone.",
    "elementwise": "Given by a derivative tower; rows follow by Faà di Bruno's formula.",
    "bilinear": "Products, by the Leibniz rule.",
    "selection": "The value decides which entries survive, or where they go; the rows follow.",
    "composition": "Written in terms of the others.",
    "value": "No derivatives: a plain tensor (or number) computed from the value.",
}
INTRODUCTION = """\
# Operations with rules

{count} operators have rules; what PyTorch writes in Python on top of them (`torch.nn.functional`, most modules of
`torch.nn`) runs unchanged. What has no rule raises `MissingRuleError`, which names it.

*Order* is the highest one at which the tests compare the rule with nested reverse mode; rules themselves know no
highest order. In-place forms (trailing underscore) go with those listed; `F` is `torch.nn.functional`. This page is
written by `python docs/coverage_page.py`, from the registry and the cases.
"""
HOMES = {
    "torch.nn.functional": "F",
    "torch._C._linalg": "torch.linalg",
    "torch._C._fft": "torch.fft",
}


def spelling(function: object) -> str | None:
    """How a function is called in Python; None for in-place forms and for what has no name of its own."""
    name = getattr(function, "__name__", "")
    if not name or name == "<lambda>" or (name.endswith("_") and not name.startswith("__")):
        return None
    if getattr(Tensor, name, None) is function:
        return f"Tensor.{name}"
    home = getattr(function, "__module__", None) or "torch"
    if home == "torch._C._special":
        return f"torch.special.{name.removeprefix('special_')}"
    if home == "torch._C._nn":
        return f"{'F' if hasattr(F, name) else home}.{name}"
    return f"{HOMES.get(home, 'torch' if home.startswith('torch') else home)}.{name}"


def page() -> str:
    """The page in Markdown."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for function, rule in SPELLING_NAMES.items():
        if (word := spelling(function)) is not None:
            spellings[rule].add(word)
    orders: dict[str, int] = {}
    for case in CASES:
        orders[case.rule] = max(case.order, orders.get(case.rule, 0))
    rules = [rule for name, rule in sorted(RULES.items()) if name not in OF_DOCTESTS]
    lines = [INTRODUCTION.format(count=len(rules))]
    for kind, meaning in KINDS.items():
        lines += [f"## {kind.capitalize()}", "", meaning, "", "| operator | spellings | order |", "|---|---|---|"]
        for rule in (rule for rule in rules if rule.kind == kind):
            known = spellings[rule.name]
            if not known and hasattr(Tensor, rule.name):
                known = {f"Tensor.{rule.name}"}
            words = ", ".join(f"`{word}`" for word in sorted(known))
            lines.append(f"| `{rule.name}` | {words} | {orders.get(rule.name, '')} |")
        lines.append("")
    return "\n".join(lines)


def write(*_: object) -> None:
    """Write the page where it differs from what lies there."""
    text = page()
    if not (PAGE.exists() and PAGE.read_text(encoding="utf-8") == text):
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()

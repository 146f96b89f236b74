"""The page of operations with rules is that of the registry."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from jetprop.jets import RULES
from jets.rule_cases import OF_DOCTESTS

DOCS = Path(__file__).parents[1] / "docs"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_page", DOCS / "coverage_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current() -> None:
    written = (DOCS / "coverage.md").read_text(encoding="utf-8")
    assert written == generator().page(), "run `python docs/coverage_page.py`"


def test_every_rule_is_on_it() -> None:
    page = generator().page()
    assert all(f"| `{name}` |" in page for name in set(RULES) - OF_DOCTESTS)

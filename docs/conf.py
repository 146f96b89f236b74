"""Sphinx configuration.

The API pages are written from the package as it is: one page for `jetprop`, one for each subpackage or module below it
that declares `__all__`. A public name is documented once, at the shortest path that leads to it. The page of operations
with rules is written from their registry and their cases.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import coverage_page  # noqa: E402

project = "jetprop"
author = "The jetprop authors"
copyright = author  # noqa: A001
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "py:obj"  # `Basis` in a docstring is code, and a link where there is something to link to

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
    "exclude-members": "set_fit_request, set_score_request",  # scikit-learn makes them, and refers to its own pages
}
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"jetprop {release}"


def public_modules() -> list[ModuleType]:
    """`jetprop`, then everything directly below it that declares its public names."""
    package = importlib.import_module("jetprop")
    below = [
        importlib.import_module(f"jetprop.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    ]
    return [package, *(module for module in below if hasattr(module, "__all__"))]


def entry(module: ModuleType, name: str) -> list[str]:
    """What documents one public name."""
    thing = getattr(module, name)
    path = f"{module.__name__}.{name}"
    if isinstance(thing, type):
        return [f".. autoclass:: {path}", ""]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {path}", ""]
    # A constant or an alias has no docstring of its own: it stands below the assignment, wherever that is.
    homes = [home for home in sorted(sys.modules) if f"{home}.".startswith(f"{module.__name__}.")]
    found = (ModuleAnalyzer.for_module(home).find_attr_docs().get(("", name)) for home in homes)
    text = next((lines for lines in found if lines), [])
    return [f".. py:data:: {path}", "", *(f"   {line}" for line in text), ""]


def page(module: ModuleType, documented: set[int | str]) -> str | None:
    """The page of one module in reStructuredText; None where it has nothing new to document, `jetprop` itself aside."""
    lines = [
        module.__name__,
        "=" * len(module.__name__),
        "",
        f".. automodule:: {module.__name__}",
        "   :no-members:",
        "",
    ]
    new = "." not in module.__name__
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        key = id(thing) if isinstance(thing, type) or inspect.isroutine(thing) else name
        if isinstance(thing, ModuleType) or name.startswith("_") or key in documented:
            continue
        documented.add(key)
        lines += entry(module, name)
        new = True
    return "\n".join(lines) if new else None


def write_api(app: Sphinx) -> None:
    """Write the API pages into api/, and remove those of modules that are gone."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    documented: set[int | str] = set()
    pages = {f"{module.__name__}.rst": page(module, documented) for module in public_modules()}
    for stale in set(folder.iterdir()) - {folder / name for name, text in pages.items() if text}:
        stale.unlink()
    for name, text in pages.items():
        path = folder / name
        if text and not (path.exists() and path.read_text(encoding="utf-8") == text):
            path.write_text(text, encoding="utf-8")


def set_formulas_apart(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Show an indented block that follows a paragraph line by line, as written.

    Our docstrings set formulas this way; reStructuredText would run their lines together.
    """
    shown: list[str] = []
    paragraph = ""  # the line before the blank one
    for before, line in zip(["", *lines], lines, strict=False):
        follows = not before and paragraph and not paragraph.startswith((" ", "- ", "* ", ".. "))
        if line.startswith("    ") and follows and not paragraph.endswith("::"):
            shown += ["::", ""]
        shown.append(line)
        paragraph = line or paragraph
    lines[:] = shown


def setup(app: Sphinx) -> None:
    """Connect the steps above to the build."""
    app.connect("builder-inited", write_api)
    app.connect("builder-inited", coverage_page.write)
    app.connect("autodoc-process-docstring", set_formulas_apart, priority=100)  # before napoleon, on the source's text

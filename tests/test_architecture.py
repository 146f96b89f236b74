"""The tree is the architecture: what may import what, and what no source file may hold.

Every check is a function of source text, and is itself tried on a violation, so none can pass by seeing nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "jetprop"

LAYERS = (
    "cli",
    "explore",
    "report",
    "benchmarks",
    "experiments",
    "estimators",
    "training",
    "robustness",
    "objectives",
    "oracle",
    "manifolds",
    "ode",
    "data",
    "jets",
)
"""From the highest to the lowest. A module imports from its own layer and from lower ones."""

PUBLIC = "the package itself"
"""`jetprop/__init__.py`, which gathers the public names, and so stands above all layers but `cli`."""

MAY_PRINT = {"cli", "report"}
MAY_USE_FORWARD_MODE = {"benchmarks"}
FORWARD_MODE = {
    "jvp",
    "jacfwd",
    "forward_ad",
    "fwAD",
    "make_dual",
    "dual_level",
    "torch.func.hessian",
    "torch.func.linearize",
}
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "misc"}
LONGEST_FILE = 500


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def layer(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else PUBLIC

    @property
    def package(self) -> list[str]:
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]


def modules(package: Path) -> dict[str, Module]:
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return found


def imports(module: Module, known: dict[str, Module], nodes: Iterator[ast.AST]) -> Iterator[tuple[str, int]]:
    """The modules of the package that the import statements among `nodes` name, each with its line.

    `from jetprop import __version__` names nothing: a constant is no dependency.
    """
    root = module.name.split(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == root:
                    yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = module.package[: len(module.package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            if source.split(".")[0] != root:
                continue
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner in known:
                    yield inner, node.lineno
                elif inner != f"{root}.__version__":
                    yield source, node.lineno


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported: not those in functions, nor those for type checkers only."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import_time(child)


def upward_imports(known: dict[str, Module]) -> list[str]:
    height: dict[str, float] = {layer: len(LAYERS) - place for place, layer in enumerate(LAYERS)}
    height[PUBLIC] = height["cli"] - 0.5
    height["__main__"] = height["cli"]
    faults = []
    for module in known.values():
        if module.layer not in height:
            faults.append(f"{module.path}: `{module.layer}` has no place in LAYERS; give it one")
            continue
        for target, line in imports(module, known, ast.walk(module.tree)):
            layer = target.split(".")[1] if "." in target else PUBLIC
            if height.get(layer, 0) > height[module.layer]:
                faults.append(f"{module.path}:{line}: {module.name} imports {target}, which lies above it")
    return faults


def import_cycles(known: dict[str, Module]) -> list[str]:
    """Modules that, while being imported, import one another; a package's own `__init__` may gather its modules."""
    graph = {
        name: {
            target
            for target, _ in imports(module, known, at_import_time(module.tree))
            if target in known and target != name and not name.startswith(f"{target}.")
        }
        for name, module in known.items()
    }
    faults, done = [], set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            faults.append(" imports ".join([*trail[trail.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    return faults


def forward_mode(known: dict[str, Module]) -> list[str]:
    faults = []
    for module in known.values():
        if module.layer in MAY_USE_FORWARD_MODE:
            continue
        for node in ast.walk(module.tree):
            named: list[str] = []
            if isinstance(node, ast.Attribute):
                named = [node.attr, ast.unparse(node)]
            elif isinstance(node, ast.Name):
                named = [node.id]
            elif isinstance(node, ast.Import):
                named = [part for alias in node.names for part in alias.name.split(".")]
            elif isinstance(node, ast.ImportFrom):
                source = node.module or ""
                named = source.split(".") + [n for a in node.names for n in (a.name, f"{source}.{a.name}")]
            faults += [
                f"{module.path}:{getattr(node, 'lineno', '?')}: {name} is forward-mode AD of torch, which nests wrongly"
                for name in sorted(FORWARD_MODE.intersection(named))
            ]
    return faults


def prints(known: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno}: print() belongs in {sorted(MAY_PRINT)}"
        for module in known.values()
        if module.layer not in MAY_PRINT
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def vague_names(known: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}: name it after the idea that it holds"
        for module in known.values()
        if VAGUE_NAMES.intersection(part.strip("_") for part in module.name.split("."))
    ]


def long_files(known: dict[str, Module]) -> list[str]:
    lengths = {m.path: len(m.path.read_text(encoding="utf-8").splitlines()) for m in known.values()}
    return [f"{path}: {n} lines, more than {LONGEST_FILE}" for path, n in lengths.items() if n > LONGEST_FILE]


CHECKS = [upward_imports, import_cycles, forward_mode, prints, vague_names, long_files]


@pytest.mark.parametrize("check", CHECKS)
def test_the_package_obeys(check) -> None:
    faults = check(modules(PACKAGE))
    assert not faults, "\n".join(faults)


def test_the_package_is_there() -> None:
    assert {"jetprop", "jetprop.jets"} <= modules(PACKAGE).keys()


VIOLATIONS = [
    (upward_imports, {"jets/a.py": "from jetprop.training import loop"}),
    (upward_imports, {"jets/a.py": "import jetprop.oracle"}),
    (upward_imports, {"jets/a.py": "from ..oracle import gram"}),
    (upward_imports, {"jets/a.py": "from .. import oracle", "oracle.py": ""}),
    (upward_imports, {"jets/a.py": "from jetprop import Jet"}),
    (upward_imports, {"oracle.py": "def f():\n    from jetprop.robustness import attack"}),
    (upward_imports, {"__init__.py": "from jetprop.cli import app"}),
    (upward_imports, {"novelty.py": ""}),
    (import_cycles, {"jets/a.py": "import jetprop.jets.b", "jets/b.py": "from jetprop.jets.a import f"}),
    (forward_mode, {"jets/a.py": "import torch\ntorch.func.jvp(f, (x,), (v,))"}),
    (forward_mode, {"jets/a.py": "from torch.func import jacfwd"}),
    (forward_mode, {"jets/a.py": "import torch.autograd.forward_ad as ad"}),
    (forward_mode, {"jets/a.py": "from torch.func import hessian"}),
    (forward_mode, {"jets/a.py": "import torch\ntorch.func.hessian(f)(x)"}),
    (prints, {"oracle.py": "print('done')"}),
    (vague_names, {"jets/_utils.py": ""}),
    (vague_names, {"helpers/a.py": ""}),
    (long_files, {"jets/a.py": "x = 0\n" * (LONGEST_FILE + 1)}),
]

LEGAL = {
    "__init__.py": '__version__ = "0"\nfrom jetprop.jets import Jet\nfrom jetprop import oracle',
    "cli.py": "from jetprop import Jet\nfrom jetprop.report import page\nprint(1)",
    "report/__init__.py": "from jetprop import __version__\nfrom .html import page",
    "report/html.py": "from jetprop.benchmarks import time",
    "benchmarks/__init__.py": "import torch\ntorch.func.jvp\nfrom jetprop.experiments import run",
    "oracle.py": "from jetprop.jets.jet import Jet",
    "jets/__init__.py": "from jetprop.jets.jet import Jet",
    "jets/jet.py": "from jetprop.jets import rules\ndef f():\n    from jetprop.jets.rules import g",
    "jets/rules.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jetprop.jets.jet import Jet",
}


def written(folder: Path, files: dict[str, str]) -> dict[str, Module]:
    for name, text in {"__init__.py": "", **files}.items():
        path = folder / "jetprop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return modules(folder / "jetprop")


@pytest.mark.parametrize(("check", "files"), VIOLATIONS)
def test_a_violation_is_seen(check, files: dict[str, str], tmp_path: Path) -> None:
    assert check(written(tmp_path, files))


@pytest.mark.parametrize("check", CHECKS)
def test_legal_code_passes(check, tmp_path: Path) -> None:
    assert check(written(tmp_path, LEGAL)) == []

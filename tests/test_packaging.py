"""What is built and installed is the library: complete, and importable without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "PYTEST_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel and nothing else; its requirements come from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    run(*pip, "--no-deps", "--no-index", "--no-compile", "--target", folder, wheel, cwd=folder)
    return folder


def run_installed(installed: Path, *arguments: str | Path, cwd: Path) -> str:
    """Run this Python on the installed wheel.

    -S skips `site`, and with it the .pth file through which an editable installation finds the repository; -P keeps
    the working directory off the path.
    """
    requirements = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    path = os.pathsep.join([str(installed), *requirements])
    return run(sys.executable, "-S", "-P", *arguments, cwd=cwd, PYTHONPATH=path)


def test_the_wheel_holds_the_whole_package(wheel: Path) -> None:
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "jetprop").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_package_is_imported_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import jetprop, importlib.metadata as m; print(jetprop.__file__, jetprop.__version__, m.version('jetprop'))"
    file, version, metadata = run_installed(installed, "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(installed)
    assert version == metadata == PROJECT["version"]


def test_every_module_is_importable_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, jetprop
for info in pkgutil.walk_packages(jetprop.__path__, "jetprop."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
"""
    run_installed(installed, "-c", code, cwd=tmp_path)


def test_the_command_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    for command in ((installed / "bin" / "jetprop",), ("-m", "jetprop.cli")):
        assert "Usage" in run_installed(installed, *command, "--help", cwd=tmp_path)


@pytest.mark.slow
def test_the_wheel_installs_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """As a user installs it: an environment of its own, every requirement from the package index."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    file = run(python, "-c", "import jetprop; print(jetprop.__file__)", cwd=tmp_path)
    assert Path(file).is_relative_to(home)
    assert "Usage" in run(home / "bin" / "jetprop", "--help", cwd=tmp_path)
    run(python, "-m", "pip", "check", cwd=tmp_path)

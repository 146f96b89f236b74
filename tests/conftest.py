"""What every test shares: device, dtype, seeds, and what is skipped where."""

from __future__ import annotations

import os
import shutil

import hypothesis
import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")

# Examples are the same on every run, and as slow as a cold machine makes them.
hypothesis.settings.register_profile("jetprop", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("jetprop")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests that use the fixture `device` run (default: cpu)")
    parser.addoption("--generated", default=300, type=int, help="how many cases of rules to generate (default: 300)")
    parser.addoption(
        "--dtype",
        default="float64",
        choices=["float32", "float64"],
        help="precision of tests that use the fixture `dtype` (default: float64)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any(shutil.which(compiler) for compiler in (os.environ.get("CXX", ""), "g++", "clang++", "c++") if compiler):
        return
    for item in items:
        if item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="torch.compile needs a C++ compiler, and none was found"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(str(request.config.getoption("--device")))


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, str(request.config.getoption("--dtype")))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)

"""The benchmark of the engine at a size that means nothing."""

import json

import pytest

from jetprop.benchmarks import EngineCase, bench_engine
from jetprop.report import bench_markdown

CONTESTANTS = ("eager", "kernels", "recomputed", "whole step", "by hand", "torch.func", "double backward")


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:.*torch.jit:DeprecationWarning")
def test_every_contestant_has_its_times_its_memory_and_the_same_gradients():
    found = bench_engine(EngineCase(width=4, order=1, batch=2), seconds=0.0)
    assert set(found["timings"]) == {"floor", *CONTESTANTS}
    assert set(found["peak_megabytes"]) == set(found["saved_megabytes"]) == set(CONTESTANTS)
    assert set(found["gradient_deviation"]) == set(CONTESTANTS)
    assert max(found["gradient_deviation"].values()) < 1e-5
    weights = sum(a * b + b for a, b in ((1681, 4), (4, 4), (4, 4), (4, 128), (128, 9)))
    rows = 7 * 2 * (3 * 4 + 128 + 9)
    for megabytes in found["peak_megabytes"].values():
        assert megabytes >= round(4 * (weights + rows) / 2e6, 2)
    assert json.loads(json.dumps(found)) == found
    assert all(name in bench_markdown(found) for name in CONTESTANTS)

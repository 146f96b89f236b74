"""Time and memory of jetprop, as ratios measured in one process; `jetprop bench NAME` runs them."""

from jetprop.benchmarks.engine import EngineCase, bench_engine
from jetprop.benchmarks.memory import peak_bytes

__all__ = ["EngineCase", "bench_engine", "peak_bytes"]

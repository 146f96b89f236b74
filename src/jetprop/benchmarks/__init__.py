"""Time and memory of jetprop, as ratios measured in one process; `jetprop bench NAME` runs them."""

from jetprop.benchmarks.engine import EngineCase, bench_engine
from jetprop.benchmarks.memory import peak_bytes
from jetprop.benchmarks.rivals import RIVAL_MODELS, bench_rivals

__all__ = ["RIVAL_MODELS", "EngineCase", "bench_engine", "bench_rivals", "peak_bytes"]

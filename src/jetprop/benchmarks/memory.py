"""Peak memory of a function, from what PyTorch's allocator hands out and takes back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_bytes"]


def peak_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """The most memory that one call holds at a time, on top of what lies there before it.

        max_t Σ_{s ≤ t} (bytes allocated at s - bytes freed at s),    at least 0

    Temporary buffers, what autograd keeps for backward, and results such as gradients all count, as long as they live.
    Let go before the call of what it would free (gradients of an earlier step, say), or that spoils the sum. On a CPU
    the allocations are those that PyTorch's profiler sees, to the byte; what other libraries take for themselves, such
    as the packing buffers of a matrix product, is not among them. On CUDA the allocator counts by itself, in blocks of
    512 bytes.

    The profiler slows the call down: time it apart from this.

    Args:
        run: a function of no arguments, warmed up already if it compiles.
        device: "cpu" or "cuda", where its tensors are.

    Returns:
        Bytes.

    Raises:
        ValueError: the device is of another kind.

    Example:
        >>> import torch
        >>> from jetprop.benchmarks import peak_bytes
        >>> peak_bytes(lambda: torch.ones(1000, dtype=torch.float32).sum())
        4004
    """
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    if kind != "cpu":
        raise ValueError(f'peak memory is measured on "cpu" or "cuda", got {device!r}')
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    # The raw events: `found.events()` has folded those inside an operation into their sum.
    assert found.profiler is not None and found.profiler.kineto_results is not None
    changes = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in changes), initial=0))  # type: ignore[attr-defined]

"""Float32 matrix products on this CPU at PyTorch's precisions, beside bfloat16: milliseconds and relative error.

Run `python benchmarks/products.py`. One thread; the median of the turns is printed.
"""

from __future__ import annotations

import statistics
import time

import torch

SIZES = [(1792, 1681, 256), (1792, 256, 256)]
TURNS = 40


def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for rows, inputs, outputs in SIZES:
        x, w = torch.randn(rows, inputs), torch.randn(inputs, outputs)
        truth = x.double() @ w.double()
        for name in ("highest", "medium", "bfloat16"):
            a, b = (x.bfloat16(), w.bfloat16()) if name == "bfloat16" else (x, w)
            torch.set_float32_matmul_precision("highest" if name == "bfloat16" else name)
            error = float(((a @ b).double() - truth).norm() / truth.norm())
            seconds = []
            for _ in range(TURNS):
                start = time.perf_counter()
                a @ b
                seconds.append(time.perf_counter() - start)
            print(f"[{rows}, {inputs}] x [{inputs}, {outputs}] {name:9} {1e3 * statistics.median(seconds):7.3f} ms, "
                  f"relative error {error:.1e}")  # fmt: skip


if __name__ == "__main__":
    main()

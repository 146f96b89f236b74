"""What compiled kernels are worth to small networks: microseconds of a step before and after.

Run `python benchmarks/small.py`. One thread; the network is 4-L-L-1 with tanh, batch 32, all derivatives to the order;
steps with and without compiled kernels take turns, the medians and the median of the ratios are printed.
"""

from __future__ import annotations

import torch
from torch import nn

from jetprop.benchmarks.timing import take_turns
from jetprop.jets import Basis, Jet, compile_kernels, kernels

SECONDS = 4.0


def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    kernels.COMPILE_FROM = 1  # at once, not after so many calls
    for order in (1, 2, 3):
        for width in (16, 64):
            sizes = (4, width, width, 1)
            layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.Tanh())]
            model, basis = nn.Sequential(*layers[:-1]), Basis.full(4, order)
            x = Jet.seed(torch.randn(32, 4), basis=basis)

            def step(mode: str, model: nn.Module = model, x: Jet = x) -> None:
                compile_kernels(mode)  # type: ignore[arg-type]
                model(x).rows.square().sum().backward()

            for mode in ("never", "auto"):
                step(mode)
            found = take_turns(
                {"eager": lambda: step("never"), "kernels": lambda: step("auto")}, "kernels", SECONDS, at_least=50
            )
            print(
                f"L = {width:3}, order {order}, {len(basis):2} rows: eager {1e6 * found['eager'].seconds:6.0f} us, "
                f"kernels {1e6 * found['kernels'].seconds:6.0f} us, ratio {found['eager'].ratio:.2f}"
            )


if __name__ == "__main__":
    main()

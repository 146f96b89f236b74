"""What the rows of universal robust training cost beside the engine's step: `python benchmarks/robust_step.py`.

A step is forward, cost and backward of 1681-L-L-L-128-9 with sigmoids at the rows of the cost, without the optimizer.
Beside it stands what the rows take before: rendering with the derivatives that the oracle needs, directions from the
bank, the oracle's linear systems and putting all of it together. Both take turns in one process; the ratio is the
median over the turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from jetprop.benchmarks.timing import take_turns
from jetprop.jets import keep_freed_memory
from jetprop.manifolds import Cube
from jetprop.objectives import ImageDirections, Match
from jetprop.training import Directed, ModelConfig, Rendered, Step, build_model

COSTS = {
    "E0 + E1 + R1_low + R1_mid": {"low": 1, "mid": 1},
    "E0 + E1 + R1_low + R1_mid + R2_low + R2_mid": {"low": 2, "mid": 2},
}


def measure(width: int, batch: int, orders: dict[str, int], seconds: float, device: torch.device) -> dict:
    """One cost at one size of batch."""
    source = Rendered(Cube(), max(4 * batch, 1024), batch, order=max(orders.values()), device=device)
    banks = {kind: ImageDirections(kind, (41, 41), 2048, device=device) for kind in orders}
    directed = Directed(source, banks, orders)
    model = build_model(ModelConfig(widths=[1681, width, width, width, 128, 9]), seed=0).to(device)
    rows = directed.rows(1)
    step = Step(model, Match(rows.basis, weights=1.0, groups=rows.groups, empty="zero"))
    ready = directed.batch(0, 1)
    numbers = count()

    def train() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        total: Tensor = step(ready.inputs.rows, ready.targets.rows, ready.mask, ready.labels)[0]
        total.backward()

    contestants: dict[str, Callable[[], object]] = {
        "step": train,
        "rows, targets and mask": lambda: directed.batch(next(numbers), 1),
        "of these, rendering": lambda: source.batch(next(numbers), max(orders.values())),
    }
    for run in contestants.values():
        run()
        run()
    found = take_turns(contestants, "step", seconds)
    return {
        "batch": batch,
        "network's rows": len(rows.basis),
        "rendered rows": len(source.basis),
        "step, ms": round(1e3 * found["step"].seconds, 1),
        "ratio": {name: [round(t.ratio, 3), round(t.spread, 3)] for name, t in found.items() if name != "step"},
        "turns": found["step"].turns,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024, help="L (default: 1024, 4 million weights)")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 2310], help="images a step (default: 64 2310)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each case (default: 20)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--precision", default="highest", choices=["highest", "high", "medium"], help="of products")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.precision)
    keep_freed_memory()
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {arguments.threads} threads"
    results = []
    for cost, orders in COSTS.items():
        for batch in arguments.batch:
            results.append({"cost": cost, **measure(arguments.width, batch, orders, arguments.seconds, device)})
            if not arguments.json:
                print(json.dumps(results[-1], ensure_ascii=False), flush=True)
    if arguments.json:
        record = {"device": name, "width": arguments.width, "torch": torch.__version__, "results": results}
        print(json.dumps(record, ensure_ascii=False))


if __name__ == "__main__":
    main()

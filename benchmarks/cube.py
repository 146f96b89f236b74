"""How many jets of the cube a second: `python benchmarks/cube.py [--device cuda] [--json]`."""

from __future__ import annotations

import argparse
import json
import time

import torch

from jetprop.manifolds import Cube


def seconds(batch: int, order: int, dtype: torch.dtype, device: torch.device, repeats: int) -> float:
    """The shortest of several runs: what the machine can do when it does nothing else."""
    cube, best = Cube(), float("inf")
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        cube.sample(batch, start=repeat * batch, order=order, dtype=dtype, device=device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if repeat:  # the first run warms up
            best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=512, help="cubes a call (default: 512)")
    parser.add_argument("--repeats", type=int, default=7, help="the best of so many runs counts (default: 7)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {arguments.threads} threads"

    results = []
    for dtype in (torch.float32, torch.float64):
        for order, rows in ((0, 1), (1, 7), (2, 28)):
            rate = arguments.batch / seconds(arguments.batch, order, dtype, device, arguments.repeats)
            results.append({"dtype": str(dtype), "order": order, "rows": rows, "jets_per_second": round(rate)})
    record = {"device": name, "batch": arguments.batch, "torch": torch.__version__, "results": results}
    if arguments.json:
        print(json.dumps(record))
        return
    print(f"cube, batch {arguments.batch}, {name}, torch {torch.__version__}")
    for result in results:
        print("  {dtype}, order {order} ({rows:2d} rows): {jets_per_second:7d} jets/s".format(**result))


if __name__ == "__main__":
    main()

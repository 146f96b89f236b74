"""Is the engine right on this GPU, and how fast? One JSON, within eight minutes.

Run `python benchmarks/gpu.py --out results/gpu.json`. First every network of `jetprop bench rivals` at orders 1 to 3:
rows and parameter gradients in float64 and float32 on the device, eager and with compiled kernels, against float64 on
the CPU. Then `jetprop bench engine` on the device, with TF32 products for jets and floor alike; there the step stands
also as a CUDA graph, which one launch replays. `--device cpu` tries the script itself on a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from jetprop.benchmarks import EngineCase, bench_engine
from jetprop.benchmarks.problems import Problem, problem
from jetprop.jets import compilation, compile_kernels

NETWORKS = ("mlp-256", "cnn-16", "transformer-64")
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-3}
"""Relative, by norm: rounding of float32 stays below 1e-4, a lost term is above 1e-2."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="no new case is begun after this")
    parser.add_argument("--widths", default="256,1024,2048")
    parser.add_argument("--batches", default="64,2310")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    record = {
        "device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "correctness": [],
        "speed": [],
        "left_out": [],
    }
    cases: list[tuple[str, str, Callable[[], dict]]] = [
        ("correctness", f"{name} order {order}", lambda n=name, o=order: correctness(n, o, given.device))
        for name in given.networks.split(",")
        for order in (1, 2, 3)
    ]
    cases += [
        ("speed", f"L = {width} order {order} batch {batch}", lambda w=width, o=order, b=batch: speed(w, o, b, given))
        for batch in map(int, given.batches.split(","))
        for width in map(int, given.widths.split(","))
        for order in (1, 2)
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for part, label, run in cases:
        if time.monotonic() > until:
            record["left_out"].append(label)
            continue
        print(label, flush=True)
        try:
            found = run()
        except Exception as error:  # noqa: BLE001 - the cases that follow still count
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        record[part].append({"case": label} | found)
        given.out.write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps(found.get("errors") or found.get("ratios") or found)[:400], flush=True)
    wrong = [c["case"] for c in record["correctness"] if not c.get("right")]
    given.out.write_text(json.dumps(record | {"compilation": compilation()}, indent=1) + "\n")
    print(f"wrong: {', '.join(wrong) or 'none'}; left out for time: {', '.join(record['left_out']) or 'none'}")
    raise SystemExit(bool(wrong))


def correctness(name: str, order: int, device: str) -> dict:
    """Relative deviations of rows and gradients on the device from float64 on the CPU."""
    exact = problem(name, order, batch=16)
    truth = step(exact)
    errors, right = {}, True
    for dtype in (torch.float64, torch.float32):
        for kernels in ("never", "auto"):
            with kernels_compiled(kernels):
                found = step(exact.to(dtype, device))
            label = f"{str(dtype).removeprefix('torch.')}, {'eager' if kernels == 'never' else 'kernels'}"
            errors[label] = [deviation(a, b) for a, b in zip(found, truth, strict=True)]
            right &= max(errors[label]) < TOLERANCES[dtype]
    return {"errors": errors, "right": right}


def step(case: Problem) -> tuple[list[Tensor], list[Tensor]]:
    """Rows of the output, and the gradient of the loss."""
    return [case.model(case.jet()).rows.detach()], case.gradient()


def deviation(found: list[Tensor], truth: list[Tensor]) -> float:
    """Relative, by the norm of everything together."""
    off = sum(float((a.double().cpu() - b).square().sum()) for a, b in zip(found, truth, strict=True))
    return (off / sum(float(b.square().sum()) for b in truth)) ** 0.5


@contextmanager
def kernels_compiled(mode: str) -> Iterator[None]:
    """Compile from the first element, or never."""
    from jetprop.jets import kernels

    before, kernels.COMPILE_FROM = kernels.COMPILE_FROM, 1
    compile_kernels(mode)  # type: ignore[arg-type]
    try:
        yield
    finally:
        kernels.COMPILE_FROM = before
        compile_kernels("auto")


def speed(width: int, order: int, batch: int, given: argparse.Namespace) -> dict:
    """`bench_engine` with TF32 products, without the rivals."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        found = bench_engine(EngineCase(width, order, batch), seconds=4.0, device=given.device, rivals=False)
    finally:
        torch.set_float32_matmul_precision(precision)
    return found | {"ratios": {name: round(t["ratio"], 3) for name, t in found["timings"].items()}}


if __name__ == "__main__":
    main()

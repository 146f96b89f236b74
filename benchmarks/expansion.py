"""How far the expansion (46) of the oracle reaches: its error against the projection, under Gaussian noise.

Run `python benchmarks/expansion.py`. Errors are (3) in percent over 400 test poses of the cube, against the target of
the projected input; the last column is the median of the second-order term over the first.
"""

from __future__ import annotations

import torch

from jetprop.manifolds import Cube
from jetprop.objectives import relative_error
from jetprop.oracle import Oracle

POSES, TEST_START, TRAINING = 400, 97020, 8192
SIGMAS = (0.025, 0.05, 0.1, 0.25)


def main() -> None:
    """Measure and print."""
    torch.manual_seed(0)
    cube = Cube()
    deviation = cube.sample(TRAINING, order=0, dtype=torch.float64)[1].value.std(0)
    oracle = Oracle.at(cube, cube.poses(POSES, TEST_START))
    clean, target = oracle.image.value, oracle.target.value
    print("sigma   no correction   first order     (46)   second / first   not converged")
    for sigma in SIGMAS:
        noise = sigma * torch.randn_like(clean)
        projected = oracle.project(clean + noise)
        first, second = oracle.directional(noise).rows[1:].unbind(0)
        found = (target, target + first, target + first + second / 2)
        errors = [100 * float(relative_error(f, projected.target, deviation)) for f in found]
        share = float((second.norm(dim=1) / 2 / first.norm(dim=1)).median())
        print(
            f"{sigma:5g} {errors[0]:12.3g} % {errors[1]:11.3g} % {errors[2]:8.3g} % {share:14.3f} "
            f"{int((~projected.valid).sum()):12}"
        )


if __name__ == "__main__":
    main()

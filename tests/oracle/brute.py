"""The nearest cube by brute force: SciPy's least squares over renderings, which knows nothing of derivatives."""

from __future__ import annotations

import torch
from scipy.optimize import least_squares
from torch import Tensor

from jetprop.manifolds import Cube, Poses

F64 = torch.float64


def nearest(cube: Cube, pose: Poses, image: Tensor) -> tuple[Tensor, float]:
    """Targets `[9]` of the cube nearest to one image, and its distance, descending from a pose."""

    def residual(nu):
        moved = pose.moved(torch.from_numpy(nu)[None])
        return (cube.render(moved, 0, dtype=F64)[0].value[0] - image).flatten().numpy()

    found = least_squares(residual, [0.0] * 6, jac="3-point", xtol=1e-15, ftol=1e-15, gtol=1e-13)  # type: ignore[arg-type]
    outputs = cube.outputs(pose.moved(torch.from_numpy(found.x)[None]))[0]
    return outputs, (2 * found.cost) ** 0.5

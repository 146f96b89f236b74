"""Independent ways to the same numbers: a second renderer of the cube, slow and differentiable, and plain contraction.

The renderer knows no edges: each visible face is integrated over its own two axes with tensor-product Gauss–Legendre
nodes, the Jacobian of the projection being the area element. Derivatives come from nested reverse-mode differentiation
of (8).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jetprop.jets.basis import Basis, Trace
from jetprop.jets.jet import Jet

FIRST = 0.4 * torch.tensor(
    [
        [-1 / math.sqrt(6), 0, -1 / math.sqrt(6)],
        [-1 / math.sqrt(2), 0, 1 / math.sqrt(2)],
        [-1 / (2 * math.sqrt(3)), math.sqrt(3) / 2, -1 / (2 * math.sqrt(3))],
    ],
    dtype=torch.float64,
)
V1, V2, V3 = FIRST.unbind(1)
AXES = torch.stack([V2 + V1, V2 + V3, -(V1 + V3)])
SIDES = [*AXES, *(-AXES)]
INTENSITIES = [1, 2 / 3, 1 / 6, 1 / 3, 1 / 2, 5 / 6]
PAPER_CAMERA = torch.tensor([[5.0, 0, 0, 0], [0, 5, 0, 0], [0, 0, 1, -5]], dtype=torch.float64)
SIGMA = 0.03


def turn(axis: int, angle: Tensor) -> Tensor:
    """R_X, R_Y or R_Z by angles `[k]`: `[k, 3, 3]`."""
    one, zero, c, s = torch.ones_like(angle), torch.zeros_like(angle), angle.cos(), angle.sin()
    table = {
        0: [[one, zero, zero], [zero, c, -s], [zero, s, c]],
        1: [[c, zero, s], [zero, one, zero], [-s, zero, c]],
        2: [[c, -s, zero], [s, c, zero], [zero, zero, one]],
    }[axis]
    return torch.stack([torch.stack(row, -1) for row in table], -2)


def moved(points: Tensor, centre: Tensor, nu: Tensor) -> Tensor:
    """(8) for points `[k, …, 3]` with `nu` `[k, 6]`."""
    rotation = turn(2, nu[:, 2]) @ turn(1, nu[:, 1]) @ turn(0, nu[:, 0])
    body = (points - centre).flatten(1, -2)
    return (body @ rotation.mT + centre + nu[:, None, 3:]).reshape(points.shape)


def pixels(rotation: Tensor, centre: Tensor, nu: Tensor, uv: Tensor, camera: Tensor = PAPER_CAMERA) -> Tensor:
    """The pixels at `uv` `[k, 2]` of one cube, each with its own copy of ν, `[k, 6]`: `[k]`."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(44))
    s, t = (g.flatten() for g in torch.meshgrid(x, x, indexing="ij"))
    weights = (w[:, None] * w).flatten() / 4
    eye = -torch.linalg.solve(camera[:, :3], camera[:, 3])
    total = torch.zeros(len(uv), dtype=torch.float64)
    for k, (axis, intensity) in enumerate(zip(SIDES, INTENSITIES, strict=True)):
        normal, along, across = (rotation @ a for a in (axis, AXES[(k + 1) % 3], AXES[(k + 2) % 3]))
        if normal @ (eye - centre - normal / 2) <= 0:
            continue
        face = centre + normal / 2 + s[:, None] / 2 * along + t[:, None] / 2 * across
        point = moved(face.expand(len(uv), -1, 3), centre, nu)
        frame = moved(torch.stack([along, across]).expand(len(uv), 2, 3), torch.zeros(3, dtype=torch.float64), nu)
        frame = frame - nu[:, None, 3:]
        q = point @ camera[:, :3].mT + camera[:, 3]
        dq = frame @ camera[:, :3].mT
        u = q[..., :2] / q[..., 2:]
        du = (dq[:, :, None, :2] - u[:, None] * dq[:, :, None, 2:]) / q[:, None, :, 2:]
        area = (du[:, 0, :, 0] * du[:, 1, :, 1] - du[:, 0, :, 1] * du[:, 1, :, 0]).abs()
        kernel = torch.exp(-((u - uv[:, None]) ** 2).sum(-1) / (2 * SIGMA**2)) / (2 * math.pi * SIGMA**2)
        total = total + intensity * (weights * area * kernel).sum(1)
    return total


def derivatives(rotation: Tensor, centre: Tensor, uv: Tensor, camera: Tensor = PAPER_CAMERA) -> Tensor:
    """Value, 6 first and 21 second derivatives at `uv` `[k, 2]`, in the order of Basis.full(6, 2): `[28, k]`."""
    nu = torch.zeros(len(uv), 6, dtype=torch.float64, requires_grad=True)
    value = pixels(rotation, centre, nu, uv, camera)
    (first,) = torch.autograd.grad(value.sum(), nu, create_graph=True)
    second = [torch.autograd.grad(first[:, i].sum(), nu, retain_graph=True)[0] for i in range(6)]
    rows = [value, *first.unbind(1), *(second[i][:, j] for i in range(6) for j in range(i, 6))]
    return torch.stack(rows).detach()


def contracted(full: Jet, basis: Basis, directions: Tensor) -> Tensor:
    """Rows over `basis` along `directions` `[n, D, 6]`, from the rows of Basis.full(6, 2)."""
    hessian = torch.stack([torch.stack([full.d(i, j) for j in range(6)]) for i in range(6)])

    def second(a: int, b: int) -> Tensor:
        return torch.einsum("ni,nj,ijn...->n...", directions[:, a], directions[:, b], hessian)

    rows = []
    for label in basis:
        if isinstance(label, Trace):
            rows.append(torch.stack([w * second(i, i) for i, w in label.weights]).sum(0))
        elif len(label) == 2:
            rows.append(second(*label))
        elif label:
            rows.append(torch.einsum("ni,in...->n...", directions[:, label[0]], full.first))
        else:
            rows.append(full.value)
    return torch.stack(rows)

"""Data manifolds: inputs with known targets, and how both move along the degrees of freedom.

`Cube` is the manifold of avrutskiy2023. It is made of parts that serve other bodies too: `r_sequence` for poses,
`rigid_motion` for the derivatives of a moving body, `Camera` for its projection, `render_polygons` for the image.
`Manifold` says what training code asks of any generator.
"""

from __future__ import annotations

from jetprop.manifolds.camera import Camera
from jetprop.manifolds.cube import Cube, Wireframe
from jetprop.manifolds.motions import DEGREES_OF_FREEDOM, Poses, rigid_motion
from jetprop.manifolds.polygons import Mesh, render_polygons
from jetprop.manifolds.protocol import Manifold
from jetprop.manifolds.raster import Raster
from jetprop.manifolds.sequences import r_sequence

__all__ = [
    "DEGREES_OF_FREEDOM",
    "Camera",
    "Cube",
    "Manifold",
    "Mesh",
    "Poses",
    "Raster",
    "Wireframe",
    "r_sequence",
    "render_polygons",
    "rigid_motion",
]

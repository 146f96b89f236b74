"""Data manifolds: inputs with known targets, and how both move along the degrees of freedom.

`Cube` is the manifold of avrutskiy2023. It is made of parts that serve other bodies too: `r_sequence` for poses,
`rigid_motion` for the derivatives of a moving body, `Camera` for its projection, `render_polygons` for the image;
`Polyhedron` makes bodies of them that deform. `Generator` makes a manifold of any differentiable function of a few
parameters, `PhaseRetrieval` of diffraction patterns, `Decoder` of an autoencoder. `Manifold` says what training code
asks of any of them, `Charted` what an oracle asks.

`ImageTangents` are tangent vectors of images whose manifold nobody knows: how they change when shifted, scaled, turned.
"""

from __future__ import annotations

from jetprop.manifolds.autoencoder import Autoencoder, AutoencoderFit, Decoder, train_autoencoder
from jetprop.manifolds.camera import Camera
from jetprop.manifolds.cube import Cube, Wireframe
from jetprop.manifolds.generator import Coordinates, Generator
from jetprop.manifolds.motions import DEGREES_OF_FREEDOM, Poses, rigid_motion
from jetprop.manifolds.phase_retrieval import PhaseRetrieval, photon_noise
from jetprop.manifolds.polygons import Mesh, render_polygons
from jetprop.manifolds.polyhedron import Mode, Polyhedron, ShapedPoses
from jetprop.manifolds.protocol import Charted, Manifold, Points
from jetprop.manifolds.raster import Raster
from jetprop.manifolds.sequences import r_sequence
from jetprop.manifolds.warps import WARPS, ImageTangents, smoothed, warp_tangents

__all__ = [
    "DEGREES_OF_FREEDOM",
    "WARPS",
    "Autoencoder",
    "AutoencoderFit",
    "Camera",
    "Charted",
    "Coordinates",
    "Cube",
    "Decoder",
    "Generator",
    "ImageTangents",
    "Manifold",
    "Mesh",
    "Mode",
    "PhaseRetrieval",
    "Points",
    "Polyhedron",
    "Poses",
    "Raster",
    "ShapedPoses",
    "Wireframe",
    "photon_noise",
    "r_sequence",
    "render_polygons",
    "rigid_motion",
    "smoothed",
    "train_autoencoder",
    "warp_tangents",
]

"""Full precision for the few products that decide a linear system."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_precision"]


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Products of matrices in the dtype of their factors: no autocast, no TF32, no bfloat16 behind float32.

    The relative error of a Gram matrix is multiplied by its condition; a training step that multiplies in TF32 must not
    hand its 10⁻³ to the targets it is trained on.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)

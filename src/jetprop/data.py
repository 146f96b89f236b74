"""Images that others have made: digits, shipped with scikit-learn, and MNIST from a folder that the user names."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["LabelledImages", "digits", "mnist"]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images and what they show.

    Args:
        images: `[n, rows, columns]`, float32, 0 is the background and 1 the full stroke.
        labels: `[n]`, int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, samples: slice | Tensor) -> LabelledImages:
        """Some of them."""
        return LabelledImages(self.images[samples], self.labels[samples])


def digits() -> LabelledImages:
    """The 1797 handwritten digits of 8 × 8 pixels that come with scikit-learn, in their order.

    Neighbours in this order were often written by one hand; the last third is by other writers than the first.

    Source:
        E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).

    Example:
        >>> from jetprop.data import digits
        >>> digits().images.shape
        torch.Size([1797, 8, 8])
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.from_numpy(np.asarray(found.images, dtype=np.float32)) / 16  # type: ignore[union-attr]
    return LabelledImages(images, torch.from_numpy(np.asarray(found.target, dtype=np.int64)))  # type: ignore[union-attr]


def mnist(folder: str | Path, train: bool = True) -> LabelledImages:
    """MNIST, 28 × 28 pixels, from files in a folder: nothing is downloaded.

    Args:
        folder: holds the four idx files of the original distribution, as they are or gzipped, there or in `MNIST/raw`
            (where torchvision puts them), or `mnist.npz` as Keras has it.
        train: the 60000 training images, or the 10000 of the test set.

    Raises:
        FileNotFoundError: no such files are there.
        ValueError: a file is no idx file, is cut short, or does not fit its partner.
    """
    folder, part = Path(folder), "train" if train else "t10k"
    archive = folder / "mnist.npz"
    found = [_idx_file(folder, part, kind) for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if None not in found:
        pixels, labels = (_read_idx(path) for path in found if path is not None)
        source = str(found[0])
    elif archive.is_file():
        names = [f"{kind}_{'train' if train else 'test'}" for kind in "xy"]
        with np.load(archive, allow_pickle=False) as stored:
            if missing := [name for name in names if name not in stored]:
                raise ValueError(f"{archive} has no array {', '.join(missing)}; it holds {', '.join(stored.files)}")
            pixels, labels = (stored[name] for name in names)
        source = str(archive)
    else:
        raise FileNotFoundError(
            f"no MNIST in {folder}: expected {part}-images-idx3-ubyte and {part}-labels-idx1-ubyte (or .gz), there or "
            f"in MNIST/raw, or mnist.npz; download them from https://ossci-datasets.s3.amazonaws.com/mnist/"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or labels.shape != pixels.shape[:1]:
        raise ValueError(
            f"{source}: expected images [n, rows, columns] of bytes and labels [n], got {pixels.dtype} "
            f"{list(pixels.shape)} and {list(labels.shape)}"
        )
    return LabelledImages(torch.from_numpy(pixels.astype(np.float32) / 255), torch.from_numpy(labels.astype(np.int64)))


def _idx_file(folder: Path, part: str, kind: str) -> Path | None:
    spellings: Sequence[str] = (f"{part}-{kind}", f"{part}-{kind.replace('-idx', '.idx')}")
    candidates = (
        place / (name + end)
        for place in (folder, folder / "MNIST" / "raw")
        for name in spellings
        for end in ("", ".gz")
    )
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(path: Path) -> np.ndarray:
    """An idx file of bytes: 0, 0, type 8, number of axes, each length as a big-endian int32, then the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}; download it again") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is no idx file of bytes: it begins with {content[:4].hex()}, expected 000008…")
    axes = content[3]
    start = 4 + 4 * axes
    lengths = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    if not lengths or len(content) - start != int(np.prod(lengths)):
        raise ValueError(
            f"{path} holds {len(content) - start} bytes, {list(lengths)} need another number; download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(lengths)

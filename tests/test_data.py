import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from jetprop.data import digits, mnist

FOLDER = Path(os.environ.get("JETPROP_DATA", Path(__file__).parents[2] / "shared" / "data"))
PIXELS = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 0, 3], dtype=np.uint8)


def idx(array):
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, images=PIXELS, labels=LABELS, part="train", pack=bytes, end="", dot="-"):
    folder.mkdir(parents=True, exist_ok=True)
    for array, kind, axes in ((images, "images", 3), (labels, "labels", 1)):
        (folder / f"{part}-{kind}{dot}idx{axes}-ubyte{end}").write_bytes(pack(idx(array)))


def test_digits_are_scikit_learn_s():
    from sklearn.datasets import load_digits

    found = digits()
    images, labels = load_digits(return_X_y=True)
    assert len(found) == 1797 and found.images.dtype == torch.float32 and found.labels.dtype == torch.int64
    assert np.array_equal(found.images.numpy().reshape(1797, 64) * 16, images)
    assert np.array_equal(found.labels.numpy(), labels)
    assert found.images.min() == 0 and found.images.max() == 1
    some = found[torch.tensor([5, 2])]
    assert torch.equal(some.images, found.images[[5, 2]]) and torch.equal(some.labels, found.labels[[5, 2]])


@pytest.mark.parametrize(
    ("place", "options"),
    [
        (".", {}),
        (".", dict(pack=gzip.compress, end=".gz")),
        (".", dict(dot=".")),
        ("MNIST/raw", dict(pack=gzip.compress, end=".gz")),
    ],
)
def test_mnist_is_read_from_idx_files(tmp_path, place, options):
    write(tmp_path / place, **options)
    write(tmp_path / place, PIXELS[:1], LABELS[:1], "t10k", **options)
    train, test = mnist(tmp_path), mnist(str(tmp_path), train=False)
    assert np.array_equal((train.images * 255).round().to(torch.uint8).numpy(), PIXELS)
    assert train.labels.tolist() == [7, 0, 3] and train.images.max() == 1
    assert test.images.shape == (1, 28, 28) and test.labels.tolist() == [7]


def test_mnist_is_read_from_an_archive(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS[1:], y_test=LABELS[1:])
    assert mnist(tmp_path).labels.tolist() == [7, 0, 3]
    assert mnist(tmp_path, train=False).images.shape == (2, 28, 28)


@pytest.mark.skipif(not (FOLDER / "mnist.npz").is_file(), reason=f"no MNIST in {FOLDER}; name a folder in JETPROP_DATA")
def test_the_real_mnist():
    test = mnist(FOLDER, train=False)
    assert test.images.shape == (10000, 28, 28) and test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert test.images.mean().item() == pytest.approx(0.1325, abs=1e-4)  # the known mean of the test set


def test_what_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        mnist(tmp_path)
    write(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes(idx(PIXELS)[:-5])
    with pytest.raises(ValueError, match=r"holds 2347 bytes, \[3, 28, 28\] need another number"):
        mnist(tmp_path)
    images.write_bytes(b"<html>not found")
    with pytest.raises(ValueError, match="no idx file of bytes: it begins with 3c68746d"):
        mnist(tmp_path)
    images.write_bytes(idx(PIXELS[:2]))
    with pytest.raises(ValueError, match=r"got uint8 \[2, 28, 28\] and \[3\]"):
        mnist(tmp_path)
    images.unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(PIXELS))[:-20])
    with pytest.raises(ValueError, match="cannot be unpacked"):
        mnist(tmp_path)
    archive = tmp_path / "other"
    archive.mkdir()
    np.savez(archive / "mnist.npz", x_train=PIXELS)
    with pytest.raises(ValueError, match="has no array y_train; it holds x_train"):
        mnist(archive)

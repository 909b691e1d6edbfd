"""MNIST and Fashion-MNIST: files found, unpacked, checked; never fetched unasked."""

import gzip
import os
import struct

import pytest
import torch

from jensen.datasets import fashion_mnist, mnist
from jensen.datasets.idx import read_idx


def idx(tensor: torch.Tensor) -> bytes:
    shape = struct.pack(f">{tensor.ndim}I", *tensor.shape)
    return bytes([0, 0, 8, tensor.ndim]) + shape + bytes(tensor.flatten().tolist())


def write(root, name="MNIST", compress=True, num_train=40, num_test=10):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for part, num in (("train", num_train), ("t10k", num_test)):
        images = torch.randint(0, 256, (num, 28, 28), generator=generator)
        for stem, tensor in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", torch.arange(num) % 10)):
            content = idx(tensor)
            path = folder / f"{stem}-ubyte{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(content) if compress else content)
    return folder


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("JENSEN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jensen"


@pytest.mark.parametrize("compress", [True, False])
def test_reads_plain_and_gzipped_files_and_writes_nothing(tmp_path, compress):
    folder = write(tmp_path, compress=compress)
    before = sorted(os.listdir(folder))
    data = mnist(tmp_path, dtype=torch.float64)
    assert data.sizes == {"train": 40, "test": 10}
    assert data.train["x"].shape == (40, 784) and data.train["y"].tolist() == [n % 10 for n in range(40)]
    assert data.train["x"].dtype == torch.float64
    assert data.train["x"].min() >= 0 and data.train["x"].max() <= 1
    assert sorted(os.listdir(folder)) == before


def test_agrees_with_torchvision(tmp_path):
    from torchvision.datasets import FashionMNIST

    write(tmp_path, "FashionMNIST", compress=False)
    theirs = FashionMNIST(str(tmp_path), train=False)
    data = fashion_mnist(tmp_path, flatten=False)
    assert data.test["x"].shape == (10, 1, 28, 28)
    torch.testing.assert_close(data.test["x"][:, 0], theirs.data / 255)
    assert torch.equal(data.test["y"], theirs.targets)
    assert list(data.target_names) == theirs.classes


def test_environment_names_the_root(nowhere, tmp_path, monkeypatch):
    write(tmp_path / "there")
    monkeypatch.setenv("JENSEN_DATA", str(tmp_path / "there"))
    assert mnist().sizes["train"] == 40


def test_cache_is_the_last_place(nowhere, monkeypatch, tmp_path):
    write(nowhere)
    monkeypatch.setenv("JENSEN_DATA", str(tmp_path / "empty"))
    assert mnist().sizes["train"] == 40


def test_limit_and_validation(tmp_path):
    write(tmp_path)
    data = mnist(tmp_path, limit=20, validation_size=10, seed=1)
    assert data.sizes == {"train": 10, "validation": 10, "test": 10}
    assert torch.bincount(data.validation["y"]).tolist() == [1] * 10
    with pytest.raises(ValueError, match="`limit`: expected a positive number of images or None, got 0"):
        mnist(tmp_path, limit=0)


def test_absent_files_say_where_and_what_to_do(nowhere, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: pytest.fail("downloaded unasked"))
    with pytest.raises(FileNotFoundError, match=r"JENSEN_DATA.*download=True") as error:
        mnist(tmp_path / "here")
    assert str(tmp_path / "here" / "MNIST" / "raw") in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        fashion_mnist()
    assert str(nowhere / "FashionMNIST" / "raw") in str(error.value)


def test_downloads_when_asked(nowhere, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: write(nowhere, compress=False))
    assert mnist(download=True).sizes["train"] == 40


def test_damaged_files_are_named(tmp_path):
    folder = write(tmp_path)
    path = folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "expected a whole gzip file"),
        (b"not a gzip", "expected a whole gzip file"),
        (gzip.compress(b"PK\3\4"), "expected an IDX file"),
        (gzip.compress(gzip.decompress(whole)[:-5]), "expected 31,360 bytes"),
        (gzip.compress(b"\0\0\x08\x03\0\0"), "expected 0 bytes|download the file again"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            mnist(tmp_path)
    path.write_bytes(gzip.compress(idx(torch.zeros(39, 28, 28, dtype=torch.int64))))
    with pytest.raises(ValueError, match=r"images \(39, 28, 28\) but labels \(40,\)"):
        mnist(tmp_path)


def test_the_real_files(mnist_root):
    data = mnist(mnist_root)
    assert data.sizes == {"train": 60_000, "test": 10_000}
    assert torch.bincount(data.test["y"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(data.train["x"].double().mean().item() - 0.1306604762738429) < 1e-6


def test_one_dimension(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(idx(torch.tensor([3, 1, 4])))
    assert read_idx(path).tolist() == [3, 1, 4]

"""MNIST and Fashion-MNIST, from files in torchvision's layout; downloaded only when asked."""

from __future__ import annotations

__all__ = ["data_roots", "fashion_mnist", "mnist"]

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .dataset import Batch, Dataset
from .idx import find_idx, read_idx
from .splits import split

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    flatten: bool = True,
    limit: int | None = None,
    validation_size: float = 0,
    seed: int = 0,
    stratify: bool = True,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Handwritten digits: 60,000 training and 10,000 test images of 28 x 28 pixels, intensities k / 255 in [0, 1].

    `x` is `(N, 784)`, or `(N, 1, 28, 28)` with `flatten=False`; `y` is `(N,)` int64 in {0, ..., 9}; the original order.

    The files are looked for in `<root>/MNIST/raw`, plain or as `.gz` (unpacked in memory, so that the folder may be
    read-only). Without `root`: in the folder that the environment variable `JENSEN_DATA` names, then in
    `~/.cache/jensen`.

    Args:
        root: the folder that holds `MNIST/raw`.
        download: fetch the files with torchvision into `root` if they are not there; never done unasked.
        flatten: images as rows of 784 pixels.
        limit: only the first `limit` images of train and of test.
        validation_size: rows (int) or fraction (float below 1) taken from train; 0 for none.
        seed: of the validation split.
        stratify: keep the proportions of the classes in the validation split.
        dtype: of `x`; default `torch.get_default_dtype()`.

    Raises:
        FileNotFoundError: the files are nowhere; the message says where it looked and what to do.
        ValueError: a file that is truncated or of another format.

    Reference: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998,
    https://doi.org/10.1109/5.726791.
    """
    names = tuple(str(digit) for digit in range(10))
    raw = _locate("MNIST", root, download)
    return _load("mnist", raw, names, mnist.__doc__, flatten, limit, validation_size, seed, stratify, dtype)


def fashion_mnist(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    flatten: bool = True,
    limit: int | None = None,
    validation_size: float = 0,
    seed: int = 0,
    stratify: bool = True,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Articles of clothing in ten classes: sizes, format, arguments and errors as for `mnist`.

    The files are looked for in `<root>/FashionMNIST/raw`.

    Reference: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017, https://arxiv.org/abs/1708.07747 (MIT licence).
    """
    raw = _locate("FashionMNIST", root, download)
    doc = fashion_mnist.__doc__
    return _load("fashion_mnist", raw, FASHION, doc, flatten, limit, validation_size, seed, stratify, dtype)


def _locate(name: str, root: str | os.PathLike[str] | None, download: bool) -> Path:
    """The folder with the four files of `name`, plain or gzipped."""
    looked = [base / name / "raw" for base in data_roots(root)]
    for folder in looked:
        if all(find_idx(folder, stem) for stems in FILES.values() for stem in stems):
            return folder
    if download:
        import torchvision

        dataset: Any = getattr(torchvision.datasets, name)
        dataset(str(data_roots(root)[0]), download=True)
        return looked[0]
    raise FileNotFoundError(
        f"{name} not found: looked for {FILES['train'][0]}[.gz] and the three other files in "
        + " and ".join(str(folder) for folder in looked)
        + ". Pass the folder that holds "
        + f"`{name}/raw` as `root`, set the environment variable JENSEN_DATA to it, or pass `download=True`."
    )


def data_roots(root: str | os.PathLike[str] | None) -> list[Path]:
    """The folders to look for data in: `root`, else the one that `JENSEN_DATA` names and the cache."""
    if root is not None:
        return [Path(root).expanduser()]
    named = os.environ.get("JENSEN_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jensen"
    return [*([Path(named).expanduser()] if named else []), cache]


def _load(
    name: str,
    raw: Path,
    target_names: tuple[str, ...],
    description: str | None,
    flatten: bool,
    limit: int | None,
    validation_size: float,
    seed: int,
    stratify: bool,
    dtype: torch.dtype | None,
) -> Dataset:
    if limit is not None and limit < 1:
        raise ValueError(f"`limit`: expected a positive number of images or None, got {limit}")
    parts: dict[str, Batch] = {}
    for part, stems in FILES.items():
        images, labels = (read_idx(find_idx(raw, stem) or raw / stem) for stem in stems)
        if images.ndim != 3 or images.shape[:1] != labels.shape:
            raise ValueError(f"{raw}: {part} has images {tuple(images.shape)} but labels {tuple(labels.shape)}")
        x = _intensities(images[:limit], dtype)
        parts[part] = {"x": x.flatten(1) if flatten else x.unsqueeze(1), "y": labels[:limit].long()}
    data = Dataset(
        name,
        parts["train"],
        test=parts["test"],
        target_names=target_names,
        description=(description or "").strip(),
    )
    return split(data, validation_size=validation_size, seed=seed, stratify="y" if stratify else None)


def _intensities(images: Tensor, dtype: torch.dtype | None) -> Tensor:
    return images.to(dtype or torch.get_default_dtype()).div_(255)

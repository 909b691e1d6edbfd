"""Texts as counts of words: from a list of strings, from sparse matrices, and a corpus of news."""

from __future__ import annotations

__all__ = ["count_words", "from_sparse", "reuters", "texts"]

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .dataset import Dataset
from .splits import split


def from_sparse(matrix: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A scipy sparse matrix or array ``(N, V)`` as a dense tensor.

    Fits and scores of topic models take sparse matrices too, and do the same with them. `CAVI` goes on by the nonzero
    entries alone. The dense tensor costs 4 N V bytes: keep the vocabulary to what is
    needed (`min_documents` of :func:`texts`), and for corpora beyond memory stream batches of rows to `SVI`.

    Raises:
        ValueError: not a sparse matrix of numbers.

    Example:
        >>> import scipy.sparse
        >>> from_sparse(scipy.sparse.eye(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if not hasattr(matrix, "toarray"):
        raise ValueError(f"`matrix` must be a scipy sparse matrix or array, got {type(matrix).__name__}.")
    return torch.as_tensor(matrix.toarray()).to(dtype or torch.get_default_dtype())


def count_words(documents: Sequence[str], vocabulary: Sequence[str], dtype: torch.dtype | None = None) -> Tensor:
    """Counts ``(N, V)`` of the words of `vocabulary` in new documents; other words are left out.

    A document that has none of them is a row of zeros, which topic models take: its topics are those of the prior.

    Args:
        documents: the texts.
        vocabulary: the V words in the order of the columns, lower case: `feature_names` of the training data.
        dtype: of the counts; default `torch.get_default_dtype()`.

    Raises:
        ValueError: `documents` are no list of strings or none.

    Example:
        >>> count_words(["One fish, two fish"], ["fish", "two"])
        tensor([[2., 1.]])
    """
    from sklearn.feature_extraction.text import CountVectorizer

    _check_texts(documents)
    counter = CountVectorizer(vocabulary=list(vocabulary), token_pattern=r"(?u)\b\w+\b")
    return from_sparse(counter.transform(documents), dtype)


def texts(
    documents: Sequence[str],
    *,
    name: str = "texts",
    min_documents: int | float = 1,
    max_documents: int | float = 1.0,
    max_words: int | None = None,
    stop_words: str | Sequence[str] | None = None,
    validation_size: float = 0,
    test_size: float = 0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Dataset:
    """Texts counted by scikit-learn's `CountVectorizer`: lower-case words of two letters or more.

    `x` is `(N, V)`; the vocabulary is `feature_names`. New texts: ``count_words(documents, data.feature_names)``. A
    text of which no word is left is a row of zeros: rows stay those of `documents`.

    Args:
        documents: the texts.
        name: what the data are called.
        min_documents: drop words in fewer documents than this (int), or than this share (float).
        max_documents: drop words in more.
        max_words: keep this many of the most frequent words.
        stop_words: words to drop, or ``"english"``.
        validation_size, test_size, seed: as for `breast_cancer`.
        dtype: of the counts; default `torch.get_default_dtype()`.

    Raises:
        ValueError: `documents` are no list of strings or none, or no word is left.

    Example:
        >>> texts(["the cat sat", "the dog ran"], stop_words=["the"]).feature_names
        ('cat', 'dog', 'ran', 'sat')
    """
    from sklearn.feature_extraction.text import CountVectorizer

    _check_texts(documents)
    stop = list(stop_words) if stop_words is not None and not isinstance(stop_words, str) else stop_words
    counter = CountVectorizer(min_df=min_documents, max_df=max_documents, max_features=max_words, stop_words=stop)
    try:
        counts = counter.fit_transform(documents)
    except ValueError as error:  # scikit-learn's says which of its own options left nothing
        if type(error) is not ValueError:  # an option that cannot be
            raise
        raise ValueError(
            f"`documents` have no word left ({error}). Leave out fewer: see `min_documents`, `max_documents` and "
            "`stop_words`; words have two letters or more."
        ) from error
    x = from_sparse(counts, dtype)
    words = tuple(str(word) for word in counter.get_feature_names_out())
    data = Dataset(name, train={"x": x}, feature_names=words)
    return split(data, validation_size=validation_size, test_size=test_size, seed=seed)


def reuters(
    *, validation_size: float = 0, test_size: float = 0, seed: int = 0, dtype: torch.dtype | None = None
) -> Dataset:
    """News of 1996: 395 Reuters articles, 4,258 words, 84,010 tokens; the test corpus inside the `lda` package.

    `x` is `(N, 4258)`; the vocabulary is `feature_names`. Arguments as for `breast_cancer`.

    Raises:
        ImportError: the `lda` package is not installed.

    Reference: Lewis et al., "RCV1: A New Benchmark Collection for Text Categorization Research", 2004,
    https://www.jmlr.org/papers/v5/lewis04a.html; the extract: https://github.com/lda-project/lda (MPL 2.0).
    """
    import importlib

    try:
        corpus = importlib.import_module("lda.datasets")
    except ImportError as error:
        raise ImportError(
            "`reuters` reads the corpus inside the `lda` package, which is not installed: pip install lda"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
        x, words = torch.as_tensor(corpus.load_reuters()), tuple(corpus.load_reuters_vocab())
    data = Dataset(
        "reuters",
        train={"x": x.to(dtype or torch.get_default_dtype())},
        feature_names=words,
        description="395 Reuters news articles of 1996, stop words removed, from the tests of the Python package lda.",
    )
    return split(data, validation_size=validation_size, test_size=test_size, seed=seed)


def _check_texts(documents: Sequence[str]) -> None:
    if isinstance(documents, str):
        raise ValueError("`documents` must be a list of strings, one a document; got one string. Put it in a list.")
    if len(documents) == 0:
        raise ValueError("`documents` must be a list of strings, one a document; got none.")
    for index, document in enumerate(documents):
        if not isinstance(document, str):
            raise ValueError(
                f"`documents` must be a list of strings, one a document; got {document!r} of type "
                f"{type(document).__name__} at index {index}. Give each document as one string."
            )

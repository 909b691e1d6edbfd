"""What topic models share: the check of the documents, and the reading of topics."""

from __future__ import annotations

__all__ = ["TopicModel", "check_columns", "check_documents", "read_documents", "top_words"]

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..base import LatentVariableModel
from ..common.inputs import as_tensor
from ..common.takes_data import takes_data
from ..common.validation import check_size


def check_columns(name: str, x: Tensor, num_words: int) -> None:
    """Raise unless `x` is a matrix with a column for each word."""
    if x.ndim != 2 or x.shape[1] != num_words:
        raise ValueError(
            f"`{name}` must have shape (N, {num_words}), one column for each word of the model's vocabulary, got "
            f"{tuple(x.shape)}. Count the documents with the vocabulary of the training data: "
            "`count_words(documents, vocabulary)` of `jensen.datasets`."
        )


def check_documents(name: str, x: Tensor, num_words: int) -> None:
    """Raise unless `x` holds counts ``(N, V)`` of words. A document without words is one: see :class:`TopicModel`."""
    check_columns(name, x, num_words)
    bad = (x < 0) | (x != x.round()) | x.isinf()
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        raise ValueError(
            f"`{name}` must hold counts (whole numbers, 0 or more), got {x[row, column].item():g} in row {row}, column "
            f"{column}. Give the counts themselves, not their tf-idf weights."
        )


def read_documents(name: str, x: Any, num_words: int | None, like: Tensor) -> Tensor:
    """Counts ``(N, V)`` of any kind (a tensor, array, or scipy sparse matrix) as a tensor of the kind of `like`.

    Args:
        num_words: V; None for whatever `x` has.

    Raises:
        ValueError: no numbers, and what :func:`check_documents` finds.
    """
    try:
        x = as_tensor(name, x, like).contiguous()
    except (TypeError, ValueError, RuntimeError) as error:
        shape = f"(N, {'V' if num_words is None else num_words})"
        raise ValueError(f"`{name}` must hold counts, a matrix of shape {shape}, got a {type(x).__name__}.") from error
    check_documents(name, x, x.shape[-1] if num_words is None and x.ndim else num_words or 0)
    return x


def top_words(topics: Tensor, vocabulary: Sequence[str], num: int = 10) -> list[list[str]]:
    """The words with the largest weights of each topic, largest first.

    Args:
        topics: weights or probabilities, ``(K, V)``.
        vocabulary: the V words, in the order of the columns.
        num: words a topic.

    Raises:
        ValueError: the vocabulary is not of V words, or `num` is not in 1, ..., V.

    Example:
        >>> top_words(torch.tensor([[0.1, 0.6, 0.3]]), ["a", "b", "c"], num=2)
        [['b', 'c']]
    """
    if topics.ndim != 2 or len(vocabulary) != topics.shape[1]:
        raise ValueError(
            f"`vocabulary` must have one word for each column of `topics`, got {len(vocabulary)} words for topics of "
            f"shape {tuple(topics.shape)}. Use the vocabulary that counted the training data."
        )
    if not 1 <= num <= len(vocabulary):
        raise ValueError(f"`num` must be in 1, ..., {len(vocabulary)}, got {num}.")
    return [[vocabulary[word] for word in row] for row in topics.topk(num, -1).indices.tolist()]


class TopicModel(LatentVariableModel):
    r"""A model of word counts as mixtures of K topics over V words. Abstract.

    A document without words says nothing: its evidence is :math:`\log p(x_n) = 0`, its posterior the prior, and its
    shares of the topics are the prior's means. It moves no topic, and may stand in any batch.

    Args:
        num_topics: K.
        num_words: V.
        total_count: words of each document that is drawn.
    """

    sparse_allowed: ClassVar[tuple[str, ...]] = ("x",)

    def __init__(self, num_topics: int, num_words: int, total_count: int) -> None:
        super().__init__()
        check_size("num_topics", num_topics)
        check_size("num_words", num_words)
        check_size("total_count", total_count)
        self.num_topics, self.num_words, self.total_count = num_topics, num_words, total_count

    @property
    @abc.abstractmethod
    def topics(self) -> Tensor:
        """Each topic's weight of each word, ``(K, V)``, as the model's own guide has learned it."""

    @abc.abstractmethod
    def proportions(self, x: Any) -> Tensor:
        """Each document's shares of the topics, ``(N, K)``, as the model's own guide infers them.

        Args:
            x: counts ``(N, V)``: a tensor or array of any number type, or a scipy sparse matrix.

        Raises:
            ValueError: what is no count, or another vocabulary's columns.
        """

    def top_words(self, vocabulary: Sequence[str], num: int = 10) -> list[list[str]]:
        """The `num` words of largest weight of each topic, by the model's own guide; see :func:`top_words`."""
        return top_words(self.topics, vocabulary, num)

    def check_data(self, x: Tensor | None = None) -> None:  # type: ignore[override]
        if x is not None:
            check_documents("x", x, self.num_words)

    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """Raise a `ValueError` if the data of a fit hold not one word."""
        if not bool((batch["x"] > 0).any()):
            raise ValueError(
                "`x` must hold a word in one document at least, got none in all of them. Check the counts."
            )

    @takes_data
    def predict(self, data: Mapping[str, Any]) -> Tensor:
        """Each document's shares of the topics, ``(N, K)``; see :meth:`proportions`."""
        with torch.no_grad():
            return self.proportions(data["x"])

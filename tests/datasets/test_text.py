"""Texts as counts."""

from __future__ import annotations

import sys

import pytest
import scipy.sparse
import torch

from jensen.datasets import count_words, from_sparse, reuters, texts

DOCUMENTS = ["The cat sat on the mat.", "A dog ate the cat's dinner", "mat, mat and MAT"]


def test_texts(float64):
    data = texts(DOCUMENTS, stop_words="english", name="pets")
    assert data.feature_names == ("ate", "cat", "dinner", "dog", "mat", "sat")
    assert data.train["x"].tolist() == [[0, 1, 0, 0, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 3, 0]]
    assert data.train["x"].dtype == torch.float64
    new = count_words(["Sat the dog? The dog sat."], data.feature_names)
    assert new.tolist() == [[0, 0, 0, 2, 0, 2]]
    fewer = texts([*DOCUMENTS, "cat"], min_documents=2, test_size=1, dtype=torch.float32)
    assert fewer.sizes == {"train": 3, "test": 1}
    assert set(fewer.feature_names) == {"cat", "mat", "the"}


def test_from_sparse():
    dense = torch.poisson(torch.full((4, 7), 0.5))
    for make in (scipy.sparse.csr_matrix, scipy.sparse.coo_array):
        assert torch.equal(from_sparse(make(dense.numpy())), dense)
    with pytest.raises(ValueError, match="`matrix` must be a scipy sparse matrix"):
        from_sparse(dense)


def test_bad_texts():
    with pytest.raises(ValueError, match="`documents` must be a list of strings"):
        texts("one text")
    for read in (texts, lambda documents: count_words(documents, ["cat"])):
        with pytest.raises(ValueError, match="`documents` must be a list of strings, one a document; got none"):
            read([])
        with pytest.raises(ValueError, match=r"`documents` must be .* got 2 of type int at index 1. Give each"):
            read(["cat", 2])
    with pytest.raises(ValueError, match=r"`documents` have no word left \(empty vocabulary.* `stop_words`"):
        texts(["a b", "c"])
    with pytest.raises(ValueError, match=r"`documents` have no word left .*see `min_documents`"):
        texts(["cat", "dog"], min_documents=2)


def test_a_text_of_which_no_word_is_left_is_a_row_of_zeros():
    assert count_words(["fish", "cat"], ["cat"]).tolist() == [[0.0], [1.0]]
    assert texts(["cat cat", "the the"], stop_words="english").train["x"].tolist() == [[2.0], [0.0]]


def test_reuters_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lda.datasets", None)
    with pytest.raises(ImportError, match="pip install lda"):
        reuters()


def test_reuters():
    pytest.importorskip("lda")
    data = reuters(test_size=79)
    assert data.sizes == {"train": 316, "test": 79}
    assert sum(float(batch["x"].sum()) for _, batch in data.splits()) == 84_010
    assert len(data.feature_names) == data.num_features == 4_258

"""Alignments: the reader and its errors, columns and sequences that are dropped, weights against plain loops."""

from __future__ import annotations

import gzip
from collections import Counter

import pytest
import torch

from jensen.datasets import (
    Alignment,
    henikoff_weights,
    identity_weights,
    protein_alignment,
    simulated_alignment,
    split,
)

KEEP_ALL = {"max_column_gaps": 1.0, "max_sequence_gaps": 1.0, "weights": "equal"}


def write(tmp_path, text, name="family.fasta"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["family.fasta", "family.fasta.gz"])
def test_reads_sequences_over_several_lines(tmp_path, name):
    data = protein_alignment(write(tmp_path, ">one/1-4 first\nAC\nD-\n\n; note\n>two\r\nA CDY\n", name), **KEEP_ALL)
    assert isinstance(data, Alignment)
    assert data.names == ("one/1-4", "two")
    assert data.sequences() == ["ACD-", "ACDY"]
    assert data.train["x"].tolist() == [[0, 1, 2, 20], [0, 1, 2, 19]]
    assert data.train["weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["family.fasta", "family.fasta.gz"])
def test_a_mark_of_the_byte_order_is_not_text(tmp_path, name):
    data = protein_alignment(write(tmp_path, "\ufeff>\u00e9l\u00e8ve\r\nACD\r\n>two\r\nACY\r\n", name), **KEEP_ALL)
    assert data.names == ("\u00e9l\u00e8ve", "two")
    assert data.sequences() == ["ACD", "ACY"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["AC.D", "A.-Y"], ["AC-D", "A--Y"]),  # points are gaps
        (["ACw.D", "AC.vY", "A-..Y"], ["ACD", "ACY", "A-Y"]),  # equal rows: whole columns go
        (["ACwwD", "ACY", "A-vY"], ["ACD", "ACY", "A-Y"]),  # a3m
        (["ACww.D", "AC...Y", "A-Y"], ["ACD", "ACY", "A-Y"]),  # a3m with points in some rows
    ],
)
def test_insertions_are_left_out(tmp_path, rows, expected):
    text = "".join(f">s{k}\n{row}\n" for k, row in enumerate(rows))
    assert protein_alignment(write(tmp_path, text), **KEEP_ALL).sequences() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one sequence in FASTA format, got an empty file"),
        ("\n \n", "got an empty file"),
        ("ACD\n>one\nACD\n", "line 1: expected a header that starts with `>`, got 'ACD'"),
        (">one\nACD\n>\nACD\n", "line 3: expected a name"),
        (">one\nAC\nDE\n>two\nAC\n\u00e9E\n", "line 6: expected letters of ASCII in a sequence, got '\u00e9' in `two`"),
        (">one\nACd\n>two\nAC\u00c9\n", "line 4: expected letters of ASCII"),
        (">one\n>two\nACD\n", "line 1: `one` has no sequence"),
        (">one\nACD\n>two\nAC\n", "line 3: expected 3 aligned columns, as `one` has, got 2 in `two`"),
        (">one\nAC\nDE\n>two\nAC\nDX\n", "line 6: expected the letters .*, got 'X' in `two`; pass unknown=\"gap\""),
        (">one\nACD\n>two\nA3D\n", "line 4: .*got '3' in `two`; correct the file"),
        (">one\nAcD\n", "line 1: `one` is one sequence with lower case, which could be insertions or masked letters"),
        (">one\nAC\0D\n", "got a binary file"),
        (">one\n---\n>two\n---\n", "every column has more than"),
    ],
)
def test_errors_name_line_and_sequence(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        protein_alignment(write(tmp_path, text))


def test_truncated_missing_and_wrong_arguments(tmp_path, monkeypatch):
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b">one\nACD\n" * 100)[:-9])
    with pytest.raises(ValueError, match="expected a whole gzip file"):
        protein_alignment(path)
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + b">one\nAC\xff\n")
        with pytest.raises(ValueError, match="line 2: expected text in FASTA format, got the byte 0xff"):
            protein_alignment(path)
    monkeypatch.setenv("JENSEN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"msa/nowhere.fasta and .*JENSEN_DATA"):
        protein_alignment("nowhere.fasta")
    with pytest.raises(ValueError, match="`weights`: expected one of"):
        protein_alignment(path, weights="equals")
    with pytest.raises(ValueError, match="`max_column_gaps`: expected a share"):
        protein_alignment(path, max_column_gaps=20)
    (tmp_path / "msa").mkdir()
    write(tmp_path / "msa", ">one\nACD\n")
    assert protein_alignment("family.fasta").sequences() == ["ACD"]


def test_columns_sequences_and_copies_are_dropped(tmp_path):
    rows = {"a": "ACDEF", "b": "AC-EF", "c": "ACDEF", "d": "A----", "e": "GCX-F"}
    path = write(tmp_path, "".join(f">{name}\n{row}\n" for name, row in rows.items()))
    data = protein_alignment(path, unknown="gap", max_column_gaps=0.4, max_sequence_gaps=0.5, weights="equal")
    assert data.columns == (0, 1, 3, 4)  # 3 gaps of 5 in column 2
    assert data.names == ("a", "e")
    assert data.sequences() == ["ACEF", "GC-F"]
    assert len(protein_alignment(path, unknown="gap", max_column_gaps=0.4, deduplicate=False).train["x"]) == 4


def test_splits_keep_names_and_weights():
    data = simulated_alignment(60, 12)
    parts = split(data, test_size=0.25, seed=1)
    assert isinstance(parts, Alignment)
    rows = parts.rows["test"]
    assert torch.equal(parts.test["weight"], data.train["weight"][rows])
    assert [parts.names[k] for k in rows.tolist()] == [f"sequence_{k + 1}" for k in rows.tolist()]


def identity_loop(x, identity, gap=20):
    rows = x.tolist()
    weights = []
    for row in rows:
        letters = [d for d, code in enumerate(row) if code != gap]
        needed = round(100 * identity) * len(letters)
        alike = sum(100 * sum(row[d] == other[d] for d in letters) > needed for other in rows)
        weights.append(1 / max(alike, 1))
    return torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("identity", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("chunk", [7, 100])
def test_identity_weights_against_a_loop(identity, chunk):
    x = simulated_alignment(40, 10, within=0.1, gaps=0.2).train["x"]
    x[0] = 20  # nothing but gaps
    found = identity_weights(x, identity, chunk=chunk)
    torch.testing.assert_close(found, identity_loop(x, identity))
    assert found.min() < 0.5


def test_henikoff_weights_against_a_loop():
    x = simulated_alignment(30, 8).train["x"]
    counts = [Counter(column) for column in x.T.tolist()]
    raw = torch.tensor([sum(1 / (len(c) * c[a]) for c, a in zip(counts, row, strict=True)) for row in x.tolist()])
    expected = raw.double() * len(x) / raw.sum()
    torch.testing.assert_close(henikoff_weights(x), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(henikoff_weights(x).mean(), torch.ones((), dtype=torch.float64))


def test_simulated_family_has_the_law_of_its_profiles():
    data = simulated_alignment(4_000, 6, num_clades=4_000, between=50.0, gaps=0.0, weights="equal", seed=3)
    profiles = data.truth["profiles"]
    found = torch.stack([torch.bincount(column, minlength=20) for column in data.train["x"].T]) / 4_000
    # the slowest column may still remember the root
    fast = data.truth["rates"] > 0.2
    assert fast.sum() >= 4
    error = (profiles * (1 - profiles) / 4_000).sqrt()
    assert ((found - profiles).abs() <= 6 * error + 1e-3)[fast].all()
    near = simulated_alignment(200, 30, within=0.02, gaps=0.1)
    clade, x = near.truth["clade"], near.train["x"]
    same = (x == near.truth["ancestors"][clade])[x < 20].float().mean()
    assert same > 0.95
    assert near.effective_size < 30
    assert torch.equal(near.train["x"], simulated_alignment(200, 30, within=0.02, gaps=0.1).train["x"])


def test_the_kunitz_domain(data_root):
    if not (data_root / "msa" / "PF00014_mgap6.fasta.gz").is_file():
        pytest.skip("no Pfam alignment")
    data = protein_alignment(weights="henikoff", root=data_root / "msa", deduplicate=False, max_sequence_gaps=1.0)
    assert data.train["x"].shape[0] == 13_600
    assert data.names[0] == "A0A0V1MAN1_9BILA/990-1042"
    assert max(data.columns) < 53

"""Alignments of RNA and DNA; lower case that is insertions, masked letters or neither for sure; letters for several."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jensen.datasets import identity_weights, read_alignment, simulated_alignment
from jensen.inference import SVI, TraceMeanField_ELBO, mutation_scan
from jensen.models import AlignmentVAE

KEEP = {"max_column_gaps": 1.0, "max_sequence_gaps": 1.0, "weights": "equal", "deduplicate": False}


def fasta(folder: Path, rows: list[str]) -> Path:
    path = folder / "family.fasta"
    path.write_text("".join(f">s{k}\n{row}\n" for k, row in enumerate(rows)))
    return path


@pytest.fixture
def family() -> list[str]:
    """Sixty sequences of RNA."""
    data = simulated_alignment(60, 30, letters="RNA", gaps=0.05, weights="equal", seed=1)
    return data.sequences()


def test_one_masked_stretch_drops_no_column(tmp_path, family):
    clean = read_alignment(fasta(tmp_path, family), letters="RNA", **KEEP)
    masked = list(family)
    masked[17] = masked[17][:8] + masked[17][8:20].lower() + masked[17][20:]
    data = read_alignment(fasta(tmp_path, masked), letters="RNA", **KEEP)
    assert data.columns == clean.columns == tuple(range(30))
    assert torch.equal(data.train["x"], clean.train["x"])
    letters = sum(c.islower() for c in masked[17])
    assert data.description.endswith(f"; {letters} masked letters (lower case) of 1 sequences read as any other")
    assert ";" not in clean.description


@pytest.mark.parametrize(
    ("rows", "expected", "done"),
    [
        (["ACw.D", "AC.vY"], ["ACD", "ACY"], "2 columns of insertions (lower case) left out"),
        (["ACw-D", "AC-vY"], ["ACD", "ACY"], "2 columns of insertions (lower case) left out"),  # dashes all over
        (["ACwD", "ACvY"], ["ACD", "ACY"], "1 columns of insertions (lower case) left out"),
        (["acwd", "acvy"], ["ACWD", "ACVY"], "all letters read as upper case"),
        (["acwd"], ["ACWD"], "all letters read as upper case"),
        (["ACwdE", "ACWDE", "A--DE"], ["ACWDE", "ACWDE", "A--DE"], "2 masked letters (lower case) of 1 sequences"),
        (["ACwwD", "ACY", "A-vY"], ["ACD", "ACY", "A-Y"], "insertions (lower case) left out of each row"),
    ],
)
def test_the_columns_tell_what_lower_case_is(tmp_path, rows, expected, done):
    data = read_alignment(fasta(tmp_path, rows), **KEEP)
    assert data.sequences() == expected
    assert done in data.description


@pytest.mark.parametrize(
    ("rows", "message", "insertions"),
    [
        (
            ["ACw.DE", "AC.vDE", "Ac..DE"],
            "line 6: column 2 has 'c' in `s2` and upper case in other .* but column 3 has lower case beside `.`",
            ["ADE", "ADE", "ADE"],
        ),
        (["AwCD", "ACvD"], "column 2 has 'w' in `s0` .* each sequence has as many letters in upper case", ["AD", "AD"]),
        (["ACwD"], "line 1: `s0` is one sequence with lower case", ["ACD"]),
    ],
)
def test_lower_case_that_could_be_either_is_asked_for(tmp_path, rows, message, insertions):
    path = fasta(tmp_path, rows)
    with pytest.raises(ValueError, match=message + '.* Pass lower_case="insertion" .* or lower_case="letter"'):
        read_alignment(path, **KEEP)
    assert read_alignment(path, lower_case="insertion", **KEEP).sequences() == insertions
    letters = [row.upper().replace(".", "-") for row in rows]
    assert read_alignment(path, lower_case="letter", **KEEP).sequences() == letters


def test_lower_case_can_be_said(tmp_path):
    path = fasta(tmp_path, ["acd", "acd"])
    with pytest.raises(ValueError, match='so all are insertions; pass lower_case="letter"'):
        read_alignment(path, lower_case="insertion", **KEEP)
    with pytest.raises(ValueError, match="expected 5 aligned columns, as `s0` has, got 3 in `s1`"):
        read_alignment(fasta(tmp_path, ["ACwwD", "ACY"]), lower_case="letter", **KEEP)
    with pytest.raises(ValueError, match="`lower_case`: expected one of"):
        read_alignment(path, lower_case="masked")


def test_t_and_u_are_one_letter(tmp_path):
    path = fasta(tmp_path, ["ACGU", "ACGT", "A.-t"])
    rna, dna = (read_alignment(path, letters=name, **KEEP) for name in ("RNA", "dna"))
    assert rna.letters == "ACGU-" and rna.sequences() == ["ACGU", "ACGU", "A--U"]
    assert dna.letters == "ACGT-" and dna.sequences() == ["ACGT", "ACGT", "A--T"]
    assert torch.equal(rna.train["x"], dna.train["x"])
    with pytest.raises(ValueError, match="got 'T'"):  # an alphabet of one's own is what it says
        read_alignment(path, letters="ACGXU-", lower_case="letter", **KEEP)


@pytest.mark.parametrize("code", "RYSWKMBDHVNX")
def test_letters_for_several_bases_are_an_error_or_a_gap(tmp_path, code):
    path = fasta(tmp_path, ["ACGU", f"A{code}GU"])
    with pytest.raises(ValueError, match=f"line 4: expected the letters ACGU, - or ., got '{code}' .*unknown=\"gap\""):
        read_alignment(path, letters="RNA", **KEEP)
    assert read_alignment(path, letters="RNA", unknown="gap", **KEEP).sequences()[1] == "A-GU"
    assert read_alignment(path, letters="RNA", unknown="gap", lower_case="letter", **KEEP).sequences()[1] == "A-GU"


def test_another_alphabet_is_named(tmp_path, family):
    with pytest.raises(ValueError, match=r"expected a protein, got the letters ACGU alone, .* pass letters='RNA'"):
        read_alignment(fasta(tmp_path, family))
    bases = [row.replace("U", "T") for row in family]
    with pytest.raises(ValueError, match=r"pass letters='DNA'"):
        read_alignment(fasta(tmp_path, bases), unknown="gap")
    assert len(read_alignment(fasta(tmp_path, bases), letters="ACDEFGHIKLMNPQRSTVWY-").train["x"])
    proteins = simulated_alignment(5, 30, seed=0).sequences()
    for unknown in ("error", "gap"):  # amino acids are not all read as letters for several bases
        with pytest.raises(ValueError, match="correct the file, or pass letters='protein'"):
            read_alignment(fasta(tmp_path, proteins), letters="DNA", unknown=unknown)
    for letters in ("ACGT", "AACG-", "aA-", "-"):
        with pytest.raises(ValueError, match="`letters`"):
            read_alignment(fasta(tmp_path, bases), letters=letters)


def test_weights_are_those_of_the_alphabet(tmp_path, family):
    data = read_alignment(fasta(tmp_path, family), letters="RNA", max_sequence_gaps=1.0, max_column_gaps=1.0)
    x, expected = data.train["x"], []
    for row in x.tolist():
        own = [d for d, code in enumerate(row) if code != 4]
        alike = sum(10 * sum(row[d] == other[d] for d in own) > 8 * len(own) for other in x.tolist())
        expected.append(1 / alike)
    torch.testing.assert_close(data.train["weight"].double(), torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(identity_weights(x, num_letters=5), torch.tensor(expected, dtype=torch.float64))
    assert data.consensus().max() < 4


def test_an_autoencoder_of_rna(tmp_path, family):
    data = read_alignment(fasta(tmp_path, family), letters="RNA")
    named, listed = AlignmentVAE(30, letters="RNA", hidden=(5,)), AlignmentVAE(30, letters=data.letters, hidden=(5,))
    assert named.letters == listed.letters == "ACGU-"
    assert AlignmentVAE(3, hidden=(5,)).letters == "ACDEFGHIKLMNPQRSTVWY-"
    small = AlignmentVAE(4, letters="DNA", hidden=(5,))
    assert small.decode_letters(small.encode_letters(["ACGU", "AC.T"])) == ["ACGT", "AC-T"]
    with pytest.raises(ValueError, match=r"written in 'ACGT-', got 'a' in number 0. Write .* in upper case"):
        small.encode_letters(["acgt"])
    with pytest.raises(ValueError, match=r"got 'N' in number 0. Write a letter that is not known as the gap"):
        small.encode_letters(["ACGN"])
    with pytest.raises(ValueError, match=r"or one of \['protein', 'RNA', 'DNA'\]; got 'ACA'"):
        AlignmentVAE(4, letters="ACA")
    model = AlignmentVAE(data.train["x"].shape[1], letters=data.letters, hidden=(5,))
    fit = SVI(TraceMeanField_ELBO(), steps=5, compile=False, progress=False).fit(model, data.train)
    scan = mutation_scan(fit, data.consensus(), num_particles=10)
    assert scan.matrix.shape == (model.data_shape[0], 4) and scan.letters == "ACGU"

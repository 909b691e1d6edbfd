"""Multiple sequence alignments of proteins, RNA and DNA: codes of the letters, weights of the sequences, names."""

from __future__ import annotations

__all__ = ["Alignment", "protein_alignment", "read_alignment"]

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from .alphabets import ALPHABETS, ambiguous_letters, letters_of, same_letters
from .dataset import Dataset
from .fasta import Record, read_fasta
from .images import data_roots
from .letter_case import LOWER_CASE, match_columns
from .sequence_weights import henikoff_weights, identity_weights
from .splits import split

WEIGHTS = ("identity", "henikoff", "equal")


@dataclass(frozen=True, repr=False, eq=False)
class Alignment(Dataset):
    """A `Dataset` of aligned sequences: `x` codes ``(N, D)`` int64 and `weight` ``(N,)``.

    Args:
        names: of the sequences, in the order before splitting (`rows` leads there).
        columns: which match columns of the file were kept, ``(D,)``, from 0.
        letters: the alphabet, in the order of the codes; the gap is the last.
    """

    names: tuple[str, ...] = ()
    columns: tuple[int, ...] = ()
    letters: str = ALPHABETS["protein"]

    @property
    def effective_size(self) -> float:
        """The sum of the training sequences' weights."""
        return float(self.train["weight"].double().sum())

    def sequences(self, part: str = "train") -> list[str]:
        """The sequences of a split as strings."""
        return ["".join(self.letters[code] for code in row) for row in getattr(self, part)["x"].tolist()]

    def consensus(self) -> Tensor:
        """The commonest letter of each column, not the gap, by weight: codes ``(D,)``."""
        one_hot = torch.nn.functional.one_hot(self.train["x"], len(self.letters))[..., :-1]
        return torch.einsum("nda,n->da", one_hot.double(), self.train["weight"].double()).argmax(-1)


def protein_alignment(path: str | os.PathLike[str] = "PF00014_mgap6.fasta.gz", **options: Any) -> Alignment:
    """:func:`read_alignment` of proteins; without a path, of the Kunitz domain (Pfam PF00014).

    Example:
        >>> data = protein_alignment("family.fasta", test_size=0.1)  # doctest: +SKIP
        >>> data.train["x"].shape, data.effective_size  # doctest: +SKIP
    """
    return read_alignment(path, **{"letters": "protein", **options})


def read_alignment(
    path: str | os.PathLike[str],
    *,
    letters: str = "protein",
    root: str | os.PathLike[str] | None = None,
    unknown: str = "error",
    lower_case: str = "auto",
    max_column_gaps: float = 0.2,
    max_sequence_gaps: float = 0.5,
    deduplicate: bool = True,
    weights: str = "identity",
    identity: float = 0.8,
    test_size: float = 0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Alignment:
    """Read an alignment in FASTA, A2M or a3m format, plain or gzipped.

    Insertions (lower case) are left out: in rows of unequal lengths (a3m) each row's own, with its ``.``; in rows of
    equal lengths (A2M) the columns that have them, if no column holds both cases. Where columns do, the lower case is
    masked sequence and read like any other, as is an alignment all in lower case; `description` says what was done.
    Any other ``.`` is a gap like ``-``. T and U are one letter, written as the alphabet has it. Then, in this order,
    columns with too many gaps go, sequences with too many gaps among the columns that are left, and all but the first
    of equal sequences; the weights are those of what remains, before it is split.

    Args:
        path: the file. A relative path that is not there is looked for in `root`, else in ``msa`` of the folder that
            the environment variable `JENSEN_DATA` names, then in ``~/.cache/jensen/msa``.
        letters: the alphabet: ``"protein"``, ``"RNA"``, ``"DNA"``, or its letters with ``-`` as the last.
        root: the folder that holds the file.
        unknown: what to do with letters that stand for one of several (IUPAC: B, J, X, Z of amino acids, with the rare
            O and U and the stop ``*``; R, Y, S, W, K, M, B, D, H, V, N, X of bases): ``"error"``, or ``"gap"`` (read
            them as gaps).
        lower_case: ``"insertion"`` or ``"letter"`` to say what lower case is; ``"auto"`` decides as above, and refuses
            where it could be either.
        max_column_gaps: drop columns with a larger share of gaps.
        max_sequence_gaps: drop sequences with a larger share of gaps.
        deduplicate: keep one of equal sequences.
        weights: ``"identity"`` (`identity_weights`), ``"henikoff"`` (`henikoff_weights`) or ``"equal"``.
        identity: share of equal letters above which sequences are neighbours, for ``"identity"``.
        test_size: rows (int) or fraction (float below 1) held out as `test`; 0 for none.
        seed: of the split.
        dtype: of the weights; default `torch.get_default_dtype()`.

    Raises:
        FileNotFoundError: the file is nowhere; the message says where it looked.
        ValueError: the file is empty, binary, truncated or no FASTA, rows are unequal, lower case could be insertions
            or masked letters, a letter is unknown (with the number of the line and the name of the sequence), bases
            are read as amino acids, or nothing is left after dropping.

    References: X. Ding et al., 2019, https://doi.org/10.1038/s41467-019-13633-0 (20% of gaps, Henikoff weights);
    Riesselman et al., 2018, https://doi.org/10.1038/s41592-018-0138-4 (80% identity); A2M:
    https://compbio.soe.ucsc.edu/a2m-desc.html.

    Example:
        >>> data = read_alignment("family.fasta", letters="RNA", unknown="gap")  # doctest: +SKIP
        >>> AlignmentVAE(data.train["x"].shape[1], letters=data.letters)  # doctest: +SKIP
    """
    alphabet = letters_of(letters)
    if not alphabet.endswith("-") or len(set(alphabet.upper())) < len(alphabet):
        raise ValueError(
            f"`letters`: expected one of {list(ALPHABETS)}, or different letters with '-' as the last, got {letters!r}"
        )
    choices = {"unknown": (unknown, ("error", "gap")), "weights": (weights, WEIGHTS)}
    for name, (value, options) in (choices | {"lower_case": (lower_case, LOWER_CASE)}).items():
        if value not in options:
            raise ValueError(f"`{name}`: expected one of {list(options)}, got {value!r}")
    for name, share in (("max_column_gaps", max_column_gaps), ("max_sequence_gaps", max_sequence_gaps)):
        if not 0 <= share <= 1:
            raise ValueError(f"`{name}`: expected a share from 0 to 1, got {share}")
    file = _find(Path(path).expanduser(), root)
    records = read_fasta(file)
    rows, positions, done = match_columns(file, records, lower_case)
    if letters.lower() == "protein":
        _refuse_bases(file, rows)
    x = _encode(file, records, rows, positions, alphabet, unknown)
    gap = len(alphabet) - 1
    columns = ((x == gap).mean(0) <= max_column_gaps).nonzero()[0]
    if not len(columns):
        raise ValueError(f"{file}: every column has more than {max_column_gaps:.0%} gaps; raise `max_column_gaps`")
    x = x[:, columns]
    kept = ((x == gap).mean(1) <= max_sequence_gaps).nonzero()[0]
    if deduplicate and len(kept):
        kept = kept[np.sort(np.unique(x[kept], axis=0, return_index=True)[1])]
    if not len(kept):
        raise ValueError(
            f"{file}: every sequence has more than {max_sequence_gaps:.0%} gaps; raise `max_sequence_gaps`"
        )
    codes = torch.from_numpy(x[kept].astype(np.int64))
    found = Alignment(
        name=file.name.split(".")[0],
        train={"x": codes, "weight": _weigh(codes, weights, identity, len(alphabet))},
        description=f"{len(records):,} sequences in {file.name}, {len(kept):,} of them and {len(columns)} columns kept"
        + (f"; {done}" if done else ""),
        names=tuple(records[k].name for k in kept),
        columns=tuple(columns.tolist()),
        letters=alphabet,
    )
    if test_size:
        found = cast(Alignment, split(found, test_size=test_size, seed=seed))
    return cast(Alignment, found.to(dtype=dtype or torch.get_default_dtype()))


def _weigh(codes: Tensor, weights: str, identity: float, num_letters: int) -> Tensor:
    if weights == "equal":
        return torch.ones(len(codes), dtype=torch.float64)
    if weights == "henikoff":
        return henikoff_weights(codes, num_letters)
    return identity_weights(codes, identity, num_letters)


def _refuse_bases(path: Path, rows: list[str]) -> None:
    """Raise if these proteins are written in A, C, G, T, U and N alone: amino acids too, but never these only."""
    found = set().union(*rows) - {"-"}
    if found <= set("ACGTUN") and sum(len(row) - row.count("-") for row in rows) >= 100:
        name = "RNA" if "U" in found else "DNA"
        raise ValueError(
            f"{path}: expected a protein, got the letters {''.join(sorted(found))} alone, which are bases; pass "
            f"letters={name!r} (or the amino acids themselves as `letters`, if they are a protein)"
        )


def _find(path: Path, root: str | os.PathLike[str] | None) -> Path:
    if path.is_file():
        return path
    folders = [Path(root).expanduser()] if root else [base / "msa" for base in data_roots(None)]
    folders = [] if path.is_absolute() else folders
    for folder in folders:
        if (folder / path).is_file():
            return folder / path
    looked = " and ".join(str(folder / path) for folder in folders) or str(path)
    raise FileNotFoundError(
        f"No alignment {path}: looked for {looked}. Pass the path of a FASTA file, the folder that holds it as `root`, "
        f"or set the environment variable JENSEN_DATA to the folder that holds `msa/{path.name}`."
    )


def _encode(
    path: Path, records: list[Record], rows: list[str], positions: list[list[int]], letters: str, unknown: str
) -> np.ndarray:
    """Codes ``(N, columns)``, uint8."""
    table = np.full(256, 255, dtype=np.uint8)
    codes = {letter.upper(): code for code, letter in enumerate(letters)}
    codes |= {other: codes[letter] for other, letter in same_letters(letters).items()}
    ambiguous = ambiguous_letters(letters)
    if unknown == "gap":
        codes |= dict.fromkeys(ambiguous, len(letters) - 1)
    for letter, code in codes.items():
        table[ord(letter)] = code
    text = "".join(rows).encode("ascii")
    x = table[np.frombuffer(text, dtype=np.uint8)].reshape(len(rows), -1)
    bad = np.argwhere(x == 255)
    if len(bad):
        foreign = [(row, column) for row, column in bad.tolist() if rows[row][column] not in ambiguous]
        row, column = foreign[0] if foreign else bad[0].tolist()
        record, position = records[row], positions[row][column]
        letter = record.sequence[position]
        cure = "correct the file"
        if not foreign:
            cure = 'pass unknown="gap" to read it as a gap'
        elif fits := [
            name for name, known in ALPHABETS.items() if set().union(*rows) <= {*known, *same_letters(known)}
        ]:
            cure += f", or pass letters={fits[-1]!r}"
        raise ValueError(
            f"{path}, line {record.line_of(position)}: expected the letters {letters[:-1]}, - or ., got {letter!r} in "
            f"`{record.name}`; {cure}"
        )
    return x

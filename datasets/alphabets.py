"""Alphabets of aligned sequences: their letters with the gap last, letters that stand for several, and T for U."""

from __future__ import annotations

__all__ = ["ALPHABETS", "GAP", "ambiguous_letters", "letters_of", "same_letters"]

GAP = "-"
ALPHABETS = {"protein": f"ACDEFGHIKLMNPQRSTVWY{GAP}", "RNA": f"ACGU{GAP}", "DNA": f"ACGT{GAP}"}
"""The letters in the order of their codes, by name."""

# IUPAC's letters for one of several residues or bases, with the rare amino acids O and U, and the stop.
_AMBIGUOUS = {"protein": "BJOUXZ*", "RNA": "RYSWKMBDHVNX", "DNA": "RYSWKMBDHVNX"}


def letters_of(alphabet: str) -> str:
    """The letters of ``"protein"``, ``"RNA"`` or ``"DNA"`` (in any case), or `alphabet` itself if it lists letters.

    Raises:
        ValueError: fewer than two letters, or some twice.

    Example:
        >>> letters_of("rna"), letters_of("01-")
        ('ACGU-', '01-')
    """
    for name, letters in ALPHABETS.items():
        if alphabet.lower() == name.lower():
            return letters
    if len(alphabet) < 2 or len(set(alphabet)) < len(alphabet):
        raise ValueError(
            f"`letters` must be two or more different letters, the last of them the gap, or one of {list(ALPHABETS)}; "
            f"got {alphabet!r}."
        )
    return alphabet


def ambiguous_letters(letters: str) -> str:
    """The letters that stand for none of these, but for one of several: of a list of one's own, none."""
    return next((_AMBIGUOUS[name] for name, known in ALPHABETS.items() if known == letters), "")


def same_letters(letters: str) -> dict[str, str]:
    """Other ways to write a letter: T is RNA's U, U is DNA's T, and ``.`` is the gap."""
    same = {".": letters[-1]} if "." not in letters else {}
    if letters in (ALPHABETS["RNA"], ALPHABETS["DNA"]):
        same |= {"T": "U"} if "U" in letters else {"U": "T"}
    return same

"""The variational autoencoder of a protein family: columns of an alignment, drawn independently given a latent."""

from __future__ import annotations

__all__ = ["AlignmentVAE"]

from collections.abc import Sequence

import torch
from torch import Tensor

from jensen.datasets.alphabets import letters_of, same_letters

from ..common.row_weights import check_weight
from ..common.takes_data import takes_data
from ..common.validation import check_size
from .vae import VAE


class AlignmentVAE(VAE):
    r"""Variational autoencoder of aligned sequences.

    .. math::
        z_n \sim \mathcal N(0, I_L), \quad x_{nd} \mid z_n \sim \mathrm{Categorical}(\operatorname{softmax}
        h_\theta(z_n)_d), \qquad
        q_\phi(z_n \mid x_n) = \mathcal N(\mu_\phi(x_n), \operatorname{diag} \sigma_\phi(x_n)^2),

    fitted with a weight for each sequence, :math:`\max \sum_n w_n \mathcal L_n`, so that a crowd of near-identical
    sequences counts for little more than one of them.

    =====================  ==================================================  ==============================
    symbol                 meaning                                             argument or site
    =====================  ==================================================  ==============================
    :math:`x`              codes of the letters, ``(N, D)`` int64              ``x`` (drawn if None)
    :math:`w`              weights of the sequences, ``(N,)``                  ``weight`` (1 if None)
    :math:`z`              latent, ``(N, L)``, local                           site ``z``
    :math:`h_\theta`       network ``(B, L) -> (B, D, 21)``                    ``decoder``
    :math:`\mu,\sigma`     network ``(B, D, 21) one-hot -> two (B, L)``        ``encoder``
    =====================  ==================================================  ==============================

    The weights enter the objective alone, as if a sequence stood in the data that many times, whole or not; evidences
    and other scores are those of the sequences, unweighted. Their sum is the effective number of sequences.

    Args:
        num_columns: D.
        latent_dim: L.
        hidden: widths of the networks' hidden layers (the decoder's in reverse).
        activation: nonlinearity of the networks.
        letters: the alphabet: ``"protein"``, ``"RNA"``, ``"DNA"``, or its letters in the order of the codes; the last
            is the gap. That of data is `Alignment.letters`.

    Raises:
        ValueError: a size is not positive, letters that repeat; `check_data` finds codes outside the alphabet, or
            weights that are negative or all zero.

    Reference: X. Ding, Z. Zou and C. Brooks, *Deciphering protein evolution and fitness landscapes with latent space
    models*, 2019, https://doi.org/10.1038/s41467-019-13633-0 (one hidden layer of 100, two latent dimensions, tanh; use
    ``SVI(optimizer_options={"weight_decay": ...})`` for its weight decay); A. Riesselman, J. Ingraham and D. Marks,
    *Deep generative models of genetic variation capture the effects of mutations*, 2018,
    https://doi.org/10.1038/s41592-018-0138-4

    Example:
        >>> model = AlignmentVAE(num_columns=5)
        >>> codes = model.encode_letters(["ACD-Y", "ACE-Y"])
        >>> model.decode_letters(codes)
        ['ACD-Y', 'ACE-Y']
        >>> model.generate(3, seed=0)["x"].shape
        torch.Size([3, 5])
    """

    row_weight = "weight"

    def __init__(
        self,
        num_columns: int,
        latent_dim: int = 2,
        hidden: Sequence[int] = (100,),
        activation: str = "tanh",
        letters: str = "protein",
    ) -> None:
        check_size("num_columns", num_columns)
        letters = letters_of(letters)
        super().__init__(
            num_columns,
            latent_dim,
            likelihood="categorical",
            num_categories=len(letters),
            hidden=hidden,
            activation=activation,
        )
        self.letters = letters

    def model(  # type: ignore[override]
        self, x: torch.LongTensor | None = None, weight: Tensor | None = None
    ) -> Tensor:
        return super().model(x)

    def guide(  # type: ignore[override]
        self, x: torch.LongTensor, weight: Tensor | None = None
    ) -> Tensor:
        return super().guide(x)

    def encode_letters(self, sequences: Sequence[str]) -> Tensor:
        """Codes ``(N, D)`` int64 of aligned sequences; ``.`` is read as the gap, and T as RNA's U, U as DNA's T.

        Raises:
            ValueError: a letter outside the alphabet, or a sequence that has not D of them.
        """
        code = {letter: k for k, letter in enumerate(self.letters)}
        code |= {other: code[letter] for other, letter in same_letters(self.letters).items()}
        rows = []
        for number, sequence in enumerate(sequences):
            if len(sequence) != self.data_shape[0]:
                raise ValueError(
                    f"`sequences` must have {self.data_shape[0]} letters each, the columns of the model, got "
                    f"{len(sequence)} in number {number}. Keep the columns that the model was fitted on."
                )
            if unknown := set(sequence) - code.keys():
                cure = (
                    "Write the aligned columns in upper case."
                    if unknown & {*map(str.lower, code)}
                    else ("Write a letter that is not known as the gap, or build the model with other `letters`.")
                )
                raise ValueError(
                    f"`sequences` must be written in {self.letters!r}, got {min(unknown)!r} in number {number}. {cure}"
                )
            rows.append([code[letter] for letter in sequence])
        return torch.tensor(rows, dtype=torch.int64, device=next(self.parameters()).device)

    @takes_data
    def decode_letters(self, x: torch.LongTensor) -> list[str]:
        """The sequences with these codes ``(N, D)``."""
        return ["".join(self.letters[code] for code in row) for row in x.tolist()]

    def check_data(self, x: Tensor | None = None, weight: Tensor | None = None) -> None:  # type: ignore[override]
        super().check_data(x)
        check_weight(weight, "sequence")

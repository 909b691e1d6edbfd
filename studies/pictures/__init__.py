"""Functions that return matplotlib figures: comparisons, calibration, data and latents, images, topics, alignments.

They draw arrays and fits. Those that take a fitted autoencoder and its data are in
`jensen.studies.pictures.autoencoders`, since `reconstructions` and `latent_map` have the same names there.
"""

from __future__ import annotations

__all__ = [
    "PALETTE",
    "alignment_picture",
    "bound_against_time",
    "calibration_bands",
    "colour",
    "draw_image",
    "evidence",
    "figure",
    "headline",
    "image_grid",
    "latent_map",
    "mixture_ellipses",
    "mutation_heat_map",
    "posterior_forest",
    "posterior_pair",
    "reconstructions",
    "save",
    "sequence_map",
    "styled",
    "topic_bars",
]

from .alignments import alignment_picture, mutation_heat_map, sequence_map
from .calibration import calibration_bands
from .comparison import bound_against_time, evidence, posterior_forest, posterior_pair
from .images import draw_image, image_grid, reconstructions
from .plane import latent_map, mixture_ellipses
from .style import PALETTE, colour, figure, headline, save, styled
from .topics import topic_bars

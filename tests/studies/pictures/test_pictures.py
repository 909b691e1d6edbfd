"""Pictures: what is drawn is what was given, labelled; nothing is left behind in matplotlib."""

from __future__ import annotations

import numpy
import pandas
import pytest
import torch

from jensen.inference.errors import ConfigurationError
from jensen.studies import pictures
from jensen.studies.pictures import save


@pytest.fixture
def posteriors():
    import arviz

    draws = numpy.random.default_rng(0).normal(loc=[3.0, 0.1, -2.0], size=(1, 300, 3))
    return {label: arviz.from_dict({"w": draws + shift}) for label, shift in (("one", 0.0), ("two", 0.5))}


def history(level: float) -> pandas.DataFrame:
    seconds = numpy.linspace(0.1, 2.0, 20)
    return pandas.DataFrame({"seconds": seconds, "bound_per_datum": level - numpy.exp(-5 * seconds)})


def test_bounds_against_time_has_one_legend_entry_a_method():
    picture = pictures.bound_against_time({"one": [history(-1.0), history(-1.1)], "two": [history(-2.0)]})
    (axes,) = picture.axes
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["one", "two"]
    assert axes.get_xlabel() == "time of the fit (seconds)"
    assert axes.get_ylabel() == "bound (nats per datum)"
    assert axes.get_ylim()[1] > -1.0
    with pytest.raises(ConfigurationError, match="`histories`: expected at least one history with rows"):
        pictures.bound_against_time({})


def test_evidence_has_a_line_a_method():
    rows = {"method": ["a", "b"], "elbo_per_datum": [-2.0, -3.0], "log_evidence_per_datum": [-1.0, -1.5]}
    picture = pictures.evidence(pandas.DataFrame(rows | {"log_evidence_stderr": [0.1, 0.2]}))
    assert [label.get_text() for label in picture.axes[0].get_yticklabels()] == ["a", "b"]


def test_forest_shows_the_coordinates_farthest_from_zero_in_order(posteriors):
    picture = pictures.posterior_forest(posteriors, "w", ["up", "none", "down"], largest=2)
    (axes,) = picture.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["down", "up"]
    assert "the 2 of 3 farthest from zero" in axes.get_xlabel()
    with pytest.raises(ConfigurationError, match="`variable`: expected one of `w`, got `z`"):
        pictures.posterior_forest(posteriors, "z")


def test_pairs_have_a_marginal_on_the_diagonal_and_contours_below(posteriors):
    picture = pictures.posterior_pair(posteriors, "w", [0, 2], ["up", "none", "down"])
    shown = [axes for axes in picture.axes if axes.axison]
    assert len(shown) == 3
    contours = [axes for axes in shown if len(axes.collections) == 2 and not axes.lines]
    assert [axes.get_ylabel() for axes in contours] == ["down"]


def test_ellipses_are_those_of_the_marginal_in_the_plane():
    # Data whose principal components are the axes, so that the plane is known.
    x = torch.tensor([[9.0, 0.0, 0.0], [-9.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 0.1]])
    x = x - x.mean(0)
    covariance = torch.diag(torch.tensor([4.0, 1.0, 25.0]))
    picture = pictures.mixture_ellipses(x, torch.tensor([[1.0, 2.0, 3.0]]), covariance[None], torch.tensor([1.0]))
    ellipse = picture.axes[0].patches[1]  # the outline of one standard deviation
    assert ellipse.get_width() == pytest.approx(4.0, rel=1e-3)
    assert ellipse.get_height() == pytest.approx(2.0, rel=1e-3)
    assert numpy.abs(ellipse.get_center()) == pytest.approx([1.0, 2.0], abs=0.05)
    diagonal = pictures.mixture_ellipses(x, torch.zeros(1, 3), torch.tensor([[4.0, 1.0, 25.0]]))
    assert diagonal.axes[0].patches[1].get_width() == pytest.approx(4.0, rel=1e-3)


def test_images_and_maps():
    images = torch.rand(5, 6)
    picture = pictures.reconstructions({"data": images, "model": images}, (2, 3))
    assert len(picture.axes) == 10
    assert [picture.axes[line].get_ylabel() for line in (0, 5)] == ["data", "model"]
    assert sum(axes.axison for axes in pictures.image_grid(images, (2, 3), columns=3).axes) == 5
    labels = torch.tensor([0, 0, 1, 1, 1])
    map_of_two = pictures.latent_map(torch.randn(5, 2), labels)
    assert map_of_two.axes[0].get_xlabel() == "E[z | x], first dimension"
    assert "of the variance" in pictures.latent_map(torch.randn(5, 4), labels).axes[0].get_xlabel()
    with pytest.raises(ConfigurationError, match="`means`: expected"):
        pictures.latent_map(torch.randn(5, 1), labels)


def test_drawing_changes_no_setting_and_opens_no_window(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    save(pictures.image_grid(torch.rand(4, 4), (2, 2), columns=2), tmp_path / "new" / "grid.png")
    assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "new" / "grid.png").read_bytes()[:4] == b"\x89PNG"

"""Labels of components brought together."""

from __future__ import annotations

import itertools

import pytest
import torch

from jensen.inference import align_labels


def shuffled(draws: int = 60) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Draws of three components, and the same with every draw's labels permuted."""
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 400.0]])
    means = centres + torch.tensor([0.3, 30.0]) * torch.randn(draws, 3, 2)
    straight = {"means": means, "weights": torch.rand(draws, 3), "matrix": torch.randn(draws, 3, 2, 2)}
    orders = torch.stack([torch.randperm(3) for _ in range(draws)])
    rows = torch.arange(draws)[:, None]
    return straight, {name: value[rows, orders] for name, value in straight.items()}


def test_draws_are_brought_to_the_reference(float64: None) -> None:
    straight, mixed = shuffled()
    mixed["shape"] = torch.randn(60, 2)
    found = align_labels(mixed, straight["means"].mean(0), shared=["shape"])
    for name, value in straight.items():
        assert torch.equal(found[name], value)
    assert found["shape"] is mixed["shape"]
    found = align_labels(mixed, {"means": straight["means"][0]}, shared=["shape"])
    assert torch.equal(found["weights"], straight["weights"])


def test_without_a_reference_draws_agree_with_their_own_mean(float64: None) -> None:
    straight, mixed = shuffled()
    found = align_labels(mixed)
    candidates = [straight["means"][:, list(order)] for order in itertools.permutations(range(3))]
    assert any(torch.equal(found["means"], candidate) for candidate in candidates)
    ordered = align_labels(straight, on="weights")["weights"].sort(1).values
    assert torch.equal(ordered, straight["weights"].sort(1).values)


def test_the_assignment_is_the_best_of_all_permutations(float64: None) -> None:
    draws, reference = {"means": torch.randn(20, 4)}, torch.randn(4)
    found = align_labels(draws, reference)["means"]
    orders = [list(order) for order in itertools.permutations(range(4))]
    costs = torch.stack([(draws["means"][:, order] - reference).square().sum(1) for order in orders])
    torch.testing.assert_close((found - reference).square().sum(1), costs.min(0).values)


def test_label_vectors_agree_as_often_as_they_can() -> None:
    truth = torch.randint(4, (200,))
    renamed = torch.tensor([2, 3, 1, 0])[truth]
    assert torch.equal(align_labels(renamed, truth), truth)
    found = align_labels(torch.tensor([5, 5, 0, 0, 2]), torch.tensor([1, 1, 0, 0, 0]))
    assert found.tolist()[:4] == [1, 1, 0, 0] and found[4] > 1
    assert align_labels(torch.tensor([0.0, 1.0]), torch.tensor([1, 0])).dtype == torch.get_default_dtype()


def test_responsibilities_get_the_reference_columns() -> None:
    shares = torch.randn(50, 3).mul(4).softmax(-1)
    assert torch.equal(align_labels(shares[:, [2, 0, 1]], shares), shares)


@pytest.mark.parametrize(
    ("draws", "reference", "message"),
    [
        ([1, 2], None, "`draws` must be a dict"),
        (torch.tensor([0, 1]), None, "`draws` must be a dict"),
        (torch.tensor([0, 1]), torch.tensor([0, 1, 2]), "`reference` must have as many rows as `draws`"),
        (torch.tensor([0.5, 1]), torch.tensor([0, 1]), "`draws` must hold labels"),
        (torch.tensor([0, 1]), torch.tensor([0, -1]), "`reference` must hold labels"),
        (torch.rand(4, 3), torch.rand(4, 2), r"`reference` must have shape \(4, 3\)"),
        ({"weights": torch.rand(5, 2)}, None, "must hold the site 'means'"),
        ({"means": torch.rand(5)}, None, "must have shape"),
        ({"means": torch.rand(5, 2), "tied": torch.rand(5, 3, 3)}, None, "name it in `shared`"),
        ({"means": torch.rand(5, 2)}, torch.rand(3), r"`reference` must have shape \(2,\)"),
    ],
)
def test_what_cannot_be_aligned_is_refused(draws: object, reference: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        align_labels(draws, reference)  # type: ignore[call-overload]

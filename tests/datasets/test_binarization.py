"""Binarisation: fresh at each presentation, or fixed by a seed; unbiased, exact at 0 and 1."""

import pytest
import torch

from jensen.datasets import Dataset, DynamicBinarization, binarize, digits, threshold


def test_dynamic_is_fresh_and_reproducible():
    batch, transform = digits().train, DynamicBinarization()
    first, again, other = transform(batch, 5), transform(batch, 5), transform(batch, 6)
    assert torch.equal(first["x"], again["x"])
    assert not torch.equal(first["x"], other["x"])
    assert first["y"] is batch["y"]
    assert first["x"].unique().tolist() == [0, 1]
    assert first["x"].dtype == batch["x"].dtype
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(transform(batch, generator)["x"], first["x"])
    assert not torch.equal(transform(batch, generator)["x"], first["x"])


def test_dynamic_uses_the_global_generator_by_default():
    batch, transform = digits().train, DynamicBinarization()
    torch.manual_seed(1)
    first = transform(batch)["x"]
    torch.manual_seed(1)
    assert torch.equal(transform(batch)["x"], first)


def test_mean_is_the_intensity(float64):
    x = torch.tensor([0.0, 0.2, 0.5, 1.0])
    draws = DynamicBinarization()({"x": x.expand(40_000, 4)}, 0)["x"].mean(0)
    standard_error = (x * (1 - x) / 40_000).sqrt()
    assert ((draws - x).abs() <= 4 * standard_error).all()
    assert draws[0] == 0 and draws[3] == 1


def test_fixed_is_drawn_once_by_seed():
    data = digits(test_size=0.2)
    a, b, c = binarize(data, seed=0), binarize(data, seed=0), binarize(data, seed=1)
    assert torch.equal(a.train["x"], b.train["x"]) and torch.equal(a.test["x"], b.test["x"])
    assert not torch.equal(a.train["x"], c.train["x"])
    assert not torch.equal(a.train["x"][: len(a.test["x"])], a.test["x"])


def test_threshold():
    data = threshold(digits(), at=0.5)
    assert torch.equal(data.train["x"], (digits().train["x"] > 0.5).to(torch.get_default_dtype()))


def test_bad_input():
    with pytest.raises(ValueError, match=r"`x` of `train`: expected .* in \[0, 1\], got torch.float32 in \[0, 255\]"):
        binarize(Dataset("toy", {"x": torch.tensor([[0.0, 255.0]])}))
    with pytest.raises(ValueError, match=r"`x` of `train`: expected floating-point intensities in \[0, 1\]"):
        binarize(Dataset("toy", {"x": torch.tensor([[0.0, float("nan")]])}))
    with pytest.raises(ValueError, match=r"`keys`: expected some of \['x', 'y'\], got `image`"):
        DynamicBinarization(("image",))(digits().train)
    with pytest.raises(ValueError, match="`key`: expected one of"):
        threshold(digits(), key="image")


@pytest.mark.parametrize(
    "x", [torch.tensor([[0.0, 255.0]]), torch.tensor([[-0.5, 0.5]]), torch.tensor([[0.5, float("nan")]])], ids=str
)
def test_check_refuses_what_is_no_intensity(x):
    DynamicBinarization().check({"x": torch.tensor([[0.0, 0.3, 1.0]])})
    with pytest.raises(ValueError, match=r"`x`: expected floating-point intensities in \[0, 1\], got .* divide pixels"):
        DynamicBinarization().check({"x": x})
    with pytest.raises(ValueError, match="`keys`: expected some of"):
        DynamicBinarization(("image",)).check({"x": x})


def test_a_compiled_step_can_supply_its_noise():
    from jensen.inference.pair.randomness.noise import NoiseLayout, record_noise, replay_noise

    batch, layout = {"x": torch.full((6, 5), 0.3)}, NoiseLayout()
    with record_noise(layout):
        DynamicBinarization()(batch, None)
    assert (layout.normals, layout.uniforms, layout.opaque) == (0, 30, [])
    uniform = torch.rand(30)
    with replay_noise(torch.zeros(0), uniform):
        drawn = DynamicBinarization()(batch, None)["x"]
    assert torch.equal(drawn, (uniform.view(6, 5) < 0.3).float())

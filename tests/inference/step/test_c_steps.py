"""Steps as a C function: every operation against torch's own, blocks against single steps, fits against eager ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jensen.inference import SVI, ConfigurationError, Trace_ELBO
from jensen.inference.step.compile.c import library
from jensen.inference.step.compile.c.library import CSteps, compile_with_c
from jensen.inference.step.compile.graph import trace

pytestmark = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler")

UNARY = [torch.exp, torch.expm1, torch.log, torch.log1p, torch.sqrt, torch.rsqrt, torch.reciprocal, torch.abs]
UNARY += [torch.tanh, torch.sigmoid, torch.relu, torch.sign, torch.square, torch.lgamma, torch.erf, F.logsigmoid]
UNARY += [F.softplus, torch.neg, torch.isnan, torch.floor, torch.sin, torch.cos]


def _steps(function: Callable[..., Any], inputs: list[Tensor], state: int = 0, rows: int = 0) -> CSteps:
    found = compile_with_c(trace(function, inputs), inputs, state, rows)
    assert found is not None
    return found


def _check(function: Callable[..., Tensor], inputs: list[Tensor], dtype: torch.dtype) -> None:
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    found, expected = _steps(lambda *given: (function(*given),), inputs)(inputs, 1)[0], function(*inputs)
    exact = dtype == torch.float64
    torch.testing.assert_close(
        found, expected, rtol=1e-12 if exact else 1e-5, atol=1e-12 if exact else 1e-5, equal_nan=True
    )


def _numbers() -> Tensor:
    return torch.cat([torch.linspace(-30.0, 30.0, 41), torch.tensor([0.0, 1e-4, torch.inf, -torch.inf, torch.nan])])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_of_one_number(dtype: torch.dtype) -> None:
    def every(x: Tensor) -> Tensor:
        return torch.stack([function(x).to(x.dtype) for function in UNARY])

    _check(every, [_numbers()], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_functions_of_several_numbers(dtype: torch.dtype) -> None:
    def every(x: Tensor, y: Tensor) -> Tensor:
        several = [x + y, x - 2.0 * y, torch.sub(x, y, alpha=3), 1.5 - x, x * y, x / y, x**2, x**3, y.abs() ** 0.5]
        several += [2.0**y, x.maximum(y), x.minimum(y), x.clamp(-1.0, 2.0), x.clamp(min=0.5), torch.lerp(x, y, 0.3)]
        several += [
            torch.where(x > y, x, 0.0),
            x.masked_fill(y < 0, 7.0),
            torch.logaddexp(x, y),
            torch.xlogy(y.abs(), 3 + 0 * x),
        ]
        several += [torch.addcmul(x, y, y, value=0.5), torch.addcdiv(x, y, 2.0 + y.abs(), value=0.5)]
        several += [((x > 0) & (y > 0)).to(x.dtype), (x.isnan() | (y == 1.0)).logical_not().to(x.dtype)]
        return torch.stack(several)

    x = _numbers()
    _check(every, [x, x.roll(7).nan_to_num(0.3, 2.0, -2.0)], dtype)


def _reductions(x: Tensor) -> Tensor:
    parts = [x.sum(0), x.sum((0, 1)), x.mean(-1), x.amax(1), x.amin((0, 2)), x.logsumexp(1), x.softmax(-1)]
    parts += [x.log_softmax(0), x.sum(), x.transpose(0, 2).sum(1, keepdim=True), x.exp().sum(2)]
    return torch.cat([part.reshape(-1) for part in parts])


def _views(x: Tensor) -> Tensor:
    y = x.exp() + 1.0  # computed where it is used
    parts = [y.permute(2, 0, 1)[1:, :, ::2], y[0].t(), y.unsqueeze(1).expand(-1, 2, -1, -1), y.reshape(-1, 2).t()]
    parts += [
        y.select(1, 2),
        *y.split([1, 3], 2),
        torch.tril(y[:, :, :3], -1),
        x.diagonal(0, 1, 2),
        y[:, 1:2].squeeze(1),
    ]
    return torch.cat([part.reshape(-1) for part in parts])


def _products(x: Tensor) -> Tensor:
    a, b = x[0], x[1]  # (4, 4)
    parts = [a @ b, a.mT @ b, a @ b.mT, a.mT @ b.mT, a[:, :1] @ b[:1], a @ b[0], a.mT @ b[:, 1], (a[0] * b[1]).sum()]
    parts += [torch.addmm(a[0], a, b.exp()), torch.mv(x[2][:, 1:], b[0, 1:])]
    return torch.cat([part.reshape(-1) for part in parts])


def _gradients(x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        parts = [leaf.log_softmax(1)[:, 0].sum(), (leaf.softmax(-1) * leaf[0]).sum(), F.softplus(leaf[1]).sum()]
        parts += [
            F.logsigmoid(leaf).sum(),
            leaf[:, 1:].tanh().square().sum(),
            leaf.sigmoid().mean(),
            (leaf[0] @ leaf[1]).sum(),
        ]
        return torch.autograd.grad(sum(parts), leaf)[0]


def _extremes(x: Tensor) -> Tensor:
    y = x.clone()
    y[0, 1, 1] = torch.nan
    parts = [*(part for values in (y.max(-1), x.min(0), x.max(1, keepdim=True)) for part in values)]
    parts += [x.max(), y.min(), x.max(2)[1], (x > 0).all(1), (x > 1).any(), (x > -9).all()]
    parts += [x.flip(0)[1:, 2:], x.flip(2)[:, ::2, 1:].exp()[1:, 1:], (x + 1.0)[1:, ::3][:, 1:, 2:]]
    parts += [x.cumsum(1), x.cumprod(-1), x.flip(0, 2), torch.triu(x[0], 1), torch.eye(3, 5).to(x)]
    return torch.cat([part.reshape(-1).to(x.dtype) for part in parts])


def _places(x: Tensor) -> Tensor:
    rows, columns = torch.tensor([0, 2, -1, 0]), torch.tensor([[1], [3]])
    parts = [x[rows], x[:, rows], x[rows, 1], x[rows[:2], :, columns], x[:, torch.tensor([True, False, True, True])]]
    parts += [x.index_select(1, rows.abs()), x[:, 0, :2].gather(1, (x[:, 0, :2] > 0).long())]
    return torch.cat([part.reshape(-1) for part in parts])


def _written(x: Tensor) -> Tensor:
    y, z = torch.zeros_like(x), x.exp()
    y[..., 0] = x[..., 0]
    y[..., 1:] = z[..., :-1] - y[..., :1]
    early = y.sum()
    y[1] = 2.0 * y[0]
    y[:, 2].mul_(3.0)
    put = torch.zeros(5, 4).to(x).index_put((torch.tensor([1, 1, 4]),), x[:, 0], accumulate=True)
    hot = torch.zeros(3, 4).to(x).scatter(1, torch.tensor([[3], [0], [1]]), 1.0)
    added = torch.zeros(3, 4).to(x).scatter_add(1, torch.tensor([[3, 3], [0, 1], [1, 2]]), x[:, 1, :2])
    parts = [y, early, put, hot, added, torch.diag_embed(x[0]), F.pad(x, (1, 2, 0, 1)), F.pad(x, (-1, 1), value=3.0)]
    return torch.cat([part.reshape(-1) for part in parts])


def _systems(x: Tensor) -> Tensor:
    a = x @ x.mT + torch.eye(4).to(x)
    lower = torch.linalg.cholesky(a)
    parts = [lower, torch.linalg.cholesky(a[0], upper=True), torch.linalg.cholesky_ex(-a)[1].to(x)]
    for upper in (False, True):
        for left in (False, True):
            factor = lower.mT if upper else lower
            parts += [torch.linalg.solve_triangular(factor, x, upper=upper, left=left)]
            one = x[0, :, :1] if left else x[0, :1]
            parts += [torch.linalg.solve_triangular(factor[0], one, upper=upper, left=left)]
    return torch.cat([part.reshape(-1) for part in parts])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "function", [_reductions, _views, _products, _gradients, _extremes, _places, _written, _systems]
)
def test_what_reads_other_places(function: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    _check(function, [torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))], dtype)


def test_a_function_of_folded_constants() -> None:
    _check(lambda x: x + F.logsigmoid(torch.full((4,), 0.5, dtype=x.dtype).exp()), [torch.ones(4)], torch.float64)


def _step(w: Tensor, mean: Tensor, x: Tensor, noise: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gradient = x.mT @ torch.tanh(x @ w - 1.0) + noise[0]
    new = 0.9 * mean + gradient
    return w - rate * mean, new + 0.0 * w, torch.stack([gradient.square().sum(), w.sum()])


def test_a_block_is_its_steps_however_it_is_cut() -> None:
    generator = torch.Generator().manual_seed(0)
    w, mean, x, noise = (torch.randn(shape, generator=generator) for shape in ((5,), (5,), (20, 5), (7, 1, 5)))
    rates = torch.linspace(1e-3, 1e-2, 7)
    steps = _steps(_step, [w, mean, x, noise[0], rates[0]], state=2, rows=2)
    whole, parts = [w.clone(), mean.clone()], [w.clone(), mean.clone()]
    bounds = steps([*whole, x, noise, rates], 7)
    cut = [steps([*parts, x, noise[i:j], rates[i:j]], j - i) for i, j in ((0, 2), (2, 3), (3, 7))]
    assert torch.equal(bounds, torch.cat(cut)) and all(map(torch.equal, whole, parts))
    for i in range(7):
        w, mean, bound = _step(w, mean, x, noise[i], rates[i])
        torch.testing.assert_close(bounds[i], bound, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(whole, [w, mean], rtol=1e-4, atol=1e-4)


def test_what_is_beyond_it_is_left_to_others() -> None:
    square = torch.eye(3)
    for function in (torch.linalg.eigvalsh, torch.randn_like, torch.fft.fft):
        graph = trace(lambda x, function=function: (function(x),), [square])
        assert compile_with_c(graph, [square], 0, 0) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_products_are_a_librarys(dtype: torch.dtype) -> None:
    def every(x: Tensor) -> Tensor:
        a, b = x[:70, :90], x[:90, 10:75]
        parts = [
            a @ b,
            x.mT[:90, :70].mT @ x[10:75, :90].mT,
            a.exp() @ b,
            torch.stack([a, a + 1]) @ torch.stack([b, b]),
        ]
        return torch.cat([part.reshape(-1) for part in (*parts, x.mT @ x[:, 0], torch.addmm(b[0], a, b))])

    x = torch.randn(100, 100, generator=torch.Generator().manual_seed(0), dtype=dtype)
    found = _steps(lambda x: (every(x),), [x])([x], 1)[0]
    tolerance = 1e-11 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(found, every(x), rtol=tolerance, atol=tolerance)


def test_the_numbers_are_those_of_one_thread() -> None:
    def heavy(x: Tensor) -> Tensor:
        y = (x.exp() - x.tanh()).log1p()
        return torch.cat([y.sum(0), y.softmax(1).sum(1), (y * y.mT[: len(y), :1]).reshape(-1)])

    x, before = torch.randn(300, 301, generator=torch.Generator().manual_seed(0)), torch.get_num_threads()
    steps = _steps(lambda x: (heavy(x),), [x])
    try:
        found = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(steps([x], 1))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    torch.testing.assert_close(found[0][0], heavy(x), rtol=1e-4, atol=1e-4)


def test_memory_is_used_again() -> None:
    def long(x: Tensor) -> Tensor:
        for _ in range(50):
            x = x - x.mean(0)  # kept, for it is read twice
        return x

    x = torch.randn(1000, 10)
    steps = _steps(lambda x: (long(x),), [x])
    torch.testing.assert_close(steps([x], 1)[0], long(x), rtol=1e-4, atol=1e-5)
    assert steps._space.numel() < 4 * x.numel() * x.element_size()


def test_fits_of_one_model_are_compiled_once(data: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run = library.subprocess.run
    monkeypatch.setattr(library.subprocess, "run", lambda *args, **kwargs: runs.append(args) or run(*args, **kwargs))
    method = SVI(Trace_ELBO(), guide="normal", steps=30, lr=0.0123, compile="c", device="cpu")
    one = method.fit(model, data, seed=1)
    made = len(runs)
    other = method.fit(model, {"x": data["x"] + 1.0, "y": 1.0 - data["y"]}, seed=2)
    assert len(runs) == made
    plain = SVI(Trace_ELBO(), guide="normal", steps=30, lr=0.0123, compile=False, device="cpu").fit(
        model, {"x": data["x"] + 1.0, "y": 1.0 - data["y"]}, seed=2
    )
    for eager, compiled in zip(plain.guide.parameters(), other.guide.parameters(), strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-8, atol=1e-10)
    assert not any(map(torch.equal, one.guide.parameters(), other.guide.parameters()))


def test_a_place_outside_is_no_number() -> None:
    x = torch.arange(4.0)
    steps = _steps(lambda x, i: (x[i],), [x, torch.tensor([1, 2])])
    found = steps([x, torch.tensor([-4, 4])], 1)[0]
    assert found[0] == 0.0 and found[1].isnan()


def model(x: Tensor, y: Tensor) -> None:
    """A logistic regression."""
    w = pyro.sample("w", dist.Normal(torch.zeros(x.shape[1]), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


@pytest.fixture
def data(float64: torch.dtype) -> dict[str, Tensor]:
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    return {"x": x, "y": (x.sum(1) > 0).to(float64)}


@pytest.mark.parametrize("options", [{}, {"batch_size": 16, "clip_norm": 1.0, "average": 0.9}])
def test_fits_equal_eager_ones(data: dict[str, Tensor], options: dict[str, Any]) -> None:
    fits = [
        SVI(Trace_ELBO(), guide="normal", steps=60, lr=0.03, log_every=20, compile=mode, device="cpu", **options).fit(
            model, data
        )
        for mode in (False, "c")
    ]
    assert fits[1].info["compile"] == "c"
    for eager, compiled in zip(fits[0].guide.parameters(), fits[1].guide.parameters(), strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-8, atol=1e-10)


def test_an_interrupted_fit_goes_on_to_the_same_bits(data: dict[str, Tensor], tmp_path: Path) -> None:
    method = SVI(Trace_ELBO(), guide="normal", steps=1_000, log_every=50, device="cpu")

    def stop(progress: Any) -> None:
        if progress.step == 350:
            raise KeyboardInterrupt

    assert method.fit(model, data, checkpoint=tmp_path, callbacks=[stop]).status == "interrupted"
    resumed, whole = method.fit(model, data, checkpoint=tmp_path), method.fit(model, data)
    assert resumed.info["compile"] == whole.info["compile"] == "c"
    assert all(map(torch.equal, resumed.guide.parameters(), whole.guide.parameters()))


def test_asking_for_what_cannot_be_says_so(data: dict[str, Tensor]) -> None:
    def heavy(x: Tensor, y: Tensor) -> None:
        scale = torch.linalg.eigvalsh(torch.eye(4) * (1.0 + pyro.sample("s", dist.Normal(0.0, 1.0)) ** 2))
        pyro.factor("f", -scale.sum())

    with pytest.raises(ConfigurationError, match="cannot be written in C"):
        SVI(Trace_ELBO(), guide="normal", steps=5, compile="c", device="cpu").fit(heavy, data)


@pytest.mark.slow
def test_a_ragged_first_batch_leaves_the_full_size_compiled(data: dict[str, Tensor]) -> None:
    """24 data in batches of 16: step 0 is full, step 1, at which steps are compiled, is ragged."""
    few = {name: value[:24] for name, value in data.items()}
    fits = [
        SVI(Trace_ELBO(), guide="normal", steps=21, batch_size=16, log_every=7, compile=mode, device="cpu").fit(
            model, few
        )
        for mode in (False, "c", "inductor")
    ]
    for fit in fits[1:]:
        for eager, compiled in zip(fits[0].guide.parameters(), fit.guide.parameters(), strict=True):
            torch.testing.assert_close(compiled, eager, rtol=1e-8, atol=1e-10)

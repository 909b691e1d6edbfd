"""Programs with custom autograd functions are vectorised over particles, whatever these functions say of vmap."""

from __future__ import annotations

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.autograd import Function

from jensen.inference.pair.program import Program
from jensen.inference.pair.terms import evaluate

X = torch.tensor([[0.3, -1.0], [0.7, 0.2], [1.5, 0.4]], dtype=torch.float64)


class Old(Function):
    """``exp(x) y``, as functions were written before there was a `setup_context`."""

    @staticmethod
    def forward(ctx, x, y, power):
        value = x.exp() * y**power
        ctx.save_for_backward(x, y)
        ctx.power = power
        return value

    @staticmethod
    def backward(ctx, gradient):
        x, y = ctx.saved_tensors
        value = x.exp() * y**ctx.power
        return gradient * value, (gradient * value * ctx.power / y).sum_to_size(y.shape), None


class WithContext(Function):
    @staticmethod
    def forward(x, y, power):
        return x.exp() * y**power

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, y, ctx.power = inputs
        ctx.save_for_backward(x, y)

    backward = Old.backward


class OfNumpy(WithContext):
    @staticmethod
    def forward(x, y, power):
        return torch.as_tensor(np.exp(x.detach().numpy()) * y.detach().numpy() ** power)


class Generated(WithContext):
    generate_vmap_rule = True


class Two(Function):
    """Several results, one without a gradient."""

    @staticmethod
    def forward(ctx, x, y, power):
        ctx.save_for_backward(x, y)
        sign = x.sign()
        ctx.mark_non_differentiable(sign)
        return x.exp() * y**power, sign

    @staticmethod
    def backward(ctx, gradient, _):
        x, y = ctx.saved_tensors
        value = x.exp() * y
        return gradient * value, (gradient * value / y).sum_to_size(y.shape), None


class Drawing(Function):
    @staticmethod
    def forward(ctx, x, y, power):
        return x + torch.randn(())

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None, None


def program_of(function):
    scale = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def call(x, y):
        out = function.apply(x, y, 1)
        return out[0] + 0.1 * out[1] if isinstance(out, tuple) else out

    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        fixed = call(torch.ones(2), torch.ones(2))  # of nothing that particles differ in
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(call(z, scale) + fixed, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    program = Program(model, guide, isolated=False)
    program.structure({"x": X})
    return program, scale


def values_and_gradients(program, scale, looped):
    program.loop_over_particles = looped
    z = torch.linspace(-1.0, 1.0, 8, dtype=torch.float64).reshape(4, 2).requires_grad_()
    terms = evaluate(program, {"x": X}, num_particles=4, values={"z": z})
    value = terms.sites["x"].log_p
    return [value, *torch.autograd.grad((value**2).sum(), [z, scale])]


@pytest.mark.parametrize("function", [Old, WithContext, OfNumpy, Generated, Two])
def test_one_call_is_a_loop_and_the_rest_is_vectorised(function, float64) -> None:
    program, scale = program_of(function)
    own_apply = vars(Function)["apply"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = values_and_gradients(program, scale, looped=False)
    assert not program.loop_over_particles and vars(Function)["apply"] is own_apply
    for one, other in zip(together, values_and_gradients(program, scale, looped=True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-12)


def test_a_function_that_draws_goes_one_by_one(float64) -> None:
    program, _ = program_of(Drawing)
    with pytest.warns(UserWarning, match=r"(?s)one by one.*Draw in a sample site.*`Drawing` draws random numbers"):
        evaluate(program, {"x": X}, num_particles=3)
    assert program.loop_over_particles


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_hidden_markov_distributions_of_pyro(kind, float64) -> None:
    """All particles at once; the particles of a loop have the same densities and gradients."""
    data = {"x": torch.randn(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}

    def model(x):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        zero, eye = torch.zeros(2), torch.eye(2)
        with pyro.plate("data", len(x)):
            if kind == "discrete":
                transition = torch.tensor([[0.9, 0.1], [0.0, 1.0]]).log()  # an impossible one: `safe_log` is not `log`
                law = dist.DiscreteHMM(loc.log_softmax(0), transition, dist.Normal(loc, 1.0), duration=x.shape[-1])
                pyro.sample("x", law, obs=x)
            else:
                step, seen = dist.Normal(loc, 1.0).to_event(1), dist.Normal(torch.zeros(1), 1.0).to_event(1)
                start = dist.Normal(zero, 1.0).to_event(1)
                law = dist.GaussianHMM(start, eye, step, torch.ones(2, 1), seen, duration=x.shape[-1])
                pyro.sample("x", law, obs=x.unsqueeze(-1))

    program = Program(model, lambda x: pyro.sample("loc", dist.Normal(torch.zeros(2), 1.0).to_event(1)), isolated=False)
    found = []
    for looped in (False, True):
        program.loop_over_particles = looped
        loc = torch.tensor([[0.1, 0.5], [-1.0, 2.0], [0.0, 0.3]], requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = evaluate(program, data, num_particles=3, values={"loc": loc}).sites["x"].log_p
        assert program.loop_over_particles is looped
        found.append([value, *torch.autograd.grad(value.sum(), loc)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-11)


def shares(z):
    return torch.as_tensor(z.detach().numpy()) + 0.0 * z


def filled(z):
    total = torch.zeros(2)
    return total.add_(z)


@pytest.mark.parametrize(("of", "advice"), [(shares, r"`\.numpy\(\)`"), (filled, r"`torch\.stack`")])
def test_what_only_a_loop_can_run_does_not_stop_a_fit(of, advice, float64) -> None:
    """vmap refuses in words of many kinds; what runs for one particle runs for several."""

    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(of(z), 1.0).to_event(1), obs=x)

    program = Program(model, lambda x: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)))
    z = torch.tensor([[0.1, 0.5], [-1.0, 2.0]])
    with pytest.warns(UserWarning, match=rf"one by one.*{advice}.*Reason: "):
        terms = evaluate(program, {"x": X}, num_particles=2, values={"z": z})
    torch.testing.assert_close(terms.sites["x"].log_p, dist.Normal(z[:, None], 1.0).to_event(1).log_prob(X))


def test_what_stops_one_particle_is_said_as_it_is() -> None:
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        if later:
            raise KeyError("a table of the program's own")

    later = False
    program = Program(model, lambda x: pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)))
    program.structure({"x": X.float()})
    later = True
    with pytest.raises(KeyError, match="a table of the program's own"):
        evaluate(program, {"x": X.float()}, num_particles=2)

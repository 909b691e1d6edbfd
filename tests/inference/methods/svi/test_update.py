"""One update of the parameters: torch's clipping and optimisers, a moving average, one vector or many tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from jensen.inference import SVI, Trace_ELBO
from jensen.inference.step.update import Update, clip_by_global_norm, is_elementwise

OPTIONS: dict[str, Any] = {"steps": 15, "lr": 0.02, "log_every": 5, "device": "cpu"}


@pytest.mark.parametrize("limit", [0.1, 1.0, 100.0])
def test_clipping_is_torch_s(limit: float) -> None:
    gradients = [torch.randn(3, 2), torch.randn(5)]
    parameters = [torch.zeros_like(g).requires_grad_() for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, limit)
    for mine, parameter in zip(clip_by_global_norm(gradients, limit), parameters, strict=True):
        torch.testing.assert_close(mine, parameter.grad)


def test_clipping_bounds_every_step(logistic: Any) -> None:
    """With plain gradient descent no step is longer than ``lr * clip_norm``."""
    where: list[torch.Tensor] = []

    def note(progress: Any) -> None:
        where.append(torch.cat([p.detach().reshape(-1) for p in progress.program.parameters()]).clone())

    svi = SVI(Trace_ELBO(), clip_norm=0.5, optimizer=torch.optim.SGD, compile="trace", **{**OPTIONS, "log_every": 1})
    svi.fit(*logistic, callbacks=[note])
    steps = torch.stack(where).diff(dim=0).norm(dim=1)
    assert (steps <= 0.02 * 0.5 * (1 + 1e-9)).all()
    assert (steps > 0).all()


@pytest.mark.parametrize("mode", [False, "trace"])
def test_the_average_is_the_moving_mean_of_the_parameters(linear: Any, mode: Any) -> None:
    options = {**OPTIONS, "log_every": 1, "compile": mode}
    seen: list[torch.Tensor] = []

    def note(progress: Any) -> None:
        seen.append(progress.program.model_owner.weight.detach().clone())

    SVI(Trace_ELBO(), **options).fit(*linear, callbacks=[note])
    weights = 0.8 ** torch.arange(len(seen) - 1, -1, -1.0)
    expected = torch.einsum("t,tij->ij", weights / weights.sum(), torch.stack(seen))
    fit = SVI(Trace_ELBO(), average=0.8, **options).fit(*linear)
    torch.testing.assert_close(fit.model.weight.detach(), expected)


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Rprop", "Adagrad"])
@pytest.mark.parametrize("mode", [False, "trace"])
def test_one_vector_and_many_tensors_give_the_same_numbers(
    linear: Any, name: str, mode: Any, same: Callable[..., None]
) -> None:
    optimizer = getattr(torch.optim, name)

    def wrapped(parameters: Any, lr: Any) -> torch.optim.Optimizer:
        return optimizer(parameters, lr=lr)

    assert is_elementwise(optimizer) and not is_elementwise(wrapped)
    together, apart = (
        SVI(Trace_ELBO(), optimizer=each, compile=mode, clip_norm=3.0, **OPTIONS).fit(*linear)
        for each in (optimizer, wrapped)
    )
    same(together, apart, rtol=1e-9, atol=1e-12)


def test_a_class_that_only_borrows_a_name_is_not_taken_for_torch_s() -> None:
    class Adam(torch.optim.Adam):
        pass

    assert not is_elementwise(Adam)
    assert not is_elementwise(torch.optim.Adafactor)


def test_groups_of_parameters_are_kept(linear: Any, same: Callable[..., None]) -> None:
    def grouped(parameters: Any, lr: float) -> torch.optim.Optimizer:
        first, *rest = parameters
        return torch.optim.Adam([{"params": [first], "weight_decay": 0.5}, {"params": rest}], lr=lr)

    eager, traced = (
        SVI(Trace_ELBO(), optimizer=grouped, compile=mode, **OPTIONS).fit(*linear) for mode in (False, "trace")
    )
    assert traced.info["compile"] == "trace"
    same(eager, traced, rtol=1e-9, atol=1e-12)


def test_the_state_of_an_optimizer_comes_back_as_it_was() -> None:
    update = Update(torch.optim.NAdam, 0.1, None, None)
    parameters = [torch.zeros(3), torch.ones(2)]
    optimizer = update.optimizer(parameters, 0.1)
    update.step(optimizer, parameters, [torch.ones(3), torch.ones(2)], [])
    state = Update.state_of(optimizer, parameters)
    assert state is not None
    copies = [p.clone() for p in parameters]
    again = update.optimizer(copies, 0.1)
    Update.restore(again, copies, state)
    for name, value in optimizer.state[parameters[1]].items():
        assert torch.equal(value, again.state[copies[1]][name])


class Hooked(torch.optim.Adam):
    """Adam whose steps call what is registered as it is made."""

    calls: ClassVar[list[str]] = []

    def __init__(self, parameters: Any, lr: Any) -> None:
        super().__init__(parameters, lr=lr)
        self.register_step_post_hook(lambda *_: self.calls.append("after"))


def _hooked(parameters: Any, lr: Any) -> torch.optim.Optimizer:
    made = torch.optim.Adam(parameters, lr=lr)
    made.register_step_pre_hook(lambda *_: Hooked.calls.append("before"))
    made.register_step_post_hook(_halve)
    return made


def _halve(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    with torch.no_grad():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.mul_(0.5)


@pytest.mark.parametrize("mode", [False, "trace", "auto"])
@pytest.mark.parametrize("optimizer", [Hooked, _hooked])
def test_hooks_of_an_optimizer_run_at_every_step(linear: Any, mode: Any, optimizer: Any) -> None:
    Hooked.calls = []
    SVI(Trace_ELBO(), optimizer=optimizer, compile=mode, **OPTIONS).fit(*linear)
    assert len(Hooked.calls) == OPTIONS["steps"]


def test_what_a_hook_does_to_the_parameters_is_kept(linear: Any) -> None:
    fit = SVI(Trace_ELBO(), optimizer=_hooked, **OPTIONS).fit(*linear)
    plain = SVI(Trace_ELBO(), **OPTIONS).fit(*linear)
    assert float(fit.model.weight.detach().norm()) < 0.1 * float(plain.model.weight.detach().norm())


def test_hooks_of_all_optimizers_run_at_every_step(linear: Any) -> None:
    calls: list[Any] = []
    handle = register_optimizer_step_post_hook(lambda *_: calls.append(1))
    try:
        SVI(Trace_ELBO(), compile="trace", **OPTIONS).fit(*linear)
    finally:
        handle.remove()
    assert len(calls) == OPTIONS["steps"]

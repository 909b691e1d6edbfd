"""What is compiled is the step of a full batch, also where the first step to be compiled has a ragged one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from jensen.inference import SVI
from jensen.inference.step import engine
from jensen.inference.step.compile.graph import interpreted

WIDTH = 3


def line(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    w = pyro.sample("w", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(x @ w, 1.0), obs=y)


class Compiler:
    """In the place of Inductor: interprets, and notes the batches of what it is given and of what is then run."""

    def __init__(self) -> None:
        self.compiled: list[int] = []
        self.run: list[int] = []

    def __call__(self, module: torch.fx.GraphModule, example: list[torch.Tensor], *_: Any) -> Callable[..., Any]:
        size, step = _batch(example), interpreted(module)
        self.compiled.append(size)

        def runner(*inputs: torch.Tensor) -> Any:
            self.run.append(_batch(inputs))
            assert self.run[-1] == size
            return step(*inputs)

        return runner


def _batch(inputs: Any) -> int:
    """The rows of the one input that is ``(B, WIDTH)``."""
    (size,) = {len(value) for value in inputs if value.dim() == 2 and value.shape[1] == WIDTH and len(value) > 1}
    return int(size)


@pytest.mark.parametrize(("rows", "steps", "full"), [(20, 9, 4), (20, 2, 0), (36, 9, 8)])
def test_the_step_of_a_full_batch_is_compiled(
    monkeypatch: pytest.MonkeyPatch, rows: int, steps: int, full: int
) -> None:
    """Of 20 rows in batches of 12, step 1 is the ragged one; of 36 none is."""
    compiler = Compiler()
    monkeypatch.setattr(engine, "compile_with_inductor", compiler)
    generator = torch.Generator().manual_seed(0)
    data = {"x": torch.randn(rows, WIDTH, generator=generator), "y": torch.randn(rows, generator=generator)}
    options: dict[str, Any] = {"guide": "normal", "start": "prior", "steps": steps, "batch_size": 12, "device": "cpu"}
    fit = SVI(compile="inductor", progress=False, **options).fit(line, data)
    plain = SVI(compile=False, progress=False, **options).fit(line, data)
    assert fit.info["compile"] == "inductor" and compiler.compiled == [12]
    assert len(compiler.run) == full
    for one, other in zip(fit.guide.parameters(), plain.guide.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

"""Matrix products routed to oneDNN give the same values, and only large float32 ones are routed."""

from __future__ import annotations

import pytest
import torch

from jensen.inference.step.compile import onednn_matmul as products
from jensen.inference.step.compile.graph import trace

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


def layer(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A layer and the gradients of its weight and its input."""
    out = torch.addmm(bias, x, weight.t())
    return out, out.t() @ x, out @ weight


def inputs(rows: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, 300), (200, 300), (200,))
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def routed(module: torch.fx.GraphModule) -> int:
    return sum("jensen.product" in str(node.target) for node in module.graph.nodes)


def test_routed_products_have_the_values_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_prefers_onednn", lambda: True)
    given = inputs(128, torch.float32)
    module = trace(layer, given)
    assert routed(module) == 3
    for found, expected in zip(module(*given), layer(*given), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("rows", "dtype"), [(2, torch.float32), (128, torch.float64)])
def test_small_and_double_products_stay(rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_prefers_onednn", lambda: True)
    assert routed(trace(layer, inputs(rows, dtype))) == 0


def test_other_processors_keep_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_prefers_onednn", lambda: False)
    assert routed(trace(layer, inputs(128, torch.float32))) == 0


def test_part_of_a_wider_matrix_is_copied_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_prefers_onednn", lambda: True)
    x, weight, _ = inputs(128, torch.float32)
    left, wide = weight.t().contiguous(), torch.cat([x, x[:72]])
    module = trace(lambda a, b: (a @ b[:, :200],), [left, wide])
    (product,) = [node for node in module.graph.nodes if "jensen.product" in str(node.target)]
    assert product.args[1].target is torch.ops.aten.clone.default
    assert product.args[1].meta["val"].is_contiguous()
    assert torch.allclose(module(left, wide)[0], left @ wide[:, :200], rtol=1e-4, atol=1e-3)

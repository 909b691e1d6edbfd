"""The messenger that makes a mini-batch stand for the whole data set."""

from __future__ import annotations

__all__ = ["DATA_PLATE", "minibatch"]

from typing import Any

from pyro.poutine.messenger import Messenger

from ...errors import ConfigurationError

DATA_PLATE = "data"


class minibatch(Messenger):
    r"""Scale every site in the plate ``"data"`` by ``N / B``, so that a mini-batch estimates the full-data joint.

    .. math:: \log p(\theta) + \frac{N}{B} \sum_{b=1}^{B} \log p(x_b, z_b \mid \theta)
       \quad\text{is unbiased for}\quad \log p(\theta) + \sum_{n=1}^{N} \log p(x_n, z_n \mid \theta).

    `B` is read from the plate itself, so a ragged last batch gets its own factor. Works around any Pyro program and any
    Pyro objective; jensen's own objectives keep the factor apart from the terms, so importance weights stay unscaled.

    Args:
        data_size: `N`, the number of data that the batch is drawn from.
        batch_size: `B`; by default the size of the plate. In a data-parallel run, the size of the *global* batch.

    Raises:
        ConfigurationError: if `data_size` is smaller than the batch.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
        >>> with minibatch(data_size=100):
        ...     trace = pyro.poutine.trace(model).get_trace(torch.zeros(20))
        >>> trace.nodes["x"]["scale"]
        5.0
    """

    def __init__(self, data_size: int, batch_size: int | None = None) -> None:
        super().__init__()
        if data_size < 1:
            raise ConfigurationError(f"`data_size` must be a positive number of data, got {data_size}.")
        self.data_size = data_size
        self.batch_size = batch_size

    def _pyro_sample(self, msg: Any) -> None:
        for frame in msg["cond_indep_stack"]:
            if frame.name == DATA_PLATE:
                batch = self.batch_size or frame.size
                if batch > self.data_size:
                    raise ConfigurationError(
                        f"`data_size` must be at least the batch, got data_size={self.data_size} and a batch of "
                        f"{batch}."
                    )
                factor = self.data_size / batch
                msg["scale"] = msg["scale"] * factor
                msg["minibatch_scale"] = factor
                return

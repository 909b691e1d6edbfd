"""From a guide's name, class or function to a guide for one model."""

from __future__ import annotations

__all__ = ["GUIDES", "build_guide"]

from collections.abc import Callable, Mapping
from typing import Any

from pyro.infer.autoguide import AutoGuide
from pyro.infer.autoguide.initialization import init_to_value
from torch import Tensor, nn

from jensen.inference.errors import ConfigurationError, nearest
from jensen.models import LatentVariableModel
from jensen.models.common.parameter_scope import local_parameters, make_local

from ..pair.latents import Latents, examine_latents
from .auto import prepare_autoguide, visible_program
from .flow import AutoFlow
from .iaf import AutoIAF
from .normal import NormalGuide
from .whitened import AutoLowRankMultivariateNormal, AutoMultivariateNormal

_AUTOGUIDES: dict[str, type[AutoGuide]] = {
    "multivariate_normal": AutoMultivariateNormal,
    "lowrank": AutoLowRankMultivariateNormal,
    "iaf": AutoIAF,
    "flow": AutoFlow,
}

GUIDES: tuple[str, ...] = ("normal", *_AUTOGUIDES)
"""The names that `build_guide` knows."""


def build_guide(spec: Any, model: Callable[..., Any], batch: Mapping[str, Tensor]) -> Callable[..., Any]:
    r"""Build :math:`q_\phi(z)` for a model.

    Args:
        spec: None (the model's own `guide`, else ``"normal"``); one of

            - ``"normal"``: independent normals (`NormalGuide`);
            - ``"multivariate_normal"``: one normal with full covariance;
            - ``"lowrank"``: one normal with low-rank plus diagonal covariance;
            - ``"iaf"``: inverse autoregressive flow;
            - ``"flow"``: neural spline flow (`AutoFlow`);

            a Pyro autoguide class; a module that is a guide; or a function `model -> guide`.
        model: the model, whose parameters the guide may share (the model's own `guide`) but never copies.
        batch: one batch of data; it fixes shapes, dtype and device.

    Returns:
        A module that holds the guide's parameters, can be deep-copied, and leaves Pyro's global store alone; or, for
        the model's own guide, that bound method. Default guides have the attribute `local_latents`: the names of
        latents with one factor a datum, which only full batches can fit.

    Raises:
        ConfigurationError: an unknown name (the nearest is named), or something that is not a guide.
        ModelError: the model has latents that default guides cannot draw.

    Example:
        >>> import torch
        >>> from jensen.models import BayesianLogisticRegression
        >>> model, x = BayesianLogisticRegression(3), torch.randn(10, 3)
        >>> guide = build_guide("normal", model, {"x": x, "y": torch.ones(10)})
        >>> sorted(name for name, _ in guide.named_parameters())
        ['loc_intercept', 'loc_w', 'log_scale_intercept', 'log_scale_w']
    """
    if spec is None:
        own = getattr(model, "guide", None) if isinstance(model, nn.Module) else None
        if callable(own):
            return own
        spec = "normal"
    if isinstance(spec, str):
        return _build_named(spec, model, batch)
    if isinstance(spec, type):
        if not issubclass(spec, (AutoGuide, nn.Module)):
            raise ConfigurationError(_not_a_guide(spec))
        if issubclass(spec, AutoGuide):
            return _build_autoguide(spec, model, batch)
    elif isinstance(spec, nn.Module):
        return _finish(spec, model, batch)
    if not callable(spec):
        raise ConfigurationError(_not_a_guide(spec))
    with local_parameters():
        built = spec(model)
    if not callable(built):
        raise ConfigurationError(
            f"`guide` must be a function of the model that returns a guide, got {built!r} from {spec!r}. To use "
            "a plain guide program, wrap it: `guide=lambda model: program`."
        )
    return _finish(built, model, batch)


def _build_named(name: str, model: Callable[..., Any], batch: Mapping[str, Tensor]) -> nn.Module:
    if name not in GUIDES:
        raise ConfigurationError(f"`guide` must be one of {list(GUIDES)}, got {name!r}.{nearest(name, GUIDES)}")
    if name == "normal":
        return NormalGuide(examine_latents(_program(model), batch))
    return _build_autoguide(_AUTOGUIDES[name], model, batch, centred=True)


def _build_autoguide(
    cls: Callable[..., AutoGuide], model: Callable[..., Any], batch: Mapping[str, Tensor], centred: bool = False
) -> nn.Module:
    """With `centred`, the guide starts at the centres of the priors, not where its class would: at draws' medians."""
    program = _program(model)
    latents = examine_latents(program, batch)
    if not latents.continuous:
        return NormalGuide(latents)
    with local_parameters():
        options = {"init_loc_fn": _centre(latents)} if centred and cls is not AutoIAF else {}  # that has no location
        guide = cls(visible_program(program, latents), **options)
    return prepare_autoguide(guide, program, batch, latents)


def _centre(latents: Latents) -> Callable[..., Any]:
    return init_to_value(values={site.name: site.start for site in latents.continuous})  # type: ignore[no-any-return]


def _finish(guide: Callable[..., Any], model: Callable[..., Any], batch: Mapping[str, Tensor]) -> Callable[..., Any]:
    """Make a guide that the caller built run with local parameters."""
    if isinstance(guide, AutoGuide):
        program = _program(model)
        return prepare_autoguide(guide, program, batch, examine_latents(program, batch))
    if isinstance(guide, nn.Module):
        make_local(guide)
    return guide


def _program(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model as a program of the batch; a `LatentVariableModel` is itself one."""
    if not isinstance(model, (LatentVariableModel, nn.Module)) and not callable(model):
        raise ConfigurationError(f"`model` must be a LatentVariableModel or a Pyro program, got {model!r}.")
    return model


def _not_a_guide(spec: object) -> str:
    return (
        f"`guide` must be one of {list(GUIDES)}, a Pyro autoguide class, a guide module or a function `model -> "
        f"guide`, got {spec!r}."
    )

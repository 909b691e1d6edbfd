"""The base class of every model: a Pyro program held by an `nn.Module` that owns its parameters."""

from __future__ import annotations

__all__ = ["LatentVariableModel"]

import abc
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from pyro.nn.module import pyro_method
from torch import Tensor

from .common.inputs import read_numbers
from .common.masked_arrays import refuse_masked, split_mask
from .common.parameter_scope import evaluating, local_parameters, module_parameters
from .common.sampling import default_device_and_dtype, draw_data
from .common.takes_data import read_inputs
from .common.validation import check_count
from .coordinate_guide import CoordinateGuide


def _program(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make `method` a Pyro program of its module: `PyroSample` and `PyroParam` attributes work when it is called.

    The module's parameters are used where they are, whatever mode the caller is in: two models whose parameters have
    the same names never share them through Pyro's global store.
    """
    inner = pyro_method(method)

    @functools.wraps(method)
    def call(self: LatentVariableModel, *args: Any, **kwargs: Any) -> Any:
        with module_parameters(self):
            return inner(self, *args, **kwargs)

    return call


def _hook(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a hook of fits, which gives it a batch of tensors, be called by hand with data of any kind."""

    @functools.wraps(method)
    def call(self: LatentVariableModel, batch: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        if not all(isinstance(value, Tensor) for value in batch.values()):
            batch = read_inputs(self, batch)
        return method(self, batch, *args, **kwargs)

    return call


def _check(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let `check_data` be called by hand with data of any kind; their number types are left as they are."""

    @functools.wraps(method)
    def call(self: LatentVariableModel, *args: Any, **kwargs: Any) -> Any:
        read = {name: value if value is None else read_numbers(name, value) for name, value in kwargs.items()}
        return method(self, *(value if value is None else read_numbers("x", value) for value in args), **read)

    return call


class _ModelMeta(type(PyroModule), abc.ABCMeta):  # type: ignore[misc]
    """Records the arguments a model was built with, defaults included, so that it can be saved and built again."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        for name, value in (*enumerate(args, 1), *kwargs.items()):
            if not isinstance(value, (Tensor, str)):
                refuse_masked(name if isinstance(name, str) else f"argument {name}", split_mask(value)[1])
        instance = super().__call__(*args, **kwargs)
        bound = inspect.signature(instance.__init__).bind(*args, **kwargs)
        bound.apply_defaults()
        arguments: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(value)
            elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
                arguments[name] = torch.tensor(value)  # which a file can hold
            else:
                arguments[name] = value
        instance.__dict__["init_arguments"] = arguments
        return instance


class LatentVariableModel(PyroModule, abc.ABC, metaclass=_ModelMeta):  # type: ignore[metaclass]
    r"""A generative model :math:`p_\theta(x, z)`, written as a Pyro program for the data it is given.

    Write `__init__` (call `super().__init__()` first) and `model`; an amortised model also writes `guide`:

    - `model(**batch)` is the joint density of one draw, as if the batch were all the data. The data live in the
      vectorised plate named ``"data"`` (first dimension). It names no device or dtype and has no Python control flow
      on tensor values. An argument with default ``None`` is observed if given and drawn if not.
    - `guide(**batch)` is :math:`q_\phi(z \mid x)` over the model's latents. Without one, fits use an autoguide.
    - `check_data(**batch)` may raise a `ValueError` for data the model cannot mean; `initialize(batch, seed)` may set
      parameters from data before the first fit, and `prepare(batch)` what depends on the data of every fit.

    `nn.Parameter`, `nn.Module`, `PyroParam` and `PyroSample` attributes all work. All parameters belong to this
    module, never to Pyro's global store, also when a plain `pyro.infer.SVI` fits it.

    Attributes:
        init_arguments: the constructor's arguments by name, defaults included.
        programs: names of the methods that are Pyro programs; extend it if a subclass adds others.
        row_weight: name of an argument ``(N,)`` that says how often each row counts in a fit, as if the row stood in
            the data that many times; None for once each. The program itself leaves it alone.
        nan_allowed: names of the arguments in which a NaN stands for a missing value.
        unlabelled: names of the arguments of class labels in which -1 stands for a missing one.
        sparse_allowed: names of the arguments that may be given as sparse matrices; they are made dense once, on entry.
        scored_by_loss: whether the model bounds no evidence, and is fitted by its own loss (`HasLoss`) alone.
        fitted: whether the parameters come from a fit: then a further fit goes on from them, and `initialize` is left
            out. To start anew, build a new model. Set it to True by hand on a model whose parameters were set by hand,
            and `EM` and `SVI` start from those.
        learned_factors: those that `CAVI` found, from which a further fit by `CAVI` goes on; None before, and after
            another method has moved the parameters.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> class Mean(LatentVariableModel):
        ...     def model(self, x=None):
        ...         m = pyro.sample("m", dist.Normal(torch.zeros(()), 1.0))
        ...         with pyro.plate("data", 1 if x is None else len(x)):
        ...             return pyro.sample("x", dist.Normal(m, 1.0), obs=x)
        >>> Mean().generate(5, seed=0)["x"].shape
        torch.Size([5])
    """

    programs: ClassVar[tuple[str, ...]] = ("model", "guide")
    row_weight: ClassVar[str | None] = None
    nan_allowed: ClassVar[tuple[str, ...]] = ()
    unlabelled: ClassVar[tuple[str, ...]] = ()
    sparse_allowed: ClassVar[tuple[str, ...]] = ()
    scored_by_loss: ClassVar[bool] = False
    fitted: bool = False
    learned_factors: CoordinateGuide | None = None
    init_arguments: dict[str, Any]

    def __init__(self) -> None:
        with local_parameters():
            super().__init__()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        wrappers = {**dict.fromkeys(cls.programs, _program), **dict.fromkeys(("initialize", "prepare"), _hook)}
        for name, wrap in {**wrappers, "check_data": _check}.items():
            if inspect.isfunction(method := cls.__dict__.get(name)):
                setattr(cls, name, wrap(method))

    @abc.abstractmethod
    def model(self, **batch: Any) -> Any:
        """The joint density as a Pyro program over the given data (declare the arguments by name)."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run `model`."""
        return self.model(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `model`, with the module's hooks."""
        with module_parameters(self):
            return super().__call__(*args, **kwargs)

    # What can be asked of a model's class.

    @property
    def has_guide(self) -> bool:
        """Whether this model brings its own guide."""
        return callable(getattr(type(self), "guide", None))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the model's arguments: the keys of a batch."""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return tuple(name for name, p in inspect.signature(self.model).parameters.items() if p.kind not in kinds)

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the arguments that default to ``None``: observed if given, drawn if not."""
        parameters = inspect.signature(self.model).parameters
        return tuple(n for n in self.arguments if parameters[n].default is None and n != self.row_weight)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the arguments without a default: inputs that must always be given."""
        parameters = inspect.signature(self.model).parameters
        return tuple(name for name in self.arguments if parameters[name].default is inspect.Parameter.empty)

    # Hooks around a fit.

    def keep_factors(self, factors: CoordinateGuide | None) -> None:
        """Set `learned_factors`. The factors are no part of the model: their numbers are not in its `state_dict`."""
        self.__dict__["learned_factors"] = factors

    def check_data(self, **batch: Tensor) -> None:
        """Raise a `ValueError` that names the argument if the model cannot mean these data. Default: accept all."""

    def initialize(self, batch: Mapping[str, Tensor], seed: int) -> None:
        """Set parameters from data before the first fit, which calls this on its own copy. Default: leave them."""

    def prepare(self, batch: Mapping[str, Tensor]) -> None:
        """Take from the data what is no parameter; every fit calls this on its own copy. Default: nothing."""

    # Drawing.

    def generate(self, num: int, *, seed: int | None = None, **inputs: Any) -> dict[str, Tensor]:
        r"""Draw :math:`(z, x) \sim p_\theta(x, z)` for `num` data, in evaluation mode.

        Args:
            num: number of data to draw.
            seed: makes the draw repeatable; the caller's random state is then left as it was.
            inputs: the model's required arguments, each with `num` rows and of any kind that a fit takes; an optional
                one that is given is held.

        Returns:
            Every latent and observed site by name. Sites of the plate ``"data"`` have `num` rows; a global latent is
            drawn once, in its own shape.

        Raises:
            ValueError: `num` is not positive, an input is missing, unknown or not of `num` rows.
        """
        if unknown := [name for name in inputs if name not in self.arguments]:
            raise ValueError(f"`{unknown[0]}` is not an argument of the model; it takes {list(self.arguments)}.")
        check_count("num", num, "data to draw")
        if missing := [name for name in self.required if name not in inputs]:
            raise ValueError(f"`{missing[0]}` must be given to draw from this model: a tensor of {num} rows.")
        with local_parameters(), evaluating(self):
            inputs = read_inputs(self, inputs)
            self._check_num(num, inputs)
            return draw_data(self.model, num, inputs, self.parameters(), seed=seed)

    @staticmethod
    def _check_num(num: int, inputs: Mapping[str, Tensor]) -> None:
        """Raise unless `num` is positive and every input has as many rows."""
        check_count("num", num, "data to draw")
        for name, value in inputs.items():
            if len(value) != num:
                raise ValueError(f"`{name}` must have `num` = {num} rows, got {len(value)}.")

    def render(self, filename: str | None = None, **batch: Any) -> Any:
        """Draw the plate diagram of the model (Pyro's rendering); `batch` gives the model's required arguments.

        Args:
            filename: where to write the picture (the ending is the format); needs Graphviz's `dot` program.

        Returns:
            A `graphviz.Digraph`, which a notebook shows as a picture and whose `.source` is the graph as text.
        """
        if missing := [name for name in self.required if name not in batch]:
            raise ValueError(f"`{missing[0]}` must be given to render this model: a tensor of one or more rows.")
        with local_parameters(), torch.no_grad(), poutine.block():
            batch = read_inputs(self, batch)
            with default_device_and_dtype(batch, self.parameters()):
                return pyro.render_model(self.model, model_kwargs=batch, filename=filename, render_distributions=True)

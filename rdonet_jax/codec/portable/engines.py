"""The engines of portable models by name."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, cast

import numpy as np

from rdonet_jax.codec.portable.engine import Engine
from rdonet_jax.core import defaults
from rdonet_jax.core.config import PortableConfig
from rdonet_jax.models import param_tree
from rdonet_jax.models.zoo import Model

if TYPE_CHECKING:
    from rdonet_jax.codec.portable.numpy_engine import NumpyNetwork

ENGINES = tuple(name for name in defaults.ENGINES if name != defaults.DEFAULT_ENGINE)


_numpy_networks: weakref.WeakKeyDictionary[Model, NumpyNetwork] = weakref.WeakKeyDictionary()
"""Those of the models that are in use."""


def make(name: str, model: Model, qualities: np.ndarray) -> Engine:
    """The engine of this name for a model at qualities on the scale of its configuration.

    They rise: integers [Q].
    """
    if name == "numpy":
        from rdonet_jax.codec.portable.numpy_engine import NumpyEngine

        return NumpyEngine(_numpy_network(model), qualities)
    from rdonet_jax.codec.portable.jax_engine import JaxEngine

    config = cast(PortableConfig, model.config)
    return JaxEngine(config, model.device_params, qualities, model.batches)


def _numpy_network(model: Model) -> NumpyNetwork:
    """The arranged parameters of a model.

    Two threads that ask at once may both arrange them; one result is kept.
    """
    from rdonet_jax.codec.portable.numpy_engine import NumpyNetwork

    found = _numpy_networks.get(model)
    if found is None:
        flat = param_tree.flatten(model.params)
        params = param_tree.unflatten({path: np.asarray(leaf) for path, leaf in flat.items()})
        network = NumpyNetwork(cast(PortableConfig, model.config), params)
        found = _numpy_networks.setdefault(model, network)
    return found

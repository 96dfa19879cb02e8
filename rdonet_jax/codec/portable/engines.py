"""The engines of portable models by name."""

from __future__ import annotations

import numpy as np

from rdonet_jax.codec.portable.engine import Engine
from rdonet_jax.core import defaults
from rdonet_jax.models import param_tree
from rdonet_jax.models.zoo import Model

ENGINES = tuple(name for name in defaults.ENGINES if name != defaults.DEFAULT_ENGINE)


def make(name: str, model: Model, qualities: np.ndarray) -> Engine:
    """The engine of this name for a model at qualities on the scale of its configuration.

    They rise: integers [Q].
    """
    if name == "numpy":
        from rdonet_jax.codec.portable.numpy_engine import NumpyEngine

        flat = param_tree.flatten(model.params)
        params = param_tree.unflatten({path: np.asarray(leaf) for path, leaf in flat.items()})
        return NumpyEngine(model.config, params, qualities)
    from rdonet_jax.codec.portable.jax_engine import JaxEngine

    return JaxEngine(model.config, model.device_params, qualities, model.batches)

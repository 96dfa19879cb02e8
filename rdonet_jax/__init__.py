"""RDONet in JAX: a learned image codec with true rate-distortion optimization.

`docs/api.md` has examples. Importing this package loads no JAX: every public name is imported when
it is first used.
"""

from __future__ import annotations

from rdonet_jax.core import lazy

# Not that of `typing`, whose import takes longer than all else here: until the command has handlers
# for signals, Ctrl-C gives a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from rdonet_jax import codec, evaluation, metrics, models, rdo, training
    from rdonet_jax.api import compress, decompress, decompress_image, register_model
    from rdonet_jax.core.version import __version__
    from rdonet_jax.models.zoo import list_models
    from rdonet_jax.models.zoo import load as load_model
    from rdonet_jax.rdo.encode_options import Target
else:
    __getattr__, __dir__ = lazy.exports(
        __name__,
        {
            "Target": "rdonet_jax.rdo.encode_options:Target",
            "__version__": "rdonet_jax.core.version:__version__",
            "codec": "rdonet_jax.codec",
            "evaluation": "rdonet_jax.evaluation",
            "metrics": "rdonet_jax.metrics",
            "models": "rdonet_jax.models",
            "rdo": "rdonet_jax.rdo",
            "training": "rdonet_jax.training",
            "compress": "rdonet_jax.api:compress",
            "decompress": "rdonet_jax.api:decompress",
            "decompress_image": "rdonet_jax.api:decompress_image",
            "list_models": "rdonet_jax.models.zoo:list_models",
            "load_model": "rdonet_jax.models.zoo:load",
            "register_model": "rdonet_jax.api:register_model",
        },
    )

__all__ = [
    "Target",
    "__version__",
    "codec",
    "compress",
    "decompress",
    "decompress_image",
    "evaluation",
    "list_models",
    "load_model",
    "metrics",
    "models",
    "rdo",
    "register_model",
    "training",
]

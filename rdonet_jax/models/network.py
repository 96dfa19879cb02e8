"""A network of any family as a differentiable function of images.

`forward` computes a reconstruction and its rate in one call, as training and estimates do. It can
be transformed by `jax.jit`, `jax.vmap` and `jax.grad`, with respect to images and parameters.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax.core import partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.core.partition import Partition
from rdonet_jax.metrics import distortion
from rdonet_jax.models import registry, zoo
from rdonet_jax.runtime import compilation


class HasParameters(Protocol):
    """A `Network`, or a `Model` of a weights file."""

    @property
    def config(self) -> AnyConfig: ...

    @property
    def params(self) -> Any: ...


@flax.struct.dataclass
class Network:
    """A configuration with parameters: a pytree whose leaves are the parameters.

    It may be an argument of functions under `jax.jit`. `jax.grad` with respect to it gives the
    gradients as another `Network`.
    """

    params: Any
    config: AnyConfig = flax.struct.field(pytree_node=False)

    @property
    def module(self) -> nn.Module:
        """The Flax module, for its methods: `network.module.apply({"params": params}, ...)`."""
        return registry.family_of(self.config).network(self.config)


class Output(NamedTuple):
    """The result of `forward`. It has an axis B if x has one; tuples are indexed by level.

    H, W are the height and width of the image. h, w are those of the grid of a level: 4, 2 or 1
    times the rows and columns of 64x64 blocks that cover the image.
    """

    x_hat: jax.Array  # float32 [B, H, W, 3], not clipped
    bpp: jax.Array  # float32 [B], bits per pixel of the image
    masks: tuple[jax.Array, ...]  # bool [B, h, w], where the level is coded
    y_bits: tuple[jax.Array, ...]  # float32 [B, h, w], bits of y per position
    z_bits: tuple[jax.Array, ...]  # float32 [B, ceil(h/4), ceil(w/4)], bits of z per position

    def bits_by_area(self) -> jax.Array:
        """The bits that every 16x16 pixels cost, float32 [B, h, w] of level 0."""
        return partition.bits_by_area(self.masks, self.y_bits, self.z_bits)


class Latents(NamedTuple):
    """The latents of a level. They have an axis B if x has one; h, w as in `Output`.

    For portable models y is not in steps of the quantizer yet: times 2 to the power of the gains,
    it is. z is in steps.
    """

    y: jax.Array  # float32 [B, h, w, C]
    z: jax.Array  # float32 [B, ceil(h/4), ceil(w/4), C], the hyper-latents


def build(config: AnyConfig, params: Any) -> Network:
    """The network of a configuration with the parameters of `init_params` or of a `Model`.

    Raises `ConfigError` for a configuration of no registered family.
    """
    registry.family_of(config)
    return Network(params, config)


def forward(
    model: HasParameters,
    x: jax.Array | np.ndarray,
    masks: tuple[jax.Array | np.ndarray, ...] | Partition | None = None,
    quality: float | jax.Array | np.ndarray | None = None,
    key: jax.Array | None = None,
) -> Output:
    """Reconstructs images and estimates their bits, without a range coder.

    Args:
      model: a `Network`, or a `Model` as `load_model` returns it. Under `jax.jit`, a `Network` may
        be an argument; a `Model` may not, as it holds more than arrays.
      x: images [B, H, W, 3], or one image [H, W, 3], floating-point in [0, 1]. H and W are any;
        the network sees the image padded to multiples of 64.
      masks: where each level is coded, bool [B, h, w] by level, as `partition.level_masks` returns
        them, or a `Partition`. None: the variance masks with the model's thresholds.
      quality: 0 to 100 for a variable-rate model, one number or [B]; None for a fixed-rate one.
        Values that JAX traces are not checked.
      key: None rounds the latents, as the codec does. The rate is then that of the symbols, and
        gradients pass straight through the rounding. With a key, the rate is that of latents with
        uniform noise, as in training (Ballé et al. 2017, https://arxiv.org/abs/1611.01704), while
        the synthesis sees rounded ones.

    It can be differentiated in reverse mode, with respect to images and parameters. The quality is
    rounded to a step of the model, so the derivative with respect to it is 0.

    Raises ValueError for arrays of other shapes or types, for a quality outside of 0 to 100 or for
    a fixed-rate model, and for a variable-rate model without a quality.
    """
    batch = _batch_of(model, x, masks, quality)
    keys = None if key is None else jax.random.split(key, batch[0].shape[0])
    output = _forward(model.config, _params_of(model), *batch, keys)
    return output if x.ndim == 4 else _only(output)


def compute_latents(
    model: HasParameters,
    x: jax.Array | np.ndarray,
    masks: tuple[jax.Array | np.ndarray, ...] | Partition | None = None,
    quality: float | jax.Array | np.ndarray | None = None,
) -> tuple[Latents, ...]:
    """The latents of images before they are rounded, by level.

    A level's latents depend on those of the coarser levels, which are coded where the masks say.
    Arguments and errors are those of `forward`. ValueError also for a baseline.
    """
    found = _latents(model.config, _params_of(model), *_batch_of(model, x, masks, quality))
    return found if x.ndim == 4 else _only(found)


def _params_of(model: HasParameters) -> Any:
    return model.device_params if isinstance(model, zoo.Model) else model.params


def _only(batch: Any) -> Any:
    """A batch of one without its axis."""
    return jax.tree_util.tree_map(lambda leaf: leaf[0], batch)


def _batch_of(
    model: HasParameters,
    x: jax.Array | np.ndarray,
    masks: tuple[jax.Array | np.ndarray, ...] | Partition | None,
    quality: Any,
) -> tuple[Any, Any, Any]:
    """Images, masks and qualities in steps with an axis B. Raises as `forward` does."""
    if x.ndim not in (3, 4) or x.shape[-1] != 3 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            "x is an image [H, W, 3] or images [B, H, W, 3] of floating-point numbers in [0, 1], "
            f"not {x.dtype} {list(x.shape)}"
        )
    batched = x if x.ndim == 4 else x[None]
    if isinstance(masks, Partition):
        masks = partition.level_masks(masks)
    if masks is not None:
        masks = _check_masks(masks, x.shape[:-3], batched.shape)
    return batched, masks, _quality_steps(model.config, quality, batched.shape[0])


@functools.partial(compilation.jit, static_argnums=0)
def _forward(
    config: AnyConfig,
    params: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...] | None,
    quality: jax.Array | None,
    keys: jax.Array | None,
) -> Output:
    """`forward` for a batch; quality int32 [B] in steps, keys [B]."""
    height, width = x.shape[1:3]
    padded, masks, sizes = _padded(config, x, masks, quality)
    coded = registry.code(config, params, padded, masks, quality, keys, sizes=sizes)
    bpp = distortion.bpp((coded.y_bits, coded.z_bits), height * width)
    return Output(coded.x_hat[:, :height, :width], bpp, masks, coded.y_bits, coded.z_bits)


@functools.partial(compilation.jit, static_argnums=0)
def _latents(
    config: AnyConfig,
    params: Any,
    x: jax.Array,
    masks: tuple[jax.Array, ...] | None,
    quality: jax.Array | None,
) -> tuple[Latents, ...]:
    """`compute_latents` for a batch; quality int32 [B] in steps."""
    padded, masks, sizes = _padded(config, x, masks, quality)
    arguments = () if quality is None else (quality, sizes)
    _, kept = (
        registry.family_of(config)
        .network(config)
        .apply(
            {"params": params},
            padded,
            masks,
            None,
            *arguments,
            method="code",
            # Flax keeps what each call of this method returns, from the coarsest level on.
            capture_intermediates=lambda module, method: method == "latent",
            mutable=["intermediates"],
        )
    )
    found = kept.get("intermediates", {}).get("latent")
    if found is None:
        raise ValueError("networks of this family have no latents by level")
    return tuple(Latents(*level) for level in reversed(found))


def _padded(
    config: AnyConfig,
    x: jax.Array,
    masks: tuple[jax.Array, ...] | None,
    quality: jax.Array | None,
) -> tuple[jax.Array, tuple[jax.Array, ...], jax.Array | None]:
    """Images in whole blocks, masks within the images, and rows and columns if any are padded."""
    batch, height, width, _ = x.shape
    bottom, right = -height % partition.BLOCK, -width % partition.BLOCK
    padded = jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
    if masks is None:
        masks = partition.level_masks(registry.variance_partition(config, padded, quality))
    inside = partition.inside_masks(height, width)
    masks = tuple(jnp.asarray(mask) & within for mask, within in zip(masks, inside, strict=True))
    sizes = jnp.full((batch, 2), jnp.array([height, width])) if bottom or right else None
    return padded, masks, sizes


def _check_masks(
    masks: tuple[jax.Array | np.ndarray, ...], batch: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[jax.Array, ...]:
    """The masks with a batch axis. Raises ValueError unless they fit images of this shape."""
    rows, cols = partition.block_grid(*shape[1:3])
    expected = [
        (*batch, rows * partition.BLOCK // stride, cols * partition.BLOCK // stride)
        for stride in partition.STRIDES
    ]
    if [mask.shape for mask in masks] != expected or any(mask.dtype != bool for mask in masks):
        raise ValueError(f"masks are arrays of bool of the shapes {expected} for these images")
    return tuple(jnp.asarray(mask).reshape(shape[0], *mask.shape[-2:]) for mask in masks)


def _quality_steps(config: AnyConfig, quality: Any, batch: int) -> jax.Array | None:
    """The quality of each image as an integer on the model's scale, [B]; None for a fixed rate."""
    if not registry.family_of(config).variable_rate:
        if quality is not None:
            raise ValueError("the model was trained for one quality: it takes none")
        return None
    if quality is None:
        raise ValueError("a variable-rate model needs a quality from 0 to 100")
    traced = isinstance(quality, jax.core.Tracer)
    values = quality if traced else np.asarray(quality, np.float64)
    if values.shape not in ((), (batch,)):
        raise ValueError(f"quality is one number or [{batch}], not {list(values.shape)}")
    if not traced and not np.all((values >= 0) & (values <= 100)):
        raise ValueError(f"a quality is a number from 0 to 100, not {quality}")
    array = jnp if traced else np
    steps = array.round(values / 100 * config.steps_of_quality).astype(np.int32)
    return jnp.broadcast_to(steps, (batch,))

"""The walk of a portable model with a range coder in hand.

Encoder and decoder run the same function, level by level and plane by plane; they differ in where a
run's symbols come from, an `Exchange`. The tables of a run follow from integers that were exchanged
before, by exact arithmetic: the file decodes to the same symbols on every device. Only `synthesise`
and what leads to it are floats, and a pixel may differ by a grey level for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rdonet_jax import exact, objective, partition, walk
from rdonet_jax.coder import Run
from rdonet_jax.config import PortableConfig
from rdonet_jax.models import exact_prior, portable
from rdonet_jax.models.exact_prior import Conditions, Place
from rdonet_jax.models.portable import State

Exchange = Callable[[np.ndarray, Callable[[], np.ndarray]], np.ndarray]
"""(table indices of a run [N], what an encoder would send) -> the run's symbols, int32 [N].

An encoder calls the second argument and sends what it gives; a decoder reads the symbols.
"""

Planes = dict[Place, jax.Array]


class Wanted(NamedTuple):
    """What the encoder wants of a level; on the device."""

    y: Planes  # in steps, [1, h/2, w/2, L]
    z: jax.Array  # in steps, [1, ·, ·, ·]


@functools.partial(jax.jit, static_argnums=0)
def analyse(config: PortableConfig, params: Any, pixels: jax.Array) -> tuple[jax.Array, ...]:
    """Padded pixels uint8 or uint16 [1, H, W, 3] -> encoder features by level."""
    x = objective.from_integers(pixels)
    return _apply(config, params, x, method="analyse")


@functools.partial(jax.jit, static_argnums=(0, 1))
def propose(
    config: PortableConfig,
    level: int,
    params: Any,
    e: jax.Array,
    d: jax.Array,
    quality: jax.Array,
) -> Wanted:
    """Latents and hyper-latents of a level, not yet rounded; encoder only."""
    y, z = _apply(config, params, level, e, d, quality, method="latent")
    gains = _apply(config, params, level, quality, method="gains")
    return Wanted(exact_prior.planes_of(y * exact.powers(gains)[:, None, None]), z)


@functools.partial(jax.jit, static_argnums=(0, 1))
def z_prior(config: PortableConfig, level: int, params: Any, quality: jax.Array) -> jax.Array:
    """The scale indices of the channels of z, int32 [·]."""
    index = _apply(config, params, level, quality, method="z_prior")
    return index[0].astype(jnp.int32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def conditions(
    config: PortableConfig,
    level: int,
    params: Any,
    z_hat: jax.Array,
    coarser: jax.Array | None,
    quality: jax.Array,
    d: jax.Array,
) -> Conditions:
    """What the prior of y knows before the first plane; of d, only its shape counts."""
    state = State(d, coarser)
    return _apply(config, params, level, z_hat, state, quality, method="conditions")


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def predict(
    config: PortableConfig,
    level: int,
    place: Place,
    params: Any,
    known: Conditions,
    planes: Planes,
) -> tuple[jax.Array, jax.Array]:
    """mu in 1/16 step and the table index int32 of a plane, [1, h/2, w/2, L]."""
    mu, index = _apply(config, params, level, place, known, planes, method="predict")
    return mu, index.astype(jnp.int32)


@jax.jit
def quantise(wanted: jax.Array, mu: jax.Array) -> jax.Array:
    """The symbols round(y - mu), as float32 integers; encoder only."""
    return jnp.round(wanted - mu / exact_prior.GRID)


@functools.partial(jax.jit, static_argnums=(0, 1))
def embed(
    config: PortableConfig,
    level: int,
    params: Any,
    mu: jax.Array,
    symbols: jax.Array,
    coded: jax.Array,
    gains: jax.Array,
) -> jax.Array:
    """A decoded plane as later predictions see it."""
    v = exact_prior.decoded(mu, symbols.astype(jnp.float32))
    return _apply(config, params, level, v, coded, gains, method="embedding")


@functools.partial(jax.jit, static_argnums=(0, 1))
def advance(
    config: PortableConfig,
    level: int,
    params: Any,
    mus: Planes,
    symbols: Planes,
    coded: Planes,
    embedded: Planes,
    known: Conditions,
    d: jax.Array,
) -> State:
    """The state of the next finer level from symbols int32; `coded` [1, h/2, w/2] says where."""
    grid = d.shape[1:3]
    steps = {
        place: exact_prior.filled(
            mus[place], symbols[place].astype(jnp.float32), coded[place][..., None]
        )
        for place in mus
    }
    y_hat = exact_prior.joined(steps, grid) / exact.powers(known.gains)[:, None, None]
    whole = exact_prior.joined(embedded, grid)
    return _apply(config, params, level, y_hat, d, whole, known, method="merge")


@functools.partial(jax.jit, static_argnums=(0, 1))
def synthesise(config: PortableConfig, deep: bool, params: Any, state: State) -> jax.Array:
    """The state after level 0 -> padded pixels uint8 [1, H, W, 3], or uint16 if `deep`."""
    x_hat = _apply(config, params, state, method="synthesise")
    return objective.to_16_bit(x_hat) if deep else objective.to_8_bit(x_hat)


def jitted_steps() -> tuple[Any, ...]:
    """All compiled functions of this walk, for counting their compilations."""
    return (
        *(analyse, propose, quantise),
        *(z_prior, conditions, predict, embed, advance, synthesise),
    )


def _apply(config: PortableConfig, params: Any, *arguments: Any, method: str) -> Any:
    return portable.network(config).apply({"params": params}, *arguments, method=method)


class Walk(walk.Walk):
    """The walk for one picture: where each level is coded, bool [h, w], and its 64×64 blocks.

    `quality` is on the scale of the configuration, 0 to `steps_of_quality`.
    """

    def __init__(
        self,
        config: PortableConfig,
        params: Any,
        masks: tuple[np.ndarray, ...],
        quality: int,
        grid: tuple[int, int],
    ) -> None:
        super().__init__()
        self.config, self.params, self.masks = config, params, masks
        self.quality = np.array([quality], np.int32)
        self.state = portable.network(config).start(1, grid)

    def analyse(self, pixels: np.ndarray) -> tuple[jax.Array, ...]:
        return analyse(self.config, self.params, pixels)

    def send(self, level: int, e: jax.Array, goes_on: bool) -> list[Run]:
        runs: list[Run] = []

        def exchange(indices: np.ndarray, proposed: Callable[[], np.ndarray]) -> np.ndarray:
            runs.append((proposed(), indices))
            return runs[-1][0]

        self.go(level, exchange, self.wanted(level, e), goes_on)
        return runs

    def receive(self, level: int, take: walk.Take) -> None:
        self.go(level, lambda indices, _: take(indices), None)

    def picture(self, deep: bool = False) -> np.ndarray:
        return np.asarray(synthesise(self.config, deep, self.params, self.state))[0]

    def wanted(self, level: int, e: jax.Array) -> Wanted:
        """Encoder only: what a level is to say, by the encoder's feature."""
        return propose(self.config, level, self.params, e, self.state.d, self.quality)

    def go(
        self, level: int, exchange: Exchange, wanted: Wanted | None, goes_on: bool = True
    ) -> None:
        """Past a level, exchanging its runs: the hyper-latents, then the latents plane by plane.

        `wanted` is None in a decoder. The walk stands before the next level if it `goes_on`.
        Raises `SymbolError` where an encoder wants numbers that cannot be coded.
        """
        runs: list[np.ndarray] = []

        def run(indices: np.ndarray, proposed: Callable[[], np.ndarray]) -> np.ndarray:
            runs.append(exchange(indices, lambda: walk.integers(proposed())))
            return runs[-1]

        config, params = self.config, self.params
        z_hat = self._hyper_latents(level, run, wanted)
        known = conditions(
            config, level, params, z_hat, self.state.coarser, self.quality, self.state.d
        )
        masks = _host_planes(self.masks[level])
        mus: Planes = {}
        embedded: Planes = {}
        decoded: dict[Place, np.ndarray] = {}
        where = {place: mask[None].astype(np.float32) for place, mask in masks.items()}
        for group in exact_prior.STEPS[config.context]:
            before = dict(embedded)
            for place in group:
                mu, index = predict(config, level, place, params, known, before)
                mask = masks[place]

                def proposed(place: Place = place, mu: jax.Array = mu) -> np.ndarray:
                    return np.asarray(quantise(wanted.y[place], mu))[0][masks[place]].ravel()

                symbols = np.zeros(index.shape, np.int32)
                flat = run(np.asarray(index)[0][mask].ravel(), proposed)
                symbols[0, mask] = flat.reshape(-1, index.shape[-1])
                mus[place], decoded[place] = mu, symbols
                embedded[place] = embed(
                    config, level, params, mu, symbols, where[place], known.gains
                )
        self.record(level, runs)
        if goes_on:
            self.state = advance(
                config, level, params, mus, decoded, where, embedded, known, self.state.d
            )

    def _hyper_latents(self, level: int, run: Exchange, wanted: Wanted | None) -> np.ndarray:
        """z_hat [1, ·, ·, ·] as float32 integers, 0 where not coded."""
        coded = np.asarray(partition.hyper_mask(self.masks[level]))
        index = np.asarray(z_prior(self.config, level, self.params, self.quality))

        def proposed() -> np.ndarray:
            return np.round(np.asarray(wanted.z))[0][coded].ravel()

        symbols = run(np.tile(index, np.count_nonzero(coded)), proposed)
        z_hat = np.zeros((1, *coded.shape, len(index)), np.float32)
        z_hat[0, coded] = symbols.reshape(-1, len(index))
        return z_hat


def _host_planes(mask: np.ndarray) -> Mapping[Place, np.ndarray]:
    """A mask bool [h, w], padded to even sides, as its four planes."""
    padded = np.pad(mask, [(0, side % 2) for side in mask.shape])
    return {(dy, dx): padded[dy::2, dx::2] for dy, dx in exact_prior.PLACES}

"""The prior path of a portable model once more, in NumPy's 64-bit integers, position by position.

Written to hold the network's floats against: it shares no code with `rdonet_jax.nn.integer` and
`rdonet_jax.models`. Parameters become integers by rational arithmetic; from there on there are no
floats. A level is kept as one grid of decoded positions, not as four planes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from rdonet_jax.core.config import PortableConfig
from rdonet_jax.entropy import range_coder

SEGMENT = 128
ORDER = {
    1: [[(0, 0), (0, 1), (1, 0), (1, 1)]],
    2: [[(0, 0), (1, 1)], [(0, 1), (1, 0)]],
    4: [[(0, 0)], [(1, 1)], [(0, 1)], [(1, 0)]],
}
"""Parities (of row, of column) of the positions that are decoded in each step."""

SCALE_ENDS = {"laplace": ("0.05", "256"), "gaussian": ("0.11", "256")}

ReadSymbols = Callable[[int, np.ndarray], np.ndarray]
"""(level, table indices of a run [N]) -> the run's symbols [N]."""


class Run(NamedTuple):
    """The hyper-latents of a level, or a group of channels of its latents of one parity."""

    level: int
    indices: np.ndarray  # int64 [N]
    mu: np.ndarray  # int64 [N], in 1/16 of a step
    symbols: np.ndarray  # int64 [N]


def divided(x: Any, bits: int) -> np.ndarray:
    """x / 2**bits, rounded half to even."""
    x = np.asarray(x, np.int64)
    if bits <= 0:
        return x << -bits
    below, rest, half = x >> bits, x & (1 << bits) - 1, 1 << bits - 1
    return below + ((rest > half) | ((rest == half) & (below & 1 == 1)))


def mantissa(n: int) -> int:
    """1024 · 2**(n / 256) to the nearest integer: the 256th root is eight square roots."""
    root = 1 << 256 * 11 + n
    for _ in range(8):
        root = math.isqrt(root)
    return (root + 1) // 2


MANTISSAS = np.array([mantissa(n) for n in range(256)], np.int64)


def times_power(x: Any, exponents: Any, bits: int = 0) -> np.ndarray:
    """x · 2**(exponents / 256) / 2**bits, x first clipped to 13 bits, rounded half to even."""
    x, exponents = np.broadcast_arrays(np.clip(x, -8191, 8191), np.clip(exponents, -3840, 3840))
    octave, place = np.divmod(exponents, 256)
    product = x.astype(np.int64) * MANTISSAS[place]
    shifts = 10 + bits - octave
    result = np.zeros(x.shape, np.int64)
    for shift in np.unique(shifts):
        here = shifts == shift
        result[here] = divided(product[here], int(shift))
    return result


def integers(values: Any, bits: int, largest: int) -> np.ndarray:
    """values · 2**bits, rounded half to even as rational numbers, within ± largest."""
    values = np.asarray(values)
    rounded = [
        min(max(round(Fraction(v) * 2**bits), -largest), largest) for v in values.ravel().tolist()
    ]
    return np.array(rounded, np.int64).reshape(values.shape)


def index_per_octave(distribution: str) -> int:
    """Sixteenths of a table entry per 1/256 octave, in 1/4096."""
    low, high = map(Decimal, SCALE_ENDS[distribution])
    octaves = (high / low).ln() / Decimal(2).ln()
    return int((Decimal(4096 * 16 * 63) / (256 * octaves)).to_integral_value())


def at_quality(knots: np.ndarray, quality: int) -> np.ndarray:
    """Knots [K, C] read at a quality, [C]."""
    knot, rest = divmod(quality, SEGMENT)
    after = knots[min(knot + 1, len(knots) - 1)]
    return divided((SEGMENT - rest) * knots[knot] + rest * after, 7)


def quality_basis(knots: int, quality: int) -> np.ndarray:
    """How near the quality is to each of the knots, [K]; 0 to 127."""
    return np.array([min(max(SEGMENT - abs(quality - SEGMENT * k), 0), 127) for k in range(knots)])


def around(x: np.ndarray, row: int, column: int) -> np.ndarray:
    """The 3×3 neighbors of a position, row by row, zeros outside: [h, w, C] -> [9 C]."""
    found = []
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            inside = 0 <= i < x.shape[0] and 0 <= j < x.shape[1]
            found.append(x[i, j] if inside else np.zeros(x.shape[2], np.int64))
    return np.concatenate(found)


class Layer:
    """A layer of integers: sums of 8-bit inputs by 8-bit weights."""

    def __init__(self, layer: Any, bits: int) -> None:
        self.weights = integers(layer["kernel"], bits, 127)
        self.bias = integers(layer.get("bias", np.zeros(1)), bits + 5, 2**20)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        assert np.abs(x).max(initial=0) <= 127
        return x @ self.weights + self.bias


def activation(sums: np.ndarray, bits: int) -> np.ndarray:
    """8-bit activations, the second half of the channels rectified."""
    x = np.clip(divided(sums, bits), -127, 127)
    half = x.shape[-1] // 2
    return np.concatenate([x[..., :half], np.maximum(x[..., half:], 0)], axis=-1)


def spread(x: np.ndarray) -> np.ndarray:
    """[h, w, 4 C] -> [2 h, 2 w, C]: a position's channels are those of its 2×2 children."""
    height, width, channels = x.shape
    out = np.zeros((2 * height, 2 * width, channels // 4), np.int64)
    for child, part in enumerate(np.split(x, 4, axis=-1)):
        out[child // 2 :: 2, child % 2 :: 2] = part
    return out


class Qualities:
    """The quality at every place of an image, from that of all blocks of 64x64, [rows, columns]."""

    def __init__(self, blocks: np.ndarray, level: int) -> None:
        self.blocks, self.side = blocks.tolist(), 2**level  # positions per block: 4 / side

    def at(self, place: tuple[int, int]) -> int:
        """That of a position."""
        row, column = (i * self.side // 4 for i in place)
        return self.blocks[row][column]

    def of_z(self, place: tuple[int, int]) -> int:
        """That of a hyper-latent: the mean of its blocks."""
        rows = self.blocks[place[0] * self.side : (place[0] + 1) * self.side]
        near = [q for row in rows for q in row[place[1] * self.side : (place[1] + 1) * self.side]]
        return sum(near) // len(near)


class Level:
    """The networks of one level."""

    def __init__(
        self, prior: Any, config: PortableConfig, level: int, qualities: Qualities
    ) -> None:
        self.config, self.qualities = config, qualities
        self.from_z = Layer(prior["from_z"], 7)
        self.from_coarser = Layer(prior["from_coarser"], 8) if "from_coarser" in prior else None
        self.embed = Layer(prior["embed"], 7)
        self.first, self.second = Layer(prior["first"], 8), Layer(prior["second"], 7)
        self.to_mu, self.to_scale = Layer(prior["to_mu"], 9), Layer(prior["to_scale"], 7)
        self.later = [
            [Layer(prior[f"group_{name}_{number}"], bits)
             for name, bits in (("first", 7), ("to_mu", 9), ("to_scale", 7))]
            for number in range(len(config.channel_groups[level]))
        ]  # fmt: skip
        self.seen_channels = config.embedded[level] or config.latents[level]
        self.edges = [0, *config.channel_groups[level], config.latents[level]]
        self.gain_knots = integers(prior["gain"], 8, 3840)
        self.units = integers(prior["unit"], 8, 3840)
        self.z_index_knots = integers(prior["z_index"], 7, 4096)

    def gains(self, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """log2 of steps per unit at places, [N, L]."""
        found = [at_quality(self.gain_knots, self.qualities.at(place)) for place in places]
        return np.array(found, np.int64).reshape(len(places), self.gain_knots.shape[1])

    def z_index(self, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """The table indices of hyper-latents, [N, ·]."""
        found = [at_quality(self.z_index_knots, self.qualities.of_z(place)) for place in places]
        found = np.array(found, np.int64).reshape(len(places), self.z_index_knots.shape[1])
        return np.clip(divided(found, 4), 0, 63)

    def of_z(self, z: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """What z [·, ·, ·] says about every position, [h, w, ·]."""
        seen = np.clip(8 * z, -127, 127)
        rows = [
            [
                np.concatenate(
                    [
                        around(seen, i, j),
                        quality_basis(self.config.knots, self.qualities.of_z((i, j))),
                    ]
                )
                for j in range(z.shape[1])
            ]
            for i in range(z.shape[0])
        ]
        out = activation(spread(spread(self.from_z(np.array(rows)))), 7)
        return out[: grid[0], : grid[1]]

    def of_coarser(self, coarse_context: np.ndarray | None, grid: tuple[int, int]) -> np.ndarray:
        """What the coarser level says about every position, [h, w, ·]; zeros at the coarsest."""
        if self.from_coarser is None:
            return np.zeros((*grid, self.config.conditioning), np.int64)
        return activation(spread(self.from_coarser(coarse_context)), 8)

    def embedded(self, v: np.ndarray, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """Decoded integers [N, L] as later predictions see them, [N, ·]."""
        a = np.clip(times_power(v, -(self.gains(places) + self.units), 4), -127, 127)
        a = a[..., : self.seen_channels]
        sums = self.embed(np.concatenate([a, abs(a)], axis=-1))
        return np.clip(divided(sums, 7), -127, 127)

    def hidden(
        self, seen: np.ndarray, context_features: np.ndarray, places: Sequence[tuple[int, int]]
    ) -> np.ndarray:
        """Hidden features [N, ·] at places, from the embeddings decoded before."""
        if not places:
            return np.zeros((0, 2 * self.config.hidden), np.int64)
        inputs = []
        for row, column in places:
            parity = np.zeros(4, np.int64)
            parity[2 * (row % 2) + column % 2] = 127
            inputs.append(
                np.concatenate(
                    [
                        around(seen, row, column),
                        context_features[row, column],
                        quality_basis(self.config.knots, self.qualities.at((row, column))),
                        parity,
                    ]
                )
            )
        first = activation(self.first(np.array(inputs)), 8)
        return np.concatenate([first, activation(self.second(first), 7)], axis=-1)

    def predicted(
        self,
        group: int,
        hidden: np.ndarray,
        symbols: np.ndarray,
        places: Sequence[tuple[int, int]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """mu and table index [N, ·] of a group of channels, given the symbols before it [N, ·]."""
        mu, index = self.to_mu(hidden), self.to_scale(hidden)
        chosen = slice(self.edges[group], self.edges[group + 1])
        mu, index = mu[:, chosen], index[:, chosen]
        gains = self.gains(places)
        exponents = gains + self.units
        if group:
            first, to_mu, to_scale = self.later[group - 1]
            missed = times_power(
                16 * np.clip(symbols, -1000, 1000), -exponents[:, : symbols.shape[1]], 4
            )
            missed = np.clip(missed, -127, 127)[:, : self.seen_channels]
            inner = activation(first(np.concatenate([hidden, missed, abs(missed)], axis=-1)), 7)
            mu, index = mu + to_mu(inner), index + to_scale(inner)
        mu = times_power(divided(mu, 5), exponents[:, chosen])
        moved = divided(gains[:, chosen] * index_per_octave(self.config.distribution), 12)
        index = divided(divided(index, 5) + moved, 4)
        return np.clip(mu, -8191, 8191), np.clip(index, 0, 63)


def code_levels(
    params: Any,
    config: PortableConfig,
    quality: int | np.ndarray,
    masks: Sequence[np.ndarray],
    read_symbols: ReadSymbols,
) -> list[Run]:
    """All runs of an image in coding order, their symbols given by `read_symbols`.

    `params` are those of the whole model, `masks` bool by level, from the finest to the coarsest.
    `quality` is one number, or that of each block of 64x64, [rows, columns].
    """
    runs = []
    blocks = np.broadcast_to(quality, masks[2].shape)
    coarse_context = None
    for number in (2, 1, 0):
        level = Level(params[f"units_{number}"]["prior"], config, number, Qualities(blocks, number))
        mask = np.asarray(masks[number])
        grid = mask.shape
        channels = level.z_index_knots.shape[1]
        z = np.zeros((-(-grid[0] // 4), -(-grid[1] // 4), channels), np.int64)
        spots = [(i, j) for i, j in np.ndindex(z.shape[:2])
                 if mask[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].any()]  # fmt: skip
        indices = level.z_index(spots).ravel()
        symbols = np.asarray(read_symbols(number, indices), np.int64)
        runs.append(Run(number, indices, np.zeros_like(indices), symbols))
        for spot, values in zip(spots, symbols.reshape(-1, channels), strict=True):
            z[spot] = values

        of_z = level.of_z(z, grid)
        context_features = np.concatenate([of_z, level.of_coarser(coarse_context, grid)], axis=-1)
        seen = np.zeros((*grid, config.embedding), np.int64)
        for step in ORDER[config.context]:
            before = seen.copy()
            for parity in step:
                places = [
                    (i, j)
                    for i in range(parity[0], grid[0], 2)
                    for j in range(parity[1], grid[1], 2)
                    if mask[i, j]
                ]
                hidden = level.hidden(before, context_features, places)
                means, decoded = [], np.zeros((len(places), 0), np.int64)
                for group in range(len(level.edges) - 1):
                    mu, index = level.predicted(group, hidden, decoded, places)
                    symbols = np.asarray(read_symbols(number, index.ravel()), np.int64)
                    runs.append(Run(number, index.ravel(), mu.ravel(), symbols))
                    means.append(mu)
                    decoded = np.concatenate([decoded, symbols.reshape(mu.shape)], axis=1)
                v = np.concatenate(means, axis=1) + 16 * np.clip(decoded, -1000, 1000)
                v = np.clip(v, -8191, 8191)
                for place, value in zip(places, level.embedded(v, places), strict=True):
                    seen[place] = value
        coarse_context = np.array(
            [
                [np.concatenate([around(seen, i, j), of_z[i, j]]) for j in range(grid[1])]
                for i in range(grid[0])
            ]
        )
    return runs


def runs_of_symbols(
    params: Any,
    config: PortableConfig,
    quality: int | np.ndarray,
    masks: Sequence[np.ndarray],
    symbols: dict[int, Sequence[np.ndarray]],
) -> list[Run]:
    """The runs of an image of such symbols, by level in coding order."""
    waiting = {level: iter(runs) for level, runs in symbols.items()}
    return code_levels(params, config, quality, masks, lambda level, _: next(waiting[level]))


def decode_symbols(
    params: Any,
    config: PortableConfig,
    quality: int | np.ndarray,
    masks: Sequence[np.ndarray],
    sections: dict[int, bytes],
    tables: Any,
    coder_name: str = "constriction",
) -> list[Run]:
    """The runs of an image, decoded from the coded data of its levels."""
    readers = {
        level: range_coder.decoder(data, tables, coder_name) for level, data in sections.items()
    }
    return code_levels(
        params, config, quality, masks, lambda level, indices: readers[level](indices)
    )

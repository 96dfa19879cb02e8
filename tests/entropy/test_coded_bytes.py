"""The bytes of the range coders, against docs/format.md and against those of earlier versions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from rdonet_jax.entropy import constriction_coder, range_coder
from tests.entropy.test_range_coder import BINARY, GAUSSIAN, LAPLACE, ODD, laplace_run, runs_of


class ConstrictionDecoder:
    """Coder 1 as docs/format.md states it, on Python integers, one entry at a time."""

    by_table = True

    def __init__(self, data):
        self.words = [
            int.from_bytes(data[i : i + 4].ljust(4, b"\0"), "big") for i in range(0, len(data), 4)
        ]
        self.offset, self.extent = 0, 2**64 - 1
        for _ in range(2):
            self.shift_in()

    def shift_in(self):
        self.offset = self.offset << 32 | (self.words.pop(0) if self.words else 0)

    def entry(self, cdf):
        unit = self.extent >> 24
        found = 0
        while unit * (int(cdf[found + 1]) << 8) <= self.offset:
            found += 1
        self.offset -= unit * (int(cdf[found]) << 8)
        self.extent = unit * (int(cdf[found + 1] - cdf[found]) << 8)
        if self.extent < 2**32:
            self.extent <<= 32
            self.shift_in()
        return found


class TfcDecoder:
    """Coder 2 as docs/format.md states it, likewise."""

    by_table = False

    def __init__(self, data):
        self.data = data
        self.offset, self.extent = 0, 2**32
        for _ in range(2):
            self.shift_in()

    def shift_in(self):
        self.offset = self.offset << 16 | int.from_bytes(self.data[:2].ljust(2, b"\0"), "big")
        self.data = self.data[2:]

    def entry(self, cdf):
        bounds = [self.extent * int(c) >> 16 for c in cdf]
        found = 0
        while bounds[found + 1] <= self.offset:
            found += 1
        self.offset -= bounds[found]
        self.extent = bounds[found + 1] - bounds[found]
        if self.extent <= 2**16:
            self.extent <<= 16
            self.shift_in()
        return found


REFERENCES = {"constriction": ConstrictionDecoder, "tfc": TfcDecoder}


def symbols_of_run(reference, indices, tables):
    """A run: entries in the coder's order, then the escapes' classes, then their bits."""
    out = [0] * len(indices)
    escaped = []
    order = range(len(indices))
    for at in sorted(order, key=lambda i: indices[i]) if reference.by_table else order:
        cdf = tables.cdfs[indices[at]]
        found = reference.entry(cdf)
        out[at] = tables.offsets[indices[at]] + found
        if tables.has_escape and found == len(cdf) - 2:
            escaped.append(at)
    escaped.sort()
    counts = [2**15 >> n for n in range(11)] + [11] + [1] * 21
    classes = [reference.entry(np.cumsum([0, *counts])) for _ in escaped]
    for at, n in zip(escaped, classes, strict=True):
        cdf, offset = tables.cdfs[indices[at]], tables.offsets[indices[at]]
        order = max(0, (len(cdf) - 1).bit_length() - 5)
        below = reference.entry([0, 2**15, 2**16])
        value = 1
        for _ in range(order + n):
            value = 2 * value + reference.entry([0, 2**15, 2**16])
        excess = value - 2**order
        out[at] = offset - 1 - excess if below else offset + len(cdf) - 2 + excess
    return out


def assert_reads(reference, runs, tables):
    for expected, indices in runs:
        assert symbols_of_run(reference, indices.tolist(), tables) == expected.tolist()


@given(runs=runs_of(64))
@settings(max_examples=60, deadline=None)
def test_the_bytes_mean_what_the_documented_range_decoder_reads(runs, coder_name):
    assert_reads(
        REFERENCES[coder_name](range_coder.encode(runs, LAPLACE, coder_name)), runs, LAPLACE
    )


@pytest.mark.slow
def test_a_long_stream_means_what_the_documented_range_decoder_reads(coder_name):
    runs = [laplace_run(n, seed=n, middle=1.0, spread=2.5)[0] for n in (3, 2000, 1, 700)]
    assert_reads(
        REFERENCES[coder_name](range_coder.encode(runs, LAPLACE, coder_name)), runs, LAPLACE
    )


DRAWN = np.array([0, 1, -1, 5, -300, 2**31 - 1, 0, 0, 17, -2, 4000, -9], np.int32)
INDEX = np.array([0, 10, 20, 30, 40, 50, 60, 63, 45, 25, 63, 0])
FROZEN_RUNS = [(DRAWN, INDEX), (DRAWN[::-1], INDEX)]
FROZEN_FLAGS = [(np.array([1, 0, 1, 1, 0, 0, 1], np.int32), np.arange(0, 63, 9))]
FROZEN = {
    "constriction": (
        "fffdf74092e019e5d9169e5305b004077dff612e00687ffffe059fd7de7af1a2bc0daaae09703df761740a",
        "ffffc3",
    ),
    "tfc": (
        "f89d40b8c8b6ac588e62ff6273abb51e7fff5fa84eedffffff6cbffc83092a8dc0e3c78ff048a3177ff3ea",
        "ffffc3",
    ),
}


def test_the_coded_bytes_are_the_frozen_ones(coder_name):
    symbols, flags = FROZEN[coder_name]
    assert range_coder.encode(FROZEN_RUNS, LAPLACE, coder_name).hex() == symbols
    assert range_coder.encode(FROZEN_FLAGS, BINARY, coder_name).hex() == flags


@pytest.mark.parametrize("which", FROZEN)
def test_the_frozen_bytes_mean_the_same_whether_or_not_their_coder_is_installed(which):
    symbols, flags = map(bytes.fromhex, FROZEN[which])
    assert_reads(REFERENCES[which](symbols), FROZEN_RUNS, LAPLACE)
    assert_reads(REFERENCES[which](flags), FROZEN_FLAGS, BINARY)


@pytest.mark.parametrize("tables", [LAPLACE, GAUSSIAN, BINARY, ODD])
def test_the_floats_given_to_constriction_are_exact_so_that_its_model_is_the_integer_table(tables):
    for cdf in tables.cdfs:
        weights = constriction_coder.model_weights(cdf)
        assert weights.dtype == np.float64
        # Whole numbers of less than 2**24: floats of any width >= 32 bits hold them and all
        # partial sums exactly, in any order of addition.
        assert (weights == np.rint(weights)).all() and weights.min() >= 0
        assert weights.sum() == 2**24 - len(weights) == weights.astype(np.float32).sum()
        # The formula that constriction evaluates in float64, in exact arithmetic.
        scale = Fraction(2**24 - len(weights)) / Fraction(weights.sum())
        left = [0, *np.cumsum(weights.astype(int)).tolist()]
        model = [int(c * scale) + i for i, c in enumerate(left)]
        assert model == [int(c) << 8 for c in cdf]

"""An independent decoder of integers alone decodes the symbols that files hold."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdonet_jax.codec import bitstream, codec, offset_coding, partition_coding
from rdonet_jax.codec.portable import coder as portable_coder
from rdonet_jax.codec.portable import jax_engine
from rdonet_jax.core import partition
from rdonet_jax.entropy import distributions
from rdonet_jax.models import zoo
from tests import portable_params
from tests import reference_prior as reference
from tests.golden import make as golden
from tests.portable_params import ENDS, grouped, partly_embedded, preset


def masks_of(seed: int, grid: tuple[int, int]) -> partition.Partition:
    rng = np.random.default_rng(seed)
    split64 = rng.random(grid) < 2 / 3
    split32 = rng.random((2 * grid[0], 2 * grid[1])) < 1 / 2
    return partition.Partition(split64, split32 & np.kron(split64, np.ones((2, 2))).astype(bool))


def decoded_by_reference(model: zoo.Model, data: bytes) -> list[reference.Run]:
    """All runs of a file, by integers alone."""
    header, sections = bitstream.parse(data)
    p = partition_coding.read(header, sections)
    masks = codec.coded_masks(p, header.height, header.width)
    streams = {level: getattr(sections, f"level{level}") for level in range(3)}
    offsets = offset_coding.read(header, sections)
    quality = header.quality
    if offsets is not None:
        quality = np.clip(quality + 8 * offsets, 0, 128 * (model.config.knots - 1))
    return reference.decode_symbols(
        model.params, model.config, quality, masks, streams, model.tables
    )


def assert_same_symbols(found: list[reference.Run], symbols: Any) -> None:
    expected = [(level, run_symbols) for level in (2, 1, 0) for run_symbols in symbols[level]]
    assert len(found) == len(expected)
    for run, (level, run_symbols) in zip(found, expected, strict=True):
        assert run.level == level
        np.testing.assert_array_equal(run.symbols, run_symbols)


@pytest.fixture(scope="module", params=[preset, grouped, partly_embedded],
                ids=["one group", "groups", "first channels"])  # fmt: skip
def model(request) -> zoo.Model:
    model = request.param(4)
    tables = distributions.scale_tables(model.distribution)
    return zoo.Model("acting", model, portable_params.acting(model), bytes(4), {}, tables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quality", "mask", "size"),
    [(0, "random", (192, 256)), (33.3, "variance", (192, 256)), (52, "random", (131, 250)),
     (75, "uniform-32", (192, 193)), (90, "uniform-64", (150, 256)),
     (100, "uniform-16", (192, 256))],
)  # fmt: skip
def test_an_independent_integer_implementation_decodes_real_files(
    model, photograph, quality, mask, size
):
    image = photograph[: size[0], : size[1]]
    if mask == "random":
        p = partition.trim(masks_of(size[0], (3, 4)), *size)
    else:
        p = codec.choose_partition(model, image, mask, quality)
    sent = codec.encode(model, image, p, quality, reconstruct=False)
    found = decoded_by_reference(model, sent.data)
    assert_same_symbols(found, sent.symbols)
    coded = [run for run in found if run.symbols.size]
    assert any(np.any(run.symbols) for run in coded) and any(np.any(run.mu) for run in coded)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(131, 250), (300, 321)])
def test_an_independent_integer_implementation_decodes_files_with_regions(model, photograph, size):
    """Of five by six blocks, whose hyper-latents stand for blocks of different qualities."""
    image = np.resize(photograph, (*size, 3))
    grid = partition.block_grid(*size)
    rng = np.random.default_rng(size[0])
    p = partition.trim(masks_of(size[0], grid), *size)
    gains = rng.integers(-60, 60, grid)
    sent = codec.encode(model, image, p, 50, reconstruct=False, gains=gains)
    assert_same_symbols(decoded_by_reference(model, sent.data), sent.symbols)


def test_an_independent_integer_implementation_decodes_the_golden_files():
    model = zoo.load(str(golden.weights_file()))
    found = decoded_by_reference(model, golden.FILES["constriction"].read_bytes())
    symbols = [[run.symbols for run in found if run.level == level] for level in range(3)]
    assert golden.hashes(symbols) == json.loads(golden.SYMBOLS.read_text())
    found = decoded_by_reference(model, golden.REGIONS.read_bytes())
    symbols = [[run.symbols for run in found if run.level == level] for level in range(3)]
    assert golden.hashes(symbols) == json.loads(golden.REGION_SYMBOLS.read_text())


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 640),
    st.booleans(),
    st.sampled_from([preset(4), grouped(4), partly_embedded(4)]),
)
def test_whatever_symbols_a_file_holds_the_integers_go_on_as_the_floats_do(
    seed, quality, hostile, model
):
    params, grid = portable_params.acting(model, seed % 3), (3, 4)
    masks = codec.coded_masks(masks_of(seed, grid), 192, 256)
    rng = np.random.default_rng(seed)
    sent: list[tuple[int, np.ndarray, np.ndarray]] = []

    def read_symbols(level: int, indices: np.ndarray) -> np.ndarray:
        symbols = np.rint(rng.laplace(size=len(indices)) * 2.0 ** (indices / 5 - 4))
        if hostile:
            ends = rng.choice(ENDS, len(indices))
            symbols = np.where(rng.random(len(indices)) < 0.2, ends, symbols)
        sent.append((level, symbols.astype(np.int32), indices))
        return symbols.astype(np.int32)

    size = tuple(partition.BLOCK * side for side in grid)
    engine = jax_engine.JaxEngine(model, params, np.array([quality]))
    coder = portable_coder.PortableLevelCoder(model, engine, masks, size)
    for level in (2, 1, 0):
        coder.decode_level(level, functools.partial(read_symbols, level))
    symbols = {level: [run[1] for run in sent if run[0] == level] for level in range(3)}
    found = reference.runs_of_symbols(params, model, quality, masks, symbols)
    assert len(found) == len(sent)
    for run, (level, run_symbols, indices) in zip(found, sent, strict=True):
        assert run.level == level
        np.testing.assert_array_equal(run.symbols, run_symbols)
        np.testing.assert_array_equal(run.indices, indices)

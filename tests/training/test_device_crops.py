"""Images on the devices: crops are pieces of them, and functions of seed, step and number."""

from __future__ import annotations

import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging import dataset
from rdonet_jax.imaging.dataset import DatasetError, DatasetWarning, ImageDataset
from rdonet_jax.training.batches import device_crops, input_pipeline
from rdonet_jax.training.config import TrainingConfig


def options(**changes) -> TrainingConfig:
    defaults = {"crop": 64, "batch_size": 8, "stage1_steps": 3, "stage2_steps": 2, "resident": True}
    return TrainingConfig(**{**defaults, **changes})


def opened(folder: Path) -> ImageDataset:
    return dataset.usable(dataset.find([folder]), 64)


@pytest.fixture(scope="module")
def photographs(photograph_folder) -> ImageDataset:
    return opened(photograph_folder)


def flat(batch) -> np.ndarray:
    crops = np.asarray(batch.crops)
    return crops.reshape(-1, *crops.shape[2:])


def is_piece(crop: np.ndarray, image: np.ndarray) -> bool:
    """Whether a crop is somewhere in an image, as it is or mirrored."""
    height, width = crop.shape[:2]
    rows = np.lib.stride_tricks.sliding_window_view(image[..., 0], (1, width))[:, :, 0]
    for shown in (crop, crop[:, ::-1]):
        for top, left in np.argwhere(np.all(rows == shown[0, :, 0], axis=-1)):
            if np.array_equal(image[top : top + height, left : left + width], shown):
                return True
    return False


def test_crops_without_reduction_are_pieces_of_the_images_mirrored_or_not(photographs):
    config = options(min_scale=1.0)
    reader = device_crops.Reader(photographs, config)
    batch = next(reader)
    crops = flat(batch)
    assert crops.shape == (8, 64, 64, 3) and crops.dtype == np.uint8
    for number, crop in enumerate(crops):
        source = photographs.paths.index(reader.source(0, number))
        assert is_piece(crop, np.asarray(photographs.image(source)))


def test_crops_are_pieces_of_the_images_reduced_by_lanczos(photographs):
    config = options(min_scale=0.5)
    reader = device_crops.Reader(photographs, config)
    scales = np.linspace(1.0, 0.5, device_crops.SIZES)
    used = set()
    for step in range(3):
        for number, crop in enumerate(flat(next(reader))):
            image = photographs.image(photographs.paths.index(reader.source(step, number)))
            for scale in scales:
                sides = tuple(round(scale * side) for side in image.size)
                reduced = image.resize(sides, Image.Resampling.LANCZOS)
                if is_piece(crop, np.asarray(reduced)):
                    used.add(scale)
                    break
            else:
                pytest.fail("a crop of no image at no size")
    assert len(used) == len(scales)


def test_a_small_image_is_reduced_to_the_crop_at_most(tmp_path):
    ramp = np.broadcast_to(np.arange(80, dtype=np.uint8), (70, 80))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "ramp.png")
    pool, _ = device_crops.load(opened(tmp_path), options(min_scale=0.1))
    assert pool.sides.min() == 64 and tuple(pool.sides[0, 0]) == (70, 80)


def test_a_crop_is_a_function_of_seed_step_and_number(photographs):
    first = [flat(batch) for batch in device_crops.Reader(photographs, options(seed=1))]
    assert len(first) == 5
    again = device_crops.Reader(photographs, options(seed=1))
    again.set_state({"step": 3})
    np.testing.assert_array_equal(flat(next(again)), first[3])
    assert again.get_state() == {"step": 4}
    other = flat(next(device_crops.Reader(photographs, options(seed=2))))
    assert not np.array_equal(other, first[0]) and not np.array_equal(first[0], first[1])
    assert len({crop.tobytes() for crops in first for crop in crops}) > 30


def test_hosts_share_a_batch(photographs):
    whole = next(device_crops.Reader(photographs, options()))
    parts = [next(device_crops.Reader(photographs, options(), host, 2)) for host in range(2)]
    np.testing.assert_array_equal(np.concatenate([flat(part) for part in parts]), flat(whole))
    numbers = np.concatenate([np.ravel(part.numbers) for part in parts])
    np.testing.assert_array_equal(numbers, np.arange(8))
    with pytest.raises(ConfigError, match="3 hosts cannot share"):
        device_crops.Reader(photographs, options(), 0, 3)


@settings(max_examples=20, deadline=None)
@given(
    step=st.integers(0, 2**31 - 1),
    number=st.integers(0, 2**20),
    seed=st.sampled_from((0, 2**31 - 1)),  # each is compiled
)
def test_every_crop_lies_within_its_image(step, number, seed):
    """In a pool whose pixels say where they are: number of the image, row, column."""
    sides = np.array([[[70, 90]] * device_crops.SIZES, [[64, 64]] * device_crops.SIZES], np.int32)
    rows = [
        (n + (np.arange(h)[:, None] << 8) + (np.arange(w) << 16)).astype(np.uint32).ravel()
        for n, (h, w) in enumerate(sides.reshape(-1, 2))
    ]
    offsets = np.cumsum([0, *map(len, rows[:-1])]).astype(np.int32).reshape(2, -1)
    pool = device_crops.Pool(np.concatenate(rows), offsets, sides, np.array([0.5, 1.0], np.float32))
    crop = np.asarray(CUT(pool, options(seed=seed), np.int32(step), np.array([number], np.int32)))[
        0
    ].astype(int)
    assert np.ptp(crop[..., 0]) == 0
    assert np.all(np.diff(crop[..., 1], axis=0) == 1) and np.ptp(crop[..., 1], axis=1).max() == 0
    assert np.all(np.abs(np.diff(crop[..., 2], axis=1)) == 1)


CUT = jax.jit(device_crops.cut, static_argnums=1)


def test_images_are_drawn_by_their_weights(photographs):
    pool, paths = device_crops.load(photographs, options())
    np.testing.assert_allclose(pool.chances, photographs.weights, rtol=1e-6)
    assert paths == photographs.paths


def test_broken_images_are_passed_over_with_a_warning(photograph_folder, tmp_path):
    for path in sorted(photograph_folder.iterdir()):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = sorted(tmp_path.iterdir())[0]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    seen = opened(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pool, paths = device_crops.load(seen, options())
    assert [w.category for w in caught] == [DatasetWarning] and broken.name in str(caught[0])
    assert broken not in paths and len(paths) == len(seen.paths) - 1
    assert pool.chances[-1] == 1 and np.all(np.diff(pool.chances) > 0)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="none of"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        device_crops.load(seen, options())


def test_more_pixels_than_places_are_refused(photographs, monkeypatch):
    monkeypatch.setattr(device_crops, "MOST_PIXELS", 1000)
    with pytest.raises(ConfigError, match="train without --resident"):
        device_crops.load(photographs, options())


@pytest.mark.parametrize("is_resident", [True, False])
def test_a_feed_continues_from_any_position_and_names_the_files(photographs, is_resident):
    config = options(resident=is_resident)
    with input_pipeline.open_batches(photographs, config) as batches:
        assert batches.position == input_pipeline.first_position(photographs, config)
        next(batches)
        position = batches.position
        second = next(batches)
        assert batches.source(1, 0) in photographs.paths
    devices = jax.local_device_count()
    assert second.crops.shape == (devices, 8 // devices, 64, 64, 3)
    with input_pipeline.open_batches(photographs, config) as batches:
        batches.go_to(position)
        np.testing.assert_array_equal(np.asarray(next(batches).crops), np.asarray(second.crops))

"""Crops: a pure function of seed and number, whatever reads them and whatever breaks."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging import access, dataset, shard_writer, shards
from rdonet_jax.imaging.dataset import DatasetError, DatasetWarning, ImageDataset
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.config import TrainingConfig


def options(**changes) -> TrainingConfig:
    defaults = {"crop": 64, "batch_size": 4, "stage1_steps": 3, "stage2_steps": 2}
    return TrainingConfig(**{**defaults, **changes})


def opened(folder: Path, cache_bytes: int | None = None) -> ImageDataset:
    return dataset.usable(dataset.find([folder]), 64, cache_bytes=cache_bytes)


@pytest.fixture(scope="module")
def photographs(photograph_folder) -> ImageDataset:
    return opened(photograph_folder)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory) -> ImageDataset:
    """One image whose value is the column's number."""
    path = tmp_path_factory.mktemp("ramp")
    columns = np.broadcast_to(np.arange(256, dtype=np.uint8), (200, 256))
    Image.fromarray(np.ascontiguousarray(columns)).save(path / "ramp.png")
    return opened(path)


@pytest.fixture
def copied(photograph_folder, tmp_path) -> Path:
    """Photographs to be damaged, in three formats."""
    for path, suffix in zip(
        sorted(photograph_folder.iterdir()), ("png", "jpg", "webp"), strict=True
    ):
        Image.open(path).save(tmp_path / f"{path.stem}.{suffix}")
    return tmp_path


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def complaints(caught) -> list[str]:
    return [str(warning.message) for warning in caught if warning.category is DatasetWarning]


def test_a_crop_is_a_function_of_seed_and_number(photographs):
    first = training_crops.random_crop(photographs, options(seed=1), 17)
    assert first.shape == (64, 64, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(
        first, training_crops.random_crop(photographs, options(seed=1), 17)
    )
    for seed, number in [(2, 17), (1, 18)]:
        assert np.any(first != training_crops.random_crop(photographs, options(seed=seed), number))


def test_crops_without_reduction_are_pieces_of_the_images_or_their_mirror_images(photographs):
    sources = [np.asarray(photographs.image(n)) for n in range(len(photographs.paths))]
    windows = [np.lib.stride_tricks.sliding_window_view(s[..., 0], (1, 64)) for s in sources]
    for number in range(6):
        crop = training_crops.random_crop(photographs, options(min_scale=1.0), number)
        found = [
            np.any(np.all(w[:, :, 0] == row, axis=-1))
            for w in windows
            for row in (crop[0, :, 0], crop[0, ::-1, 0])
        ]
        assert any(found)


@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, 2**40), min_scale=st.floats(0.4, 1.0))
def test_crops_are_reduced_by_no_more_than_the_smallest_scale(ramp, number, min_scale):
    crop = training_crops.random_crop(ramp, options(min_scale=min_scale), number).astype(float)
    slopes = np.diff(crop[:, 8:-8], axis=1).mean(axis=(1, 2))
    assert np.ptp(slopes) < 0.01
    # One gray level per column of the image: the slope says how many of them became one.
    assert 1 - 0.05 <= abs(slopes[0]) <= 1 / min_scale + 0.05


def test_half_of_the_crops_are_mirrored_and_their_scales_vary(ramp):
    crops = [
        training_crops.random_crop(ramp, options(), number).astype(float) for number in range(200)
    ]
    slopes = np.array([np.diff(crop[0, 8:-8, 0]).mean() for crop in crops])
    assert 0.4 < np.mean(slopes < 0) < 0.6
    assert abs(slopes).min() < 1.1 and abs(slopes).max() > 1.8


def test_a_small_image_is_not_reduced_below_the_size_of_a_crop(tmp_path):
    Image.new("RGB", (64, 65), (1, 2, 3)).save(tmp_path / "a.png")
    crop = training_crops.random_crop(opened(tmp_path), options(min_scale=0.1), 0)
    np.testing.assert_array_equal(crop, np.broadcast_to((1, 2, 3), (64, 64, 3)))


@pytest.mark.parametrize("cache_bytes", [0, 200_000, None])
def test_crops_do_not_depend_on_what_is_kept(photographs, photograph_folder, cache_bytes):
    others = opened(photograph_folder, cache_bytes)
    for number in (3, 1, 2, 1, 3):
        np.testing.assert_array_equal(
            training_crops.random_crop(others, options(), number),
            training_crops.random_crop(photographs, options(), number),
        )


def test_batches_hold_the_crops_of_their_steps_in_order_to_the_end(photographs):
    config = options()
    batches = list(training_crops.batches(photographs, config))
    assert len(batches) == config.steps
    for step, batch in enumerate(batches):
        assert batch.numbers.dtype == np.int32 and batch.numbers.tolist() == [0, 1, 2, 3]
        expected = [training_crops.random_crop(photographs, config, 4 * step + n) for n in range(4)]
        np.testing.assert_array_equal(batch.crops, np.stack(expected))


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_parts_of_the_hosts_make_up_the_batch_of_one(photographs, hosts):
    config = options()
    parts = [
        training_crops.batches(photographs, config, host, hosts, threads=1) for host in range(hosts)
    ]
    for whole, *shares in zip(training_crops.batches(photographs, config), *parts, strict=True):
        for field in ("numbers", "crops"):
            joined = np.concatenate([getattr(share, field) for share in shares])
            np.testing.assert_array_equal(joined, getattr(whole, field))
        assert all(len(share.numbers) == 4 // hosts for share in shares)


@pytest.mark.parametrize("threads", [1, 3, None])
def test_batches_do_not_depend_on_the_number_of_threads(photographs, threads):
    config = options(batch_size=2)
    for a, b in zip(
        training_crops.batches(photographs, config, threads=2),
        training_crops.batches(photographs, config, threads=threads),
        strict=True,
    ):
        np.testing.assert_array_equal(a.crops, b.crops)


@pytest.mark.parametrize("taken", [0, 2, 5])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (4, 2), (2, 1)])
def test_a_position_goes_through_json_to_any_host_of_any_number(photographs, taken, before, after):
    config = options()
    states = []
    for host in range(before):
        iterator = training_crops.batches(photographs, config, host, before, threads=1)
        for _ in range(taken):
            next(iterator)
        states.append(json.dumps(iterator.get_state()))
    assert len(set(states)) == 1
    whole = list(training_crops.batches(photographs, config))[taken:]
    for host in range(after):
        iterator = training_crops.batches(photographs, config, host, after, threads=1)
        iterator.set_state(json.loads(states[0]))
        rest = list(iterator)
        assert len(rest) == len(whole)
        share = slice(host * 4 // after, (host + 1) * 4 // after)
        for part, batch in zip(rest, whole, strict=True):
            np.testing.assert_array_equal(part.crops, batch.crops[share])


def test_hosts_that_cannot_have_equal_parts_are_refused(photographs):
    with pytest.raises(ConfigError, match="3 hosts cannot share batches of 4 crops"):
        training_crops.batches(photographs, options(), 0, 3)


@pytest.mark.parametrize("index", range(3))
def test_a_crop_that_falls_on_a_broken_image_is_drawn_again_and_no_other_changes(copied, index):
    config = options()
    whole = opened(copied)
    expected = [training_crops.random_crop(whole, config, number) for number in range(40)]
    runs = [opened(copied, cache_bytes=0) for _ in range(2)]
    truncate(whole.paths[index])
    with pytest.warns(DatasetWarning) as caught:
        crops = [training_crops.random_crop(runs[0], config, number) for number in range(40)]
        # Another run, which comes to the broken image elsewhere.
        for number in reversed(range(40)):
            crop = training_crops.random_crop(runs[1], config, number)
            np.testing.assert_array_equal(crop, crops[number])
    assert len(complaints(caught)) == len(runs)
    assert all(str(whole.paths[index]) in line for line in complaints(caught))
    changed = [bool(np.any(a != b)) for a, b in zip(crops, expected, strict=True)]
    weights = np.diff(whole.weights, prepend=0)
    assert 0.3 * weights[index] < np.mean(changed) < 2 * weights[index]


def test_any_number_of_broken_images_leaves_the_crops_of_the_others(copied):
    config = options(min_scale=1.0)
    kept = opened(copied)
    last = np.asarray(kept.image(2, keep=False))
    for path in kept.paths[:2]:
        truncate(path)
    with pytest.warns(DatasetWarning) as caught:
        batches = list(training_crops.batches(kept, config, threads=3))
    assert len(complaints(caught)) == 2
    rows = np.lib.stride_tricks.sliding_window_view(last[..., 0], 64, axis=1)
    for crop in np.concatenate([batch.crops for batch in batches]):
        lines = (crop[0, :, 0], crop[0, ::-1, 0])
        assert any(np.any(np.all(rows == line, axis=-1)) for line in lines)


def test_batches_end_with_an_error_when_every_image_is_broken(copied):
    kept = opened(copied)
    for path in kept.paths:
        truncate(path)
    with warnings.catch_warnings(record=True), pytest.raises(DatasetError, match="none of 3"):
        next(training_crops.batches(kept, options()))


def test_batches_end_with_an_error_when_images_cannot_be_reached(copied, monkeypatch):
    monkeypatch.setattr(access, "WAITS_S", (0.01,))
    kept = opened(copied)
    shutil.rmtree(copied)
    with warnings.catch_warnings(record=True), pytest.raises(DatasetError, match="cannot be read"):
        next(training_crops.batches(kept, options()))


def test_center_crops_are_the_middles_of_the_images_and_nothing_of_them_is_kept(copied):
    kept = opened(copied)
    crops = training_crops.center_crops(kept, 64)
    assert crops.shape == (3, 64, 64, 3) and crops.dtype == np.uint8
    assert kept.cached_bytes == 0
    for index, crop in enumerate(crops):
        image = np.asarray(kept.image(index))
        top, left = (image.shape[0] - 64) // 2, (image.shape[1] - 64) // 2
        np.testing.assert_array_equal(crop, image[top : top + 64, left : left + 64])


def test_center_crops_pass_over_broken_images_unless_all_are(copied):
    kept = opened(copied)
    whole = training_crops.center_crops(kept, 64)
    truncate(kept.paths[1])
    with pytest.warns(DatasetWarning) as caught:
        np.testing.assert_array_equal(training_crops.center_crops(kept, 64), whole[[0, 2]])
        assert len(complaints(caught)) == 1
        for path in (kept.paths[0], kept.paths[2]):
            truncate(path)
        with pytest.raises(DatasetError, match="none of 3"):
            training_crops.center_crops(kept, 64)


@pytest.mark.parametrize("kind", shards.KINDS)
def test_crops_from_shards_are_those_from_their_folder(photograph_folder, tmp_path, kind):
    shard_writer.pack([photograph_folder], tmp_path / "shards", kind, shard_bytes=1)
    files, packed = opened(photograph_folder), opened(tmp_path / "shards", cache_bytes=0)
    for number in range(20):
        ours, theirs = (training_crops.random_crop(x, options(), number) for x in (packed, files))
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        training_crops.center_crops(packed, 64), training_crops.center_crops(files, 64)
    )


def test_a_host_reads_the_images_of_its_own_crops_alone(photograph_folder, tmp_path, monkeypatch):
    shard_writer.pack([photograph_folder], tmp_path / "shards", shards.TAR)
    read = shards.Shards.read
    numbers: list[int] = []

    def reading(self, number):
        numbers.append(number)
        return read(self, number)

    monkeypatch.setattr(shards.Shards, "read", reading)
    packed = opened(tmp_path / "shards", cache_bytes=0)
    with training_crops.closing(training_crops.batches(packed, options(), 1, 2, 1)) as reader:
        list(reader)
    own = [step * 4 + number for step in range(5) for number in (2, 3)]
    expected = [str(training_crops.source(packed, options(), index)) for index in own]
    drawn = [str(packed.paths[number]) for number in numbers[: len(own)]]
    assert sorted(drawn) == sorted(expected)

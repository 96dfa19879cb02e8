"""Equal steps of several images in one batch."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from PIL import Image

from rdonet_jax.cli.commands import coding_commands
from rdonet_jax.cli.commands.decompress import DecompressOptions
from rdonet_jax.cli.files import cluster
from rdonet_jax.codec import codec
from rdonet_jax.models import step_batches, zoo
from rdonet_jax.models.step_batches import StepBatches
from tests.fuzzing import subjects

pytestmark = pytest.mark.slow

SHARED = np.float32(10)


@functools.partial(jax.jit, static_argnums=0)
def scaled(power: int, shared: jax.Array, x: jax.Array, more: tuple | None = None) -> tuple:
    """Two results from a tree of arguments."""
    added = 0 if more is None else more[0] + more[1]
    return shared * x**power + added, -x


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """On a machine that others share a thread may take long to ask for its step."""
    monkeypatch.setattr(step_batches, "MAX_WAIT_S", 60.0)


def in_threads(batches: StepBatches, *works: Callable[[], object]) -> list:
    """What works give that begin together."""
    barrier = threading.Barrier(len(works))

    def run(work):
        with batches.member():
            barrier.wait()
            return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def asked(batches: StepBatches, power: int, x: np.ndarray, *more) -> Callable[[], list[np.ndarray]]:
    return lambda: [
        np.asarray(part)
        for part in batches.compute(scaled, (power,), SHARED, (x, *more), results=2)
    ]


def test_equal_steps_that_threads_wait_for_are_computed_together():
    batches = StepBatches(on_cpus=True)
    xs = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = in_threads(batches, *(asked(batches, 2, x) for x in xs))
    assert batches.computed == {4: 1}
    for x, (first, second) in zip(xs, found, strict=True):
        np.testing.assert_array_equal(first, 10 * x**2)
        np.testing.assert_array_equal(second, -x)


def test_steps_of_other_shapes_types_and_static_arguments_are_apart():
    batches = StepBatches(on_cpus=True)
    x = np.ones(3, np.float32)
    works = [
        asked(batches, 1, x), asked(batches, 2, x), asked(batches, 1, x[:2]),
        asked(batches, 1, x.astype(np.int8)), asked(batches, 1, x, (x, x)), asked(batches, 1, x),
    ]  # fmt: skip
    found = in_threads(batches, *works)
    assert batches.computed == {1: 4, 2: 1}
    assert [len(first) for first, _ in found] == [3, 3, 2, 3, 3, 3]
    np.testing.assert_array_equal(found[4][0], np.full(3, 12, np.float32))


def test_another_number_of_images_compiles_nothing():
    batches = StepBatches(16, on_cpus=True)
    traced = []

    def step(shared, x):
        traced.append(x.shape)
        return shared + x

    def ask(x):
        return lambda: np.asarray(batches.compute(step, (), SHARED, (x,)))

    for count in (2, 3, 4, 2):
        found = in_threads(batches, *(ask(np.float32([n])) for n in range(count)))
        assert np.ravel(found).tolist() == [10.0 + n for n in range(count)]
    assert batches.computed == {2: 2, 3: 1, 4: 1} and len(traced) == 1
    in_threads(batches, *(ask(np.float32([n])) for n in range(7)))
    assert batches.computed[7] == 1 and len(traced) == 2


def test_a_full_batch_is_computed_before_anyone_needs_it():
    batches = StepBatches(2, on_cpus=True)
    with batches.member():
        results = [
            batches.compute(scaled, (1,), SHARED, (np.float32([n]),), results=2) for n in range(5)
        ]
        assert batches.computed == {2: 2}
        assert [np.asarray(first).item() for first, _ in results] == [0, 10, 20, 30, 40]
        assert batches.computed == {2: 2, 1: 1}


def test_a_thread_that_has_other_work_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(step_batches, "MAX_WAIT_S", 0.01)
    batches = StepBatches(on_cpus=True)
    done = threading.Event()
    ask = asked(batches, 1, np.ones(1, np.float32))

    def ask_and_tell():
        found = ask()
        done.set()
        return found

    found, others = in_threads(batches, ask_and_tell, lambda: done.wait(60))
    assert others and found[0] == 10


def test_an_error_reaches_all_who_wait_for_the_step_and_no_others():
    batches = StepBatches(on_cpus=True)

    def failing(shared, x):
        raise ArithmeticError("no")

    def ask_failing():
        with pytest.raises(ArithmeticError, match="no"):
            np.asarray(batches.compute(failing, (), SHARED, (np.ones(1),)))

    in_threads(batches, ask_failing, ask_failing, asked(batches, 1, np.ones(1, np.float32)))
    assert batches.computed == {2: 1, 1: 1}
    assert asked(batches, 1, np.ones(1, np.float32))()[0] == 10


def test_what_fails_only_in_a_batch_is_computed_alone():
    batches = StepBatches(on_cpus=True)

    def small(shared, x):
        if isinstance(x, jax.core.Tracer):
            raise MemoryError("too large")
        return shared + x

    def ask(x):
        return lambda: float(np.asarray(batches.compute(small, (), SHARED, (np.float32(x),))))

    assert in_threads(batches, *map(ask, range(3))) == [10, 11, 12]
    assert batches.computed == {3: 1}


def test_others_go_on_when_an_image_ends_or_fails():
    batches = StepBatches(on_cpus=True)

    def asking_for_nothing():
        batches.compute(scaled, (1,), SHARED, (np.ones(1, np.float32),))

    def failing():
        with pytest.raises(ZeroDivisionError), batches.member():
            raise ZeroDivisionError

    x = np.ones(2, np.float32)
    works = [asked(batches, 1, x), asking_for_nothing, failing, asked(batches, 1, x)]
    found = in_threads(batches, *works)
    np.testing.assert_array_equal(found[0][0], 10 * x)
    np.testing.assert_array_equal(found[3][0], 10 * x)


def test_threads_that_begin_together_use_one_copy_of_the_weights():
    model = zoo.load(subjects.mini_weights())
    found = in_threads(StepBatches(), *[lambda: id(model.device_params)] * 8)
    assert len(set(found)) == 1


def test_on_cpus_every_step_is_computed_alone_unless_asked_for():
    batches = StepBatches()
    first, _ = batches.compute(scaled, (1,), SHARED, (np.float32([4]),), results=2)
    assert isinstance(first, jax.Array) and first.item() == 40 and batches.computed == {}


def smooth(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def coded() -> tuple[zoo.Model, list[np.ndarray], list[codec.Encoded]]:
    """A model, images of two sizes, and their files at several qualities by threads in batches."""
    model = zoo.load(subjects.mini_weights()).replace(batches=StepBatches(4, on_cpus=True))
    rng = np.random.default_rng(0)
    images = [smooth(rng, size) for size in [(70, 130), (96, 64), (70, 130), (70, 130)]]
    images[3] = images[3].astype(np.uint16) * 257

    def encode(image, quality):
        gains = np.array([[0.0, 10.0, 0.0]] * 2) if quality == 95 else None  # of regions
        image = image[:, :, :3]
        p = codec.choose_partition(model, image, "variance", quality)
        return lambda: codec.encode(model, image, p, quality, engine="jax", gains=gains)

    works = [encode(image, quality) for image, quality in zip(images, (5, 50, 95, 50), strict=True)]
    files = in_threads(model.batches, *works)
    assert sum(batches_of_several(model.batches).values()) > 0
    return model, images, files


def batches_of_several(batches: StepBatches) -> Counter:
    return Counter({size: count for size, count in batches.computed.items() if size > 1})


def test_files_of_a_batch_decode_alone_by_every_engine(coded):
    model, _, files = coded
    alone = model.replace(batches=None)
    for file in files:
        for engine in ("numpy", "jax"):
            decoded = codec.decode(alone, file.data, engine=engine)
            for ours, theirs in zip(decoded.symbols, file.symbols, strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    np.testing.assert_array_equal(a, b)
            difference = np.abs(decoded.image.astype(int) - file.image)
            assert difference.max() <= (1 if file.image.dtype == np.uint8 else 257)


def test_files_decode_in_a_batch_as_they_do_alone_and_a_damaged_one_fails_alone(coded):
    model, _, files = coded
    damaged = files[0].data[: len(files[0].data) * 2 // 3]

    def decode(data):
        return lambda: codec.decode(model, data, engine="jax").image

    def refuse():
        with pytest.raises(codec.FormatError):
            codec.decode(model, damaged, engine="jax")

    found = in_threads(model.batches, *(decode(file.data) for file in files), refuse)
    alone = model.replace(batches=None)
    for image, file in zip(found, files, strict=False):
        expected = codec.decode(alone, file.data, engine="jax").image
        assert np.abs(image.astype(int) - expected).max() <= (1 if image.dtype == np.uint8 else 257)


class Forced(StepBatches):
    """Batches on CPUs too, that are kept."""

    made: list[Forced] = []  # noqa: RUF012

    def __init__(self, largest: int) -> None:
        super().__init__(largest, on_cpus=True)
        self.made.append(self)


def test_a_worker_with_an_accelerator_codes_the_files_of_a_block_together(
    coded, tmp_path, monkeypatch
):
    _, _, files = coded
    monkeypatch.setattr(cluster, "StepBatches", Forced)
    for number, file in enumerate(files):
        (tmp_path / f"{number}.rdo").write_bytes(file.data)
    work = coding_commands.decompression(
        DecompressOptions(str(subjects.mini_weights()), engine="jax")
    )
    worker = cluster._Worker(work, False, str(tmp_path), has_accelerator=True, together=16)
    names = [f"{number}.rdo" for number in (2, 0, 9, 3)]
    block = {"number": [4, 5, 6, 7], "source": names, "target": [f"{n}.png" for n in names]}
    found = worker(block)
    assert found["number"] == [4, 5, 6, 7]
    assert found["kind"] == ["made", "made", "failed", "made"] and "9.rdo" in found["content"][2]
    assert sum(batches_of_several(Forced.made[-1]).values()) > 0
    image = np.asarray(Image.open(tmp_path / "2.rdo.png"))
    assert np.abs(image.astype(int) - files[2].image).max() <= 1


def test_files_that_one_command_codes_at_the_same_time_share_steps(coded, tmp_path, monkeypatch):
    from rdonet_jax.cli import main

    _, _, files = coded
    monkeypatch.setattr(step_batches, "StepBatches", Forced)
    for number, file in enumerate(files):
        (tmp_path / f"{number}.rdo").write_bytes(file.data)
    names = [str(tmp_path / f"{number}.rdo") for number in range(len(files))]
    line = ["decompress", *names, "--out-dir", str(tmp_path / "out"), "-j", "4", "--engine", "jax"]
    main.main([*line, "--model", str(subjects.mini_weights())])
    assert sum(batches_of_several(Forced.made[-1]).values()) > 0
    for number, file in enumerate(files[:3]):
        image = np.asarray(Image.open(tmp_path / "out" / f"{number}.png"))
        assert np.abs(image.astype(int) - file.image).max() <= 1
    images = [str(path) for path in sorted((tmp_path / "out").glob("*.png"))]
    line = ["compress", *images, "--out-dir", str(tmp_path / "again"), "-j", "4"]
    main.main([*line, "--engine", "jax", "--model", str(subjects.mini_weights())])
    assert sum(batches_of_several(Forced.made[-1]).values()) > 0
    for path in (tmp_path / "again").iterdir():
        codec.decode(zoo.load(subjects.mini_weights()), path.read_bytes(), engine="numpy")

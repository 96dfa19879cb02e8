"""Models and images that many tests share: small, made once per session."""

from __future__ import annotations

import collections
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
import skimage.data
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

from rdonet_jax import api
from rdonet_jax.core import presets
from rdonet_jax.entropy import range_coder
from rdonet_jax.evaluation.measures import NamedImage
from rdonet_jax.imaging import srgb
from rdonet_jax.models import zoo
from rdonet_jax.models.rdonet import init as rdonet_init
from rdonet_jax.models.rdonet import network as rdonet
from rdonet_jax.runtime import interrupts
from tests import hasty_xla, portable_params
from tests.buckets import s3, s3_server, store  # noqa: F401 - fixtures

ROOT = Path(__file__).parent.parent

LMBDA = 0.0067

COMPILING_ANEW = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
"""In the environment of a process that is to come to the same without what others compiled."""

# How long a test takes says nothing of what it tests, on machines that others share.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Lets all processes of this run share what they compile, in a folder that ends with it.

    RDONET_TESTS_CACHE in the environment names a folder that several runs share. Workers and what
    tests start inherit the environment; JAX is loaded here already.
    """
    # JAX has set it for this process, and those that tests start would inherit it.
    os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    if hasattr(config, "workerinput"):
        return
    folder = os.environ.get("RDONET_TESTS_CACHE")
    if not folder:
        folder = tempfile.mkdtemp(prefix="compiled-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    settings = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What commands keep is not left in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_handlers():
    """Commands that tests call leave the signals of the tests' own process alone.

    What they install lasts as long as the process, and would end it at a later test's signal.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interrupts, "install_handlers", lambda *_: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def compiled_for_the_file():
    """What a file's tests have compiled does not stay in memory; that of all takes 10 GB."""
    yield
    jax.clear_caches()


class FilesTogether(LoadScopeScheduling):
    """Gives the tests of a file to one worker, since they share what their fixtures make.

    Those of training runs share long runs, and are one unit. Marks for `--dist loadgroup` would say
    so as well, but are ignored from pytest 9.2 on, as of pytest-xdist 3.8.
    """

    def _split_scope(self, nodeid: str) -> str:
        return (
            "training"
            if nodeid.startswith("tests/training/whole_runs/")
            else super()._split_scope(nodeid)
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    config.option.loadscopereorder = False  # by the number of tests, which says little of the time
    return FilesTogether(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow and long tests run where `-m` asks for them; what is both counts as long."""
    for item in items:
        for mark, takes in (("long", "minutes"), ("slow", "seconds")):
            if item.get_closest_marker(mark):
                if mark not in config.option.markexpr.split():
                    reason = f"takes {takes}; make test-{mark} runs it"
                    item.add_marker(pytest.mark.skip(reason=reason))
                break


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    hasty_xla.use_for(item)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says what was skipped and why."""
    reasons = collections.Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


def quick_key(seed: int) -> jax.Array:
    """A key whose draws compile six times faster than the default generator's."""
    return jax.random.key(seed, impl="unsafe_rbg")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """A weights file of the tiny preset at its linear start: it codes real images, if badly."""
    preset = presets.tiny()
    params = rdonet_init.linear_start(rdonet.init_params(preset, quick_key(0)), preset, LMBDA)
    return zoo.save(tmp_path_factory.mktemp("zoo"), "tiny", preset, params, {"preset": "tiny"})


@pytest.fixture(scope="session")
def tiny_model(tiny_weights) -> zoo.Model:
    return zoo.load(str(tiny_weights))


@pytest.fixture(scope="session")
def mini_weights(tmp_path_factory) -> Path:
    """A weights file of the mini preset, which is portable."""
    preset = presets.mini()
    folder = tmp_path_factory.mktemp("portable")
    return zoo.save(
        folder, "mini", preset, portable_params.mini_parameters(preset), {"preset": "mini"}
    )


@pytest.fixture(scope="session")
def mini_model(mini_weights) -> zoo.Model:
    return zoo.load(str(mini_weights))


@pytest.fixture
def mini_as_standard(monkeypatch, mini_weights):
    """Lets the package hold the mini model under the default's name."""
    api._library.clear()
    monkeypatch.setattr(zoo, "bundled", lambda: {"standard": mini_weights})
    yield
    api._library.clear()


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A real image with flat and busy areas, uint8 [192, 256, 3]."""
    return np.ascontiguousarray(skimage.data.coffee()[100:292, 150:406])


@pytest.fixture(scope="session")
def images(photograph) -> list[NamedImage]:
    """Three real images of different sizes that are padded to the same 192x256."""
    astronaut = skimage.data.astronaut()
    return [
        NamedImage("a.png", photograph),
        NamedImage("b.png", np.ascontiguousarray(astronaut[20:190, 130:380])),
        NamedImage("deeper/c.png", np.ascontiguousarray(astronaut[200:350, 300:500])),
    ]


@pytest.fixture(scope="session")
def folder(images, tmp_path_factory) -> Path:
    """A folder of these images."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deeper").mkdir()
    for image in images:
        srgb.save(folder / image.name, image.pixels)
    return folder


@pytest.fixture(scope="session")
def photograph_folder(tmp_path_factory) -> Path:
    """Three photographs, one of them only for validation by its place in the list."""
    path = tmp_path_factory.mktemp("pictures")
    for name in ("astronaut", "chelsea", "coffee"):
        image = Image.fromarray(getattr(skimage.data, name)())
        image.resize((image.width // 2, image.height // 2)).save(path / f"{name}.png")
    return path


@pytest.fixture(scope="session", params=range_coder.CODERS)
def coder_name(request) -> str:
    """Every range coder in turn; those that are not installed are passed over."""
    try:
        range_coder.require(request.param)
    except range_coder.MissingCoderError as error:
        pytest.skip(str(error))
    return request.param

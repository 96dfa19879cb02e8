"""The folder of a training run: what fixes the run and where it comes from, in `config.json`.

`config.json` is written first and in one piece, then the checkpoint of step 0, and only then the
loop begins. So a run that was killed before its first checkpoint has a configuration and no log;
resuming it starts it afresh.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import platform
import secrets
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rdonet_jax.core.config import AnyConfig, ConfigError, from_dict
from rdonet_jax.imaging.dataset import DatasetFingerprint
from rdonet_jax.models import registry
from rdonet_jax.runtime import multihost
from rdonet_jax.storage import files
from rdonet_jax.training import lengthening
from rdonet_jax.training.config import TrainingConfig
from rdonet_jax.training.folder import checkpoints, run_log
from rdonet_jax.training.precision import compute_dtype

try:
    import fcntl
except ModuleNotFoundError:
    fcntl = None  # type: ignore[assignment] # a system without it

CONFIG_FILE = "config.json"
LOCK_FILE = ".lock"
PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "pillow",
)  # fmt: skip
"""What a run's numbers may depend on."""

SHARING_PATIENCE_S = 30.0
"""Within this time, a file of one host must appear on the others; shared folders may be slow."""


BEFORE = {"cut_share": 0.0}
"""How runs were trained that began before there were these fields."""


NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""Errors of a file system that has no locks, such as some of Lustre and NFS."""


class LockWarning(UserWarning):
    """A run's folder cannot be locked. The message names it."""


class RunError(RuntimeError):
    """A run that cannot be started or continued."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a run comes from, recorded when it starts."""

    command: str
    folders: tuple[str, ...]  # as given; they may move
    validation_folders: tuple[str, ...]  # empty when training images are held out
    pictures: DatasetFingerprint
    validation_pictures: DatasetFingerprint
    started_from: Mapping[str, Any] | None  # the record of the weights it goes on from
    environment: Mapping[str, Any] | None = None  # see the function of that name

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Origin:
        sets = ("pictures", "validation_pictures")
        return from_dict(cls, {**values, **{k: DatasetFingerprint(**values[k]) for k in sets}})


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is made of: the network, the schedule and a name for its preset."""

    model: AnyConfig
    training: TrainingConfig
    preset: str
    origin: Origin | None = None  # None before the start, and for runs that did not record it

    def to_json(self) -> str:
        values = {**dataclasses.asdict(self), "model": registry.to_dict(self.model)}
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def load(cls, folder: Path) -> Run:
        """The run of a folder. Raises `RunError` when there is none or its file is damaged."""
        try:
            values = json.loads((folder / CONFIG_FILE).read_text())
            origin = values.get("origin")
            return cls(
                registry.from_stored(values["model"]),
                from_dict(TrainingConfig, {**BEFORE, **values["training"]}),
                str(values["preset"]),
                None if origin is None else Origin.of_json(origin),
            )
        except KeyError as error:
            raise RunError(f"{folder}: {CONFIG_FILE} has no entry {error}") from error
        except ConfigError as error:
            raise RunError(f"{folder}: {CONFIG_FILE} cannot be used here: {error}") from error
        except (OSError, AttributeError, RecursionError, TypeError, ValueError) as error:
            raise RunError(f"{folder}: holds no training run ({error})") from error


def environment(config: TrainingConfig) -> dict[str, Any]:
    """Versions of what computes, the revision of this package's checkout, and the devices."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "revision": _revision(),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "hosts": jax.process_count(),
        "transforms": jnp.dtype(compute_dtype(config)).name,
    }


def _version(package: str) -> str | None:
    """None for a package that another one stands in for, such as pillow-simd for pillow."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The git commit that this package's files belong to, "+" behind it if they were changed."""
    package = str(Path(__file__).parent)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", package, *words], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # An installed package may lie inside another project's checkout.
        if not git("ls-files", "--", __file__):
            return None
        changes = git("status", "--porcelain", "--untracked-files=no", "--", package)
        return git("rev-parse", "HEAD") + ("+" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return None


def check(folder: Path, run: Run, resume: bool) -> None:
    """Raises `RunError` if the folder holds another run, or one that is not to be resumed."""
    described = folder / CONFIG_FILE
    require_name(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: a run needs a folder, and this is a file")
    if resume:
        if not described.exists():
            raise RunError(f"{folder}: there is no run to resume")
        held = Run.load(folder)
        _require_same(folder, held, run)
        _require_possible_length(folder, held, run)
        return
    if described.exists():
        raise RunError(f"{folder}: there is a run already; continue it with --resume")
    for name in (checkpoints.LAST, checkpoints.BEST, run_log.LOG_FILE):
        if (folder / name).exists():
            raise RunError(f"{folder}: holds {name} of a run without its {CONFIG_FILE}")


def require_name(folder: Path) -> None:
    """Raises `RunError` for a folder whose path lets no checkpoint be read back."""
    if complaint := checkpoints.objection(folder):
        raise RunError(complaint)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While it lasts, no other process may train in the folder, which is made if need be.

    Raises `RunError` when one does. Systems other than POSIX have no such locks, and take none. Nor
    have some file systems, of which `LockWarning` tells.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    with open(folder / LOCK_FILE, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"{folder}: another process is training this run") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise RunError(f"{folder}: cannot be locked ({error.strerror})") from error
            warnings.warn(
                f"{folder}: this file system has no locks ({error.strerror}); nothing keeps "
                "another process from training the same run",
                LockWarning,
                stacklevel=3,
            )
        yield


def claim(folder: Path, run: Run) -> None:
    """Puts the description of the run into its folder. Raises `RunError` if there is one."""
    check(folder, run, resume=False)
    _describe(folder, run)


def with_held_length(folder: Path, config: TrainingConfig) -> TrainingConfig:
    """The configuration with stages as long as those of the folder's run, if it has one."""
    if not (folder / CONFIG_FILE).exists():
        return config
    held = Run.load(folder).training
    minutes = config.minutes or held.minutes
    return dataclasses.replace(lengthening.with_length_of(config, held), minutes=minutes)


def keep_length(folder: Path, config: TrainingConfig) -> None:
    """Lets the description of the folder's run say how long it is now."""
    held = Run.load(folder)
    if held.training != config:
        held = dataclasses.replace(held, training=config)
        _describe(folder, held)


def _describe(folder: Path, run: Run) -> None:
    files.replace(folder / CONFIG_FILE, lambda file: file.write(run.to_json().encode()))


def require_shared(folder: Path) -> None:
    """Raises `RunError` on every host unless all of them see the same folder.

    The first one leaves a file there, which the others look for. The file is gone afterwards, and
    so are folders that were made for it.
    """
    if jax.process_count() == 1:
        return
    name = f".hosts-{multihost.gather_texts('name of a file', secrets.token_hex(8))[0]}"
    made: list[Path] = []
    try:
        with multihost.raise_on_all_hosts("the file is written"):
            if multihost.is_first():
                made += _missing(folder)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).touch()
        found = "" if _appears(folder, name) else socket.gethostname()
        lacking = multihost.gather_texts("the file was looked for", found)
    finally:
        if multihost.is_first():
            with contextlib.suppress(OSError):
                (folder / name).unlink()
                for new in made:
                    new.rmdir()
    if any(lacking):
        blind = ", ".join(f"host {n} ({host})" for n, host in enumerate(lacking) if host)
        raise RunError(
            f"{folder}: the hosts of a run must share its folder, but a file that host 0 has "
            f"written there did not appear within {SHARING_PATIENCE_S:g} seconds on {blind}"
        )


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _appears(folder: Path, name: str) -> bool:
    """Whether a file is there, or comes to be soon."""
    deadline = time.monotonic() + SHARING_PATIENCE_S
    while True:
        # The folder is listed: that a file is not there would be remembered for a while.
        with contextlib.suppress(OSError):
            if name in os.listdir(folder):
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)


def _require_same(folder: Path, held: Run, run: Run) -> None:
    if held.origin is None:
        raise RunError(f"{folder}: does not say which images it had; it can only be exported")
    # First, since the number of images makes the length of a run in epochs.
    for purpose, name in (("training", "pictures"), ("validation", "validation_pictures")):
        before, now = getattr(held.origin, name), getattr(run.origin, name)
        if before != now:
            raise RunError(
                f"{folder}: the {purpose} images are not those that the run began with: "
                f"{before.count} then, {now.count} now, and their names below the folders, their "
                "sizes and their order must be the same"
            )
    # The preset is only a name: what it stands for is in the model.
    alike = dataclasses.replace(
        run,
        preset=held.preset,
        origin=held.origin,
        training=lengthening.with_length_of(run.training, held.training),
    )
    if held != alike:
        raise RunError(
            f"{folder}: holds a run with another configuration ({_differences(held, alike)}); "
            "resume it unchanged"
        )


def _require_possible_length(folder: Path, held: Run, run: Run) -> None:
    if held.training == run.training:
        return
    done = checkpoints.newest_step(folder) or 0
    if complaint := lengthening.objection(held.training, run.training, done):
        raise RunError(f"{folder}: {complaint}")


def _differences(held: Run, run: Run) -> str:
    """Which fields differ, and how."""
    parts: list[tuple[str, Any, Any]] = []
    for before, now in ((held.model, run.model), (held.training, run.training)):
        parts += [
            (field.name, getattr(before, field.name), getattr(now, field.name))
            for field in dataclasses.fields(before)
        ]
    return ", ".join(f"{name}: {old} then, {new} now" for name, old, new in parts if old != new)

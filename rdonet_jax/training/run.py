"""A training run: how it is set up or continued, and the export of its weights.

A run's folder holds `config.json` (`run_dir`), `log.jsonl` and `tensorboard/` (`monitor`),
`checkpoints/` and `best/` (`checkpoints`), `exported.txt` if weights are exported while it runs
(`exports`), and `diverged-STEP/` if the loss stopped being finite (`divergence`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rdonet_jax.core.config import ConfigError
from rdonet_jax.imaging import dataset
from rdonet_jax.models import registry, zoo
from rdonet_jax.runtime import multihost
from rdonet_jax.training import schedule_tracker, sharding
from rdonet_jax.training.batches import crops as training_crops
from rdonet_jax.training.batches import input_pipeline
from rdonet_jax.training.config import STARTS, RunLength, TrainingConfig
from rdonet_jax.training.folder import exports, run_dir, run_log, working_folder
from rdonet_jax.training.folder.checkpoints import CheckpointError, Checkpoints, Progress
from rdonet_jax.training.folder.exports import Exports
from rdonet_jax.training.folder.run_dir import Origin, Run, RunError
from rdonet_jax.training.folder.working_folder import WorkingFolder
from rdonet_jax.training.loop import Intervals, Loop, LoopSetup, Outcome
from rdonet_jax.training.steps import train_state

AUTO = "auto"
"""Resumes a run if there is one, and else begins it."""

MOST_NAMED = 3
"""A message names as many broken images at most."""

HELD_OUT = 20
"""Without validation images, one training image in so many is held out for it."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Folders of images, or URLs; without any for validation, some images are held out.

    One folder alone may be given as it is.
    """

    training: dataset.Folders
    validation: dataset.Folders = ()

    def __post_init__(self) -> None:
        for name in ("training", "validation"):
            object.__setattr__(self, name, tuple(dataset.listed(getattr(self, name))))

    def local(self) -> Sources:
        """The same with local copies of folders at URLs, but not of shards. Raises `UrlError`."""
        return Sources(
            dataset.local(dataset.listed(self.training)),
            dataset.local(dataset.listed(self.validation)),
        )


def split_images(
    sources: Sources, crop: int, cache_bytes: int
) -> tuple[dataset.ImageDataset, dataset.ImageDataset]:
    """Images for training, decoded ones kept up to `cache_bytes`, and for validation.

    Raises `RunError` when there are too few to hold one out, and `DatasetError`.
    """
    paths: Sequence[dataset.ImageFile] = dataset.find(sources.training)
    held_out: Sequence[dataset.ImageFile]
    if sources.validation:
        held_out = dataset.find(sources.validation)
    else:
        paths = dataset.usable(paths, crop).paths
        held_out = paths[::HELD_OUT]
        if len(paths) < 2:
            raise RunError("one image cannot be for training and validation both; add --valid")
    # Folders for validation may lie inside those for training.
    validating = {path.resolve() for path in held_out}
    paths = [path for path in paths if path.resolve() not in validating]
    if not paths:
        raise RunError("all training images are validation images as well")
    return (
        dataset.usable(paths, crop, cache_bytes=cache_bytes),
        dataset.usable(held_out, crop, "validation"),
    )


def train(
    folder: str | Path,
    run: Run,
    sources: Sources,
    resume: bool | str = False,
    intervals: Intervals | None = None,
    length: RunLength | None = None,
    command: str = "",
    export_to: str | Path | None = None,
    began: float | None = None,
    now: schedule_tracker.Now = time.monotonic,
) -> Outcome:
    """Runs the schedule to its end, or until SIGTERM or Ctrl-C, when it leaves a checkpoint.

    `folder` is that of the run, or a URL. `command` is what started the run, for its record.
    `export_to` is a folder or URL for what is exported every few minutes, by default one below the
    run's. The minutes of a run by the clock count from `began` on the clock `now`, by default from
    this call on. `resume` goes on with the run of the folder, and `AUTO` does so if there is one. A
    run that was killed before its first checkpoint is started afresh by it; one that is finished is
    left as it is, and can have no `more_minutes`. A `length` that differs from that of the run to
    resume is possible as `lengthening` has it.

    Raises `RunError`, `ConfigError`, `DatasetError`, `UrlError` or `ZooError` before anything is
    written when it cannot start, and `DivergenceError` when the loss stops being finite; no such
    state becomes a checkpoint.
    """
    training_crops.require_reader()
    began = now() if began is None else began
    request = _Request(
        run, sources, resume, intervals or Intervals(), length or RunLength(), command, began, now
    )
    with contextlib.ExitStack() as stack:
        working = stack.enter_context(working_folder.open_run(folder))
        exported = export_to or working.folder / exports.FOLDER
        weights = stack.enter_context(working_folder.open_output(exported))
        return _train(working.with_failures_of(weights), weights.folder, request)


class _Request(NamedTuple):
    """What `train` was asked for, by its names, and the clock."""

    run: Run
    sources: Sources
    resume: bool | str
    intervals: Intervals
    length: RunLength
    command: str
    began: float
    now: schedule_tracker.Now


class _Prepared(NamedTuple):
    """A run that all hosts agree on, and of which nothing is written yet."""

    run: Run  # its configuration with the length and its origin
    resume: bool
    images: dataset.ImageDataset  # those for training
    crops: np.ndarray  # those for validation
    start: train_state.TrainState | None  # None when it is resumed


def _train(working: WorkingFolder, weights: Path, request: _Request) -> Outcome:
    """As `train`, in a local folder; `weights` is that of what is exported every few minutes."""
    folder, now, length = working.folder, request.now, request.length
    run, resume, images, crops, start = _prepare(working, weights, request)
    config = run.training
    # The checkpoints inside: a signal must not cut the last write short.
    with (
        _claimed(folder, run, resume),
        multihost.stop_requests() as stop_request,
        Checkpoints(folder, shared=working.shared) as checkpoints,
    ):
        since = now()
        state, progress = _first_state(folder, run, images, checkpoints, start)
        working.publish()  # a log must not be there without a checkpoint
        if _is_finished(folder, config, length, progress):
            return Outcome(state, "", was_finished=True, by_clock=bool(config.minutes))
        tracker = schedule_tracker.of_run(
            config, length, progress, request.began, now, now() - since
        )
        with Exports(weights, folder, run, request.intervals.export, now) as written:
            setup = LoopSetup(
                folder=folder,
                network_config=run.model,
                config=config,
                intervals=request.intervals,
                images=images,
                crops=crops,
                checkpoints=checkpoints,
                tracker=tracker,
                exports=written,
                shared=working.shared,
            )
            return Loop(setup).run(
                state, progress, resume, working.with_failure_checks(stop_request)
            )


def _prepare(working: WorkingFolder, weights: Path, request: _Request) -> _Prepared:
    """Looks at images and folder on every host. Raises what `train` raises when it cannot start."""
    folder, sources, intervals = working.folder, request.sources, request.intervals
    if working.shared:
        run_dir.require_shared(folder)
    resume = _is_resumed(folder, request.resume)
    # Processes of one machine share its memory.
    budget = dataset.default_cache_bytes() // multihost.processes_here()
    asked = request.run.training
    with multihost.raise_on_all_hosts("every host has its images"):
        local = sources.local()
        images, held_out = split_images(local, asked.crop, budget)
        config = _with_length(folder, asked, request.length, len(images.paths), resume)
        schedule_tracker.require_minutes_possible(config, request.length, resume)
        sharding.require_divisible(config)
        origin = _origin(config, sources, local, images, held_out, request.command, resume)
        run = dataclasses.replace(request.run, training=config, origin=origin)
    _require_equal_hosts(run, intervals, resume)
    with multihost.raise_on_all_hosts("every host has looked at the folder"):
        run_dir.check(folder, run, resume)
        if intervals.export:
            exports.require_writable(weights)
        crops = training_crops.center_crops(held_out, config.crop)
        start = None if resume else train_state.create_state(run.model, config)
    _require_equal_crops(crops, held_out)
    return _Prepared(run, resume, images, crops, start)


def _is_resumed(folder: Path, asked: bool | str) -> bool:
    """Whether the run of the folder is to be resumed. `AUTO`: if the first host sees one."""
    if asked != AUTO:
        return bool(asked)
    is_there = str((folder / run_dir.CONFIG_FILE).exists())
    return multihost.gather_texts("whether there is a run", is_there)[0] == str(True)


def _with_length(
    folder: Path, config: TrainingConfig, length: RunLength, count: int, resume: bool
) -> TrainingConfig:
    """The configuration with the length that is asked for, for so many training images."""
    if resume and length.as_before:
        return run_dir.with_held_length(folder, config)
    return length.applied(config, count)


def _origin(
    config: TrainingConfig,
    sources: Sources,
    local: Sources,
    images: dataset.ImageDataset,
    held_out: dataset.ImageDataset,
    command: str,
    resume: bool,
) -> Origin:
    return Origin(
        command=command,
        folders=tuple(map(str, dataset.listed(sources.training))),
        validation_folders=tuple(map(str, dataset.listed(sources.validation))),
        pictures=dataset.fingerprint(images, dataset.listed(local.training)),
        validation_pictures=dataset.fingerprint(
            held_out, dataset.listed(local.validation or local.training)
        ),
        started_from=None if resume else _record_of_start(config),
        environment=run_dir.environment(config),
    )


def _record_of_start(config: TrainingConfig) -> Mapping[str, Any] | None:
    """The record of the weights that a run goes on from, which may be gone when it ends."""
    return None if config.start in STARTS else zoo.load(config.start).record.stored


def _require_equal_hosts(run: Run, intervals: Intervals, resume: bool) -> None:
    described = dataclasses.replace(run, origin=None).to_json()
    multihost.require_equal(f"{described} {intervals} {resume}", "configuration")
    multihost.require_equal(f"{run.origin.pictures} {run.origin.validation_pictures}", "images")


def _require_equal_crops(crops: np.ndarray, held_out: dataset.ImageDataset) -> None:
    """Raises `ConfigError` on every host unless all have the same crops for validation.

    Otherwise they would compute different numbers of batches, and wait for each other for ever.
    """
    broken = {str(held_out.paths[n]): n for n in held_out.passed_over}
    found = multihost.gather_json("validation crops", [zlib.crc32(crops.tobytes()), broken])
    if all(checksum == found[0][0] for checksum, _ in found):
        return
    everywhere = set.intersection(*(set(broken.values()) for _, broken in found))
    passed_over = [
        f"host {host} has passed over {path}"
        for host, (_, broken) in enumerate(found)
        for path, number in broken.items()
        if number not in everywhere
    ]
    sentence = "the hosts of this run differ in their validation crops"
    raise ConfigError("; ".join([sentence, *passed_over[:MOST_NAMED]]))


@contextlib.contextmanager
def _claimed(folder: Path, run: Run, resume: bool) -> Iterator[None]:
    """The folder of a run, locked and described by the first host before any other goes on.

    What the first host cannot do is an error on all of them, as `multihost.raise_on_all_hosts` has
    it: `RunError` or OSError on the first, `ConfigError` on the others.
    """
    with contextlib.ExitStack() as stack:
        with multihost.raise_on_all_hosts("the folder is claimed"):
            if multihost.is_first():
                stack.enter_context(run_dir.locked(folder))
                if resume:
                    run_dir.keep_length(folder, run.training)
                else:
                    run_dir.claim(folder, run)
        yield


def _is_finished(
    folder: Path, config: TrainingConfig, length: RunLength, progress: Progress
) -> bool:
    """Whether nothing of the schedule is left. Raises `RunError` if it should have more minutes."""
    is_finished = schedule_tracker.is_finished(config, progress)
    if is_finished and length.more_minutes is not None:
        raise RunError(
            f"{folder}: the run is finished, and more_minutes are for what is left of a schedule; "
            "export its weights and begin a new run with --start"
        )
    return is_finished


def _first_state(
    folder: Path,
    run: Run,
    images: dataset.ImageDataset,
    checkpoints: Checkpoints,
    start: train_state.TrainState | None,
) -> tuple[train_state.TrainState, Progress]:
    """The newest checkpoint; if there is none, the start, which becomes one at once."""
    if checkpoints.latest_step() is not None:
        return checkpoints.restore(run.model, run.training)
    if (folder / run_log.LOG_FILE).exists():
        raise RunError(f"{folder}: has a log, but no checkpoint to resume from")
    if start is None:
        start = train_state.create_state(run.model, run.training)
    position = input_pipeline.first_position(images, run.training)
    progress = Progress(step=0, switched_at=None, reader=position)
    checkpoints.save(start, progress)
    checkpoints.wait()
    return start, progress


def export(
    folder: str | Path,
    name: str,
    destination: str | Path,
    thresholds: Sequence[float] | None = None,
    best: bool = False,
    pack: bool = False,
) -> str | Path:
    """Writes the averaged weights of a run's newest checkpoint, or its best, as one weights file.

    `folder` and `destination` may be URLs. The file is named NAME-HASH.safetensors, and its record
    says how it was trained and on what. `thresholds` of the variance mask take the place of those
    of the training; only encoders use them; `pack` makes a file of less than half the size, see
    `zoo.save`. Raises `ZooError` for an invalid name, `RunError` when there is no run or no
    checkpoint, and `UrlError`.
    """
    zoo.require_name(name)
    with working_folder.fetch_run(folder) as local:
        run = Run.load(local)
        try:
            with Checkpoints(local, read_only=True) as checkpoints:
                state, progress = checkpoints.restore(run.model, run.training, best)
        except CheckpointError as error:
            raise RunError(str(error)) from error
        record = exports.record(local, run, state.ema, progress.step)
    network_config = run.model
    if thresholds:
        network_config = registry.with_thresholds(network_config, thresholds)
    return zoo.save(destination, name, network_config, state.ema, record.stored, pack)

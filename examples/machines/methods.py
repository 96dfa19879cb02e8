"""Ways to code a scene: real files, each with what its decoder gives.

Every way has a setting that varies its rate. Those of the learned codec have the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

import rdonet_jax
from examples.machines import saliency, tuning
from examples.machines.detector import Detector
from examples.machines.scenes import Scene
from examples.machines.tuning import TaskDistortion
from rdonet_jax.codec import codec
from rdonet_jax.core.partition import Partition
from rdonet_jax.evaluation import anchors
from rdonet_jax.models.zoo import Model


class Coded(NamedTuple):
    """The bytes of a file, and the image uint8 [H, W, 3] that it decodes to."""

    size: int
    decoded: np.ndarray


@dataclasses.dataclass(frozen=True)
class Coder:
    """What coding takes besides the scene.

    Attributes:
      model, path: a portable model, and its name or file.
      task: the distortion of the detector, for refinements.
      iterations: of a refinement.
    """

    model: Model
    path: str
    detector: Detector
    task: TaskDistortion
    iterations: int


class Subject(NamedTuple):
    """A scene and what its encoder knows about it: gains by block, of both kinds."""

    scene: Scene
    candidates: np.ndarray
    gradient: np.ndarray


class Method(NamedTuple):
    """A way to code, and its settings by rising rate."""

    label: str
    code: Callable[[Coder, Subject, float], Coded]
    settings: Sequence[float]


def subject(coder: Coder, scene: Scene) -> Subject:
    """Looks at a scene with the detector."""
    candidates = saliency.by_candidates(coder.detector, scene.pixels)
    gradient = saliency.by_gradient(coder.detector, coder.model, coder.path, scene.pixels)
    return Subject(scene, candidates, gradient)


def _jpeg(coder: Coder, subject: Subject, setting: float) -> Coded:
    found = anchors.code(anchors.require("jpeg"), subject.scene.pixels, int(setting))
    return Coded(found.size, found.decoded)


def _plain(coder: Coder, subject: Subject, setting: float) -> Coded:
    return _decoded(coder, rdonet_jax.compress(subject.scene.pixels, setting, model=coder.path))


def _levels(coder: Coder, subject: Subject, setting: float) -> Coded:
    """The masks alone: blocks without a candidate at the coarsest level."""
    pixels = subject.scene.pixels
    p = codec.choose_partition(coder.model, pixels, "variance", setting)
    inside = subject.candidates == 0
    p = Partition(p.split64 & inside, p.split32 & inside.repeat(2, 0).repeat(2, 1))
    return _decoded(coder, rdonet_jax.compress(pixels, setting, model=coder.path, init=p))


def _candidates(coder: Coder, subject: Subject, setting: float) -> Coded:
    return _with_gains(coder, subject, setting, subject.candidates)


def _gradient(coder: Coder, subject: Subject, setting: float) -> Coded:
    return _with_gains(coder, subject, setting, subject.gradient)


def _refined(coder: Coder, subject: Subject, setting: float) -> Coded:
    pixels, gains = subject.scene.pixels, subject.gradient
    data = tuning.refined(coder.task, coder.model, pixels, setting, gains, coder.iterations)
    return _decoded(coder, data)


def _with_gains(coder: Coder, subject: Subject, setting: float, gains: np.ndarray) -> Coded:
    pixels = subject.scene.pixels
    mask = saliency.mask_of(gains, pixels.shape[:2])
    return _decoded(coder, rdonet_jax.compress(pixels, setting, model=coder.path, roi=mask))


def _decoded(coder: Coder, data: bytes) -> Coded:
    return Coded(len(data), rdonet_jax.decompress(data, model=coder.path))


METHODS: Mapping[str, Method] = {
    "jpeg": Method("JPEG 4:2:0", _jpeg, (6, 10, 20, 35, 55, 80)),
    "plain": Method("without regions", _plain, (5, 20, 35, 50, 65, 80)),
    "levels": Method("levels by candidates", _levels, (35, 55, 75, 100)),
    "candidates": Method("regions by candidates", _candidates, (5, 20, 35, 50, 65, 80)),
    "gradient": Method("regions by gradient", _gradient, (35, 50, 65, 80, 95)),
    "refined": Method("and refined for the task", _refined, (35, 50, 65)),
}
"""By name."""

DEFAULT_METHODS = ("jpeg", "plain", "levels", "candidates", "gradient")

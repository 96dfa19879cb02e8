"""How well a detector reads: average precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.machines.detector import Detection
from examples.machines.scenes import Digit


def average_precision(
    found: Sequence[Sequence[Detection]], truth: Sequence[Sequence[Digit]]
) -> float:
    """The average precision over the detections of all images, 0 to 1.

    A detection is right if it names a digit whose center is nearer than half of its height, and
    that no surer detection has named. The precision is that of all detections at least as sure,
    interpolated, as in PASCAL VOC.
    """
    order = sorted(
        ((detection, image) for image, of_image in enumerate(found) for detection in of_image),
        key=lambda pair: -pair[0].score,
    )
    left = [list(digits) for digits in truth]
    right = np.zeros(len(order))
    for number, (detection, image) in enumerate(order):
        for digit in left[image]:
            distance = np.hypot(detection.row - digit.row, detection.column - digit.column)
            if detection.value == digit.value and distance < digit.height / 2:
                left[image].remove(digit)
                right[number] = 1
                break
    precision = np.cumsum(right) / np.arange(1, len(order) + 1)
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    return float((interpolated * right).sum() / max(1, sum(map(len, truth))))

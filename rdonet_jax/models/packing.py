"""Packed kernels in weights files: quantized per output channel and deflated.

A float kernel is quantized with so many steps per root mean square of each of its output channels.
The kernel of an integer layer is stored as its integers. The integers are folded (0, -1, 1, -2, ...
become 0, 1, 2, 3, ...) and split into low and high bytes. Deflate then gets within a few percent of
their entropy.

A file holds the kernel at PATH as PATH/steps (float16, one or one per output channel), PATH/shape
(int32) and PATH/folded (uint8). The kernel is integers times steps, in float32.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

PER_DEVIATION = 64
"""Default number of steps per root mean square."""

MIN_STEP = 2.0**-20
"""The step of a channel of zeros; it is exact in half precision."""

MOST_STEPS = 2**15 - 1
"""The largest integer. Integer layers clip at less, and a float kernel would need a weight of
hundreds of root mean squares, as only channels of 100,000 weights can have."""

MIN_SIZE = 4096
"""Smaller arrays are not packed."""

PARTS = ("steps", "shape", "folded")


def is_packable(path: str, values: np.ndarray) -> bool:
    """Whether an array is packed: a large kernel."""
    return path.endswith("kernel") and values.size >= MIN_SIZE


def steps(kernel: np.ndarray, per_deviation: float = PER_DEVIATION) -> np.ndarray:
    """The quantizer step of each output channel of a kernel [..., output channels]."""
    power = np.mean(np.square(kernel, dtype=np.float64), axis=tuple(range(kernel.ndim - 1)))
    return np.maximum(np.sqrt(power) / per_deviation, MIN_STEP)


def pack(path: str, kernel: np.ndarray, steps: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors of a float32 kernel [..., output channels]; one step or one per channel."""
    steps = steps.astype(np.float16)
    numbers = np.rint(kernel / steps.astype(np.float32)).clip(-MOST_STEPS, MOST_STEPS)
    numbers = numbers.astype(np.int32).ravel()
    folded = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype("<u2")
    content = b"".join(_deflate(part) for part in (folded & 255, folded >> 8))
    shape, stored = np.array(kernel.shape, np.int32), np.frombuffer(content, np.uint8)
    parts: tuple[np.ndarray, ...] = (steps, shape, stored)
    return {f"{path}/{name}": part for name, part in zip(PARTS, parts, strict=True)}


def kernel_path(key: str) -> str | None:
    """The path of the packed kernel that a tensor belongs to; None if it belongs to none."""
    path, _, part = key.rpartition("/")
    return path if path and part in PARTS else None


def unpack(flat: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a file, with all packed kernels as float32 arrays.

    Raises `ValueError` for a kernel whose parts are missing or do not fit.
    """
    result = {key: values for key, values in flat.items() if kernel_path(key) is None}
    for path in sorted({path for key in flat if (path := kernel_path(key)) is not None}):
        steps, shape, folded = (flat.get(f"{path}/{part}") for part in PARTS)
        if steps is None or shape is None or folded is None:
            raise ValueError(f"{path} is not whole")
        result[path] = _unpack_kernel(path, steps, shape, folded)
    return result


def _unpack_kernel(
    path: str, steps: np.ndarray, shape: np.ndarray, folded: np.ndarray
) -> np.ndarray:
    sides = tuple(int(side) for side in shape.ravel())
    if not sides or min(sides) < 1 or steps.shape not in ((1,), sides[-1:]):
        raise ValueError(f"{path} cannot be {list(sides)} with {steps.size} steps")
    count = math.prod(sides)
    low, rest = _inflate(path, folded.tobytes(), count)
    high, rest = _inflate(path, rest, count)
    if rest:
        raise ValueError(f"{path} has bytes left over")
    # In 16 bits, since weights are unpacked whenever a command starts.
    codes = np.stack([low, high], axis=-1).view("<u2")[:, 0]
    numbers = (codes >> 1).astype(np.int16) ^ -(codes & 1).astype(np.int16)
    kernel = numbers.astype(np.float32).reshape(sides)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks that all is finite
        kernel *= steps.astype(np.float32)
    return kernel


def _deflate(values: np.ndarray) -> bytes:
    """The shorter of deflate with Huffman codes alone, and with repetitions (for many zeros)."""
    data = values.astype(np.uint8).tobytes()
    candidates = []
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY):
        compressor = zlib.compressobj(9, memLevel=9, strategy=strategy)
        candidates.append(compressor.compress(data) + compressor.flush())
    return min(candidates, key=len)


def _inflate(path: str, content: bytes, count: int) -> tuple[np.ndarray, bytes]:
    """Inflates `count` bytes; returns them and the rest of the content."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(content, count + 1)
    except zlib.error as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if len(data) != count or not stream.eof:
        raise ValueError(f"{path} does not hold {count} numbers")
    return np.frombuffer(data, np.uint8), stream.unused_data

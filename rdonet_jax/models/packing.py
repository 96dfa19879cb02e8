"""Kernels in few bytes: integers of a step of their own per output channel, deflated.

A float kernel is rounded to so many steps per root mean square of each of its output channels. One
of the exact networks is integers already, and is kept as they are. The integers are folded (0, -1,
1, -2, ... become 0, 1, 2, 3, ...) and split into their low and their high bytes, which deflate
packs to within a few percent of their entropy.

Of a kernel at PATH, a file holds PATH/steps (float16, one per output channel, or one for all),
PATH/shape (int32) and PATH/folded (uint8). The kernel is integers times steps, in float32.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

PER_DEVIATION = 64
"""Steps per root mean square, where nothing is known of a kernel."""

MIN_STEP = 2.0**-20
"""Of a channel that is all zeros; half precision holds it."""

MIN_SIZE = 4096
"""Smaller arrays are not worth it."""

PARTS = ("steps", "shape", "folded")


def is_packable(path: str, values: np.ndarray) -> bool:
    """Whether an array is to be pack: a large kernel."""
    return path.endswith("kernel") and values.size >= MIN_SIZE


def steps(kernel: np.ndarray, per_deviation: float = PER_DEVIATION) -> np.ndarray:
    """Of each output channel of a kernel [..., output channels]."""
    power = np.mean(np.square(kernel, dtype=np.float64), axis=tuple(range(kernel.ndim - 1)))
    return np.maximum(np.sqrt(power) / per_deviation, MIN_STEP)


def pack(path: str, kernel: np.ndarray, steps: np.ndarray) -> dict[str, np.ndarray]:
    """The three tensors of a kernel [..., output channels], float32, in one step or one each."""
    steps = steps.astype(np.float16)
    numbers = np.rint(kernel / steps.astype(np.float32)).astype(np.int32).ravel()
    folded = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype("<u2")
    content = b"".join(_deflate(part) for part in (folded & 255, folded >> 8))
    parts = steps, np.array(kernel.shape, np.int32), np.frombuffer(content, np.uint8)
    return {f"{path}/{name}": part for name, part in zip(PARTS, parts, strict=True)}


def kernel_path(key: str) -> str | None:
    """The path of the kernel that a tensor of a file is a part of; None if it is no such part."""
    path, _, part = key.rpartition("/")
    return path if path and part in PARTS else None


def unpack(flat: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of a file with all pack kernels as float32 arrays.

    Raises `ValueError` for parts that do not belong together.
    """
    result = {key: values for key, values in flat.items() if kernel_path(key) is None}
    for path in sorted({*map(kernel_path, flat)} - {None}):
        steps, shape, folded = (flat.get(f"{path}/{part}") for part in PARTS)
        if steps is None or shape is None or folded is None:
            raise ValueError(f"{path} is not whole")
        result[path] = _unpack_kernel(path, steps, shape, folded)
    return result


def _unpack_kernel(path: str, steps: np.ndarray, shape: np.ndarray, folded: np.ndarray) -> np.ndarray:
    sides = tuple(int(side) for side in shape.ravel())
    if not sides or min(sides) < 1 or steps.shape not in ((1,), sides[-1:]):
        raise ValueError(f"{path} cannot be {list(sides)} with {steps.size} steps")
    count = math.prod(sides)
    low, rest = _inflate(path, folded.tobytes(), count)
    high, rest = _inflate(path, rest, count)
    if rest:
        raise ValueError(f"{path} has bytes left over")
    numbers = (low.astype(np.int32) | high.astype(np.int32) << 8).reshape(sides)
    numbers = np.where(numbers & 1, -(numbers >> 1) - 1, numbers >> 1)
    with np.errstate(over="ignore", invalid="ignore"):  # whether they are finite is to be checked
        return numbers.astype(np.float32) * steps.astype(np.float32)


def _deflate(values: np.ndarray) -> bytes:
    """By Huffman codes alone, or with repetitions where most values are zero."""
    plain = values.astype(np.uint8).tobytes()
    tries = []
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_DEFAULT_STRATEGY):
        squeezer = zlib.compressobj(9, memLevel=9, strategy=strategy)
        tries.append(squeezer.compress(plain) + squeezer.flush())
    return min(tries, key=len)


def _inflate(path: str, content: bytes, count: int) -> tuple[np.ndarray, bytes]:
    """So many bytes, and what comes behind them."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(content, count + 1)
    except zlib.error as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if len(plain) != count or not stream.eof:
        raise ValueError(f"{path} does not hold {count} numbers")
    return np.frombuffer(plain, np.uint8), stream.unused_data

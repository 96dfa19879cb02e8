"""Perceptual metrics of decoded images, by other packages and programs.

Functions of the original and the decoded image, both uint8 [H, W, 3] in sRGB. They give None for
images that are too small for the metric. `libraries` imports what they need, at the first use.
`quality` registers them. This module loads no JAX.
"""

from __future__ import annotations

import functools
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rdonet_jax.core import decibels
from rdonet_jax.metrics.libraries import MissingMetricError, Package, Program, load
from rdonet_jax.runtime import interrupts

SSIMULACRA2 = Package("ssimulacra2", "ssimulacra2", "metrics")
PSNR_HVS_M = Package("psnr-hvsm", "psnr_hvsm", "metrics")
PIQ = Package("piq", "piq", "metrics-torch")
CVVDP = Package("cvvdp", "pycvvdp", "metrics-torch")
BUTTERAUGLI = Program("butteraugli_main", "Debian's package libjxl-devtools")

BLOCK = 8
"""The shortest side for SSIMULACRA2, PSNR-HVS-M and Butteraugli."""

SMALLEST_FOR_VGG = 32
"""The shortest side for metrics on features of VGG16, which halves an image four times."""

INTENSITY = 80
"""The brightness of white that Butteraugli supposes, in candela per square meter."""

DISPLAY = "standard_4k"
"""The display that ColorVideoVDP supposes: 30 inches, 3840x2160, seen from 0.75 m, 200 cd/m²."""

_SHOWN = 80
"""The most characters of a program's output that a message shows."""

_SCALES = 6

_BLUR = (
    0.2646211054882,
    0.2129285920104,
    0.1093353727775,
    0.0360111146584,
    0.0094143678097,
)
"""The filter of SSIMULACRA 2 from its middle on: a Gaussian of sigma 1.5 made of cosines."""


def ssimulacra2(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """SSIMULACRA 2.1, at most 100.

    The package's own function mirrors images beyond their left and right borders, where the
    reference implementation takes zeros. That is worth several units at low qualities. So the steps
    are those of the package, but the filter is that of the reference.
    """
    if min(original.shape[:2]) < BLOCK:
        return None
    package = load("ssimulacra2.ssimulacra2")
    linear = [package.srgb_to_linear(image) for image in (original, decoded)]
    similarity = package.Msssim()
    for scale in range(_SCALES):
        if min(linear[0].shape[:2]) < BLOCK:
            break
        if scale:
            linear = [package.downsample(image, 2, 2) for image in linear]
        similarity.scales.append(_one_scale(package, *linear))
    return float(similarity.score())


def _one_scale(package: Any, *linear: np.ndarray) -> Any:
    """The errors of a scale of SSIMULACRA 2, from linear RGB of both images."""
    # The package transposes images here, which changes nothing else.
    a, b = (package.make_positive_xyb(package.linear_rgb_to_xyb(image)) for image in linear)
    means = _blurred(a), _blurred(b)
    products = (_blurred(a * a), _blurred(b * b), _blurred(a * b))
    found = package.MsssimScale()
    found.avg_ssim = package.ssim_map(*means, *products)
    found.avg_edgediff = package.edge_diff_map(a, means[0], b, means[1])
    return found


def _blurred(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] filtered, with zeros beyond its borders."""
    from scipy import ndimage

    taps = (*_BLUR[:0:-1], *_BLUR)
    for axis in (0, 1):
        image = ndimage.convolve1d(image, taps, axis, mode="constant")
    return image


def psnr_hvs_m(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """PSNR-HVS-M in dB, of luma; infinite where no difference is visible.

    Rows and columns beyond the last whole block of 8x8 pixels do not count.
    """
    if min(original.shape[:2]) < BLOCK:
        return None
    package = load("psnr_hvsm")
    height, width = (side // BLOCK * BLOCK for side in original.shape[:2])
    lumas = (package.bt601ycbcr_np(image[:height, :width])[0] for image in (original, decoded))
    with np.errstate(divide="ignore", invalid="ignore"):  # of flat blocks, which it handles
        _, masked = package.hvs_hvsm_mse_np(*lumas)
    return decibels.psnr(float(masked))


def butteraugli(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """The Butteraugli distance: the largest over the image; 0 for equal images."""
    found = _butteraugli(original, decoded)
    return None if found is None else found[0]


def butteraugli_3norm(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """Butteraugli's mean of differences by the 3-norm, which is steadier than the largest."""
    found = _butteraugli(original, decoded)
    return None if found is None else found[1]


def _butteraugli(original: np.ndarray, decoded: np.ndarray) -> tuple[float, float] | None:
    """The largest distance and the 3-norm."""
    if min(original.shape[:2]) < BLOCK:
        return None
    return _butteraugli_of_files(_ppm(original), _ppm(decoded))


# Both metrics of an image are measured one after the other, so the program runs once for the two.
@functools.lru_cache(maxsize=1)
def _butteraugli_of_files(original: bytes, decoded: bytes) -> tuple[float, float]:
    """The largest distance and the 3-norm of the contents of two PPM files, by the program.

    Raises `MissingMetricError` if the program fails, or prints anything else.
    """
    with interrupts.temporary_folder() as folder:
        paths = [Path(folder) / name for name in ("a.ppm", "b.ppm")]
        for path, content in zip(paths, (original, decoded), strict=True):
            path.write_bytes(content)
        command = [BUTTERAUGLI.name, *map(str, paths), "--intensity_target", str(INTENSITY)]
        try:
            done = subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise MissingMetricError(f"butteraugli: {BUTTERAUGLI.name} failed: {error}") from error
    return _parsed(done.stdout.decode(errors="replace"))


def _parsed(printed: str) -> tuple[float, float]:
    """The numbers that Butteraugli prints: a line of the distance, and "3-norm: " and its value.

    Raises `MissingMetricError` for anything else.
    """
    try:
        distance, norm, *_ = printed.splitlines()
        return float(distance), float(norm.rpartition(" ")[2])
    except ValueError as error:
        raise MissingMetricError(
            f"butteraugli: {BUTTERAUGLI.name} printed {printed[:_SHOWN]!r}, not two distances"
        ) from error


def _ppm(image: np.ndarray) -> bytes:
    """The image uint8 [H, W, 3] as the content of a PPM file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "PPM")
    return file.getvalue()


def lpips(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """LPIPS on VGG16; 0 for equal images."""
    return _on_vgg("LPIPS", original, decoded)


def dists(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """DISTS; 0 for equal images."""
    return _on_vgg("DISTS", original, decoded)


def _on_vgg(name: str, original: np.ndarray, decoded: np.ndarray) -> float | None:
    if min(original.shape[:2]) < SMALLEST_FOR_VGG:
        return None
    torch = load("torch")
    with torch.no_grad():
        images = (_as_tensor(torch, image) for image in (decoded, original))
        return float(_network(name)(*images))


def _as_tensor(torch: Any, image: np.ndarray) -> Any:
    """An image uint8 [H, W, 3] as float32 [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.moveaxis(image, 2, 0)[None] / np.float32(255))


@functools.cache
def _network(name: str) -> Callable[[Any, Any], Any]:
    """A metric of piq. Its weights are fetched when it is first used on a machine."""
    try:
        return getattr(load("piq"), name)()
    except OSError as error:
        cause = getattr(error, "reason", error)
        raise MissingMetricError(f"{name}: its weights cannot be fetched: {cause}") from error


def color_video_vdp(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """ColorVideoVDP in JOD, at most 10."""
    if min(original.shape[:2]) < BLOCK:
        return None
    value, _ = _color_video_vdp().predict(decoded, original, dim_order="HWC")
    return float(value)


@functools.cache
def _color_video_vdp() -> Any:
    return load("pycvvdp").cvvdp(display_name=DISPLAY, quiet=True)

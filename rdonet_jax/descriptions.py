"""What compressed files and models are, in lines for people: `rdonet info` and `rdonet models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rdonet_jax import (
    attachments,
    bitstream,
    codec,
    coder,
    colour_profiles,
    objective,
    partition,
    tree_coding,
    zoo,
)
from rdonet_jax.bitstream import Header, Sections
from rdonet_jax.config import PortableConfig
from rdonet_jax.models import families
from rdonet_jax.zoo import Model


def of_file(data: bytes) -> list[str]:
    """About a compressed file; needs no weights.

    Raises `FormatError` for bytes that are none, and `ZooError` when the bundled models are not as
    they should be.
    """
    header, sections = bitstream.parse(data)
    p = tree_coding.read(header, sections)
    size = header.height, header.width
    pixels = header.height * header.width
    masks = zip(partition.level_masks(p), partition.inside_masks(*size), strict=True)
    blocks = [int((mask & inside).sum()) for mask, inside in masks]
    shares = partition.block_shares(p, *size)
    bound = f"bound to {header.platform}" if header.platform else "decodes everywhere"

    def row(name: str, count: int, *rest: str) -> str:
        return f"{name:<10}{count:>9}{8 * count / pixels:>9.4f}" + "".join(rest)

    version = bitstream.version_of(header, sections)
    lines = [
        f"{header.width}x{header.height} pixels, {len(data)} bytes, "
        f"{8 * len(data) / pixels:.4f} bpp",
        f"format version {version}, range coder {coder.NAMES[header.coder]}",
        *([_form_words(header, sections)] if version != bitstream.PLAIN_VERSION else []),
        f"{_model_words(header)}",
        f"{_quality_words(header)}{bound}",
        f"{'':<10}{'bytes':>9}{'bpp':>9}{'blocks':>9}{'area':>9}",
        row("container", len(data) - sum(map(len, sections))),
        row("partition", len(sections.partition)),
    ]
    for level in (2, 1, 0):
        stride, length = partition.STRIDES[level], len(getattr(sections, f"level{level}"))
        name = f"{stride}x{stride}"
        lines.append(row(name, length, f"{blocks[level]:>9}", f"{shares[level]:>9.1%}"))
    for name in bitstream.EXTRAS:
        if section := getattr(sections, name):
            lines.append(row(name, len(section)))
    return lines


def _form_words(header: Header, sections: Sections) -> str:
    """Mode and depth of the picture and what goes along with it."""
    words = [f"{'gray' if header.gray else 'RGB'} of {16 if header.deep else 8} bits"]
    if sections.alpha:
        words.append("alpha")
    if icc := attachments.metadata("colour profile", sections.icc):
        name = colour_profiles.name(icc)
        words.append(f"colour profile {name}" if name else "a colour profile without a name")
    if exif := attachments.metadata("EXIF data", sections.exif):
        words.append(f"{len(exif)} bytes of EXIF data")
    return ", ".join(words)


def _model_words(header: Header) -> str:
    """What the header says of the model."""
    path = zoo.find(header.weights)
    if path is None:
        return f"weights {header.weights.hex()}, which are not bundled"
    return f"model {zoo.name_and_hash(path)[0]} (weights {header.weights.hex()}), which is bundled"


def _quality_words(header: Header) -> str:
    """The quality that a file was written with, on the scale of the command line."""
    path = zoo.find(header.weights)
    if header.quality is None or path is None:
        return ""
    return f"quality {codec.quality_of(zoo.config_of(path), header.quality):.4g}, "


def of_model(model: Model) -> list[str]:
    """What a model is, and the record of its training."""
    millions = families.parameter_count(model.params) / 1e6
    lines = [f"hash {model.digest.hex()}, {millions:.2f} M parameters"]
    training = model.record.get("training")
    if training is None:
        return [*lines, "  its training is not on record"]
    side = training["crop"]
    lines.append(
        f"  trained for {_objective_words(model)}, {model.record['steps_done']} "
        f"steps of {training['batch_size']} crops of {side}x{side} pixels"
    )
    before = (model.record.get("origin") or {}).get("started_from")
    if before:
        lines.append(f"  after {before['steps_done']} steps of the weights that it went on from")
    if validation := model.record.get("validation"):
        lines.append(
            f"  validation: {validation['bpp']:.3f} bpp (estimate), {validation['psnr']:.2f} dB"
        )
    return lines


def _objective_words(model: Model) -> str:
    """The loss that a model was trained for."""
    training = model.record["training"]
    distortion = _distortion_words(training)
    if isinstance(model.config, PortableConfig):
        low, high = model.config.lmbdas
        return f"bpp + lambda * {distortion} with every lambda from {low:g} to {high:g}"
    return f"bpp + {training['lmbda']:g} * {distortion}"


def _distortion_words(training: Mapping[str, Any]) -> str:
    """The distortion of a training run, see `rdonet_jax.objective`."""
    if training["metric"] == "both":
        share = training["ms_ssim_share"]
        similarity = f"{share * objective.SIMILARITY_WEIGHT:.0f} * (1 - MS-SSIM)"
        return f"({1 - share:g} * 255^2 * MSE + {similarity})"
    return {"mse": "255^2 * MSE", "ms-ssim": "(1 - MS-SSIM)"}[training["metric"]]

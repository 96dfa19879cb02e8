"""Descriptions of compressed files and of models: `rdonet info` and `rdonet models`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rdonet_jax.codec import bitstream, offset_coding, partition_coding, side_data
from rdonet_jax.codec.bitstream import Header, Sections
from rdonet_jax.codec.compressed_file import CompressedFile
from rdonet_jax.codec.image_quality import ImageQuality, quality_of
from rdonet_jax.core import optional_packages, partition
from rdonet_jax.core.config import AnyConfig
from rdonet_jax.entropy import range_coder
from rdonet_jax.imaging.metadata import icc as imaging_icc
from rdonet_jax.models import registry, zoo
from rdonet_jax.models.training_record import RecordedTraining, TrainingRecord
from rdonet_jax.models.zoo import Model


def facts_of_file(file: CompressedFile) -> dict[str, Any]:
    """A description of a compressed file for programs; needs no weights.

    Raises `FormatError` for an invalid partition or invalid quality offsets, and `ZooError` when
    the bundled models are not as they should be.
    """
    header, sections = file.header, file.sections
    p = partition_coding.read(header, sections)
    size = header.height, header.width
    masks = zip(partition.level_masks(p), partition.inside_masks(*size), strict=True)
    path = zoo.find(header.weights)
    config = None if header.quality is None or path is None else zoo.config_of(path)
    offsets = offset_coding.read(header, sections)
    return {
        "width": header.width,
        "height": header.height,
        "bytes": file.byte_count,
        "bpp": file.bpp,
        "version": bitstream.version_of(header, sections),
        "coder": range_coder.NAMES[header.coder],
        "weights": header.weights.hex(),
        "model": None if path is None else zoo.name_and_hash(path)[0],
        "is_earlier": path in zoo.earlier().values(),
        "quality": None if config is None else quality_of(config, header.quality),
        "regions": None if offsets is None else _regions(header.quality, offsets, config),
        "platform": header.platform or None,
        "gray": header.gray,
        "bits": 16 if header.is_16bit else 8,
        "sections": {name: len(part) for name, part in sections._asdict().items()},
        "blocks": _by_stride(int((mask & inside).sum()) for mask, inside in masks),
        "area": _by_stride(map(float, partition.block_shares(p, *size))),
    }


def _regions(number: int | None, offsets: np.ndarray, config: AnyConfig | None) -> dict[str, Any]:
    """The qualities of the blocks of a file: 0 to 100, or unknown without its configuration."""
    counts = {
        name: int(np.count_nonzero(which))
        for name, which in (
            ("worse", offsets < 0),
            ("as_asked", offsets == 0),
            ("better", offsets > 0),
        )
    }
    if config is None:
        return {"least": None, "most": None, "blocks": counts}
    blocks = ImageQuality(config, number, offsets).blocks
    least, most = (quality_of(config, int(end)) for end in (blocks.min(), blocks.max()))
    return {"least": least, "most": most, "blocks": counts}


def _by_stride(values: Iterable[Any]) -> dict[str, Any]:
    return dict(zip(map(str, partition.STRIDES), values, strict=True))


def of_file(file: CompressedFile, facts: Mapping[str, Any]) -> list[str]:
    """A description of a compressed file for people, in lines, from its `facts_of_file`."""
    header, sections = file.header, file.sections
    bound = f"bound to {header.platform}" if header.platform else "decodes everywhere"
    quality = "" if facts["quality"] is None else f"quality {facts['quality']:.4g}, "

    def row(name: str, count: int, *rest: str) -> str:
        return f"{name:<10}{count:>9}{8 * count / file.pixel_count:>9.4f}" + "".join(rest)

    plain = facts["version"] == bitstream.PLAIN_VERSION
    lines = [
        f"{header.width}x{header.height} pixels, {file.byte_count} bytes, {facts['bpp']:.4f} bpp",
        f"format version {facts['version']}, range coder {facts['coder']}",
        *([] if plain else [_form_text(header, sections)]),
        _model_text(facts),
        f"{quality}{bound}",
        *([_regions_text(facts["regions"])] if facts["regions"] else []),
        f"{'':<10}{'bytes':>9}{'bpp':>9}{'blocks':>9}{'area':>9}",
        row("container", file.byte_count - sum(map(len, sections))),
        row("partition", len(sections.partition)),
    ]
    for level in (2, 1, 0):
        stride = str(partition.STRIDES[level])
        blocks, area = f"{facts['blocks'][stride]:>9}", f"{facts['area'][stride]:>9.1%}"
        lines.append(row(f"{stride}x{stride}", facts["sections"][f"level{level}"], blocks, area))
    extras = {name: facts["sections"][name] for name in bitstream.SECTION_FLAGS}
    return lines + [row(name, count) for name, count in extras.items() if count]


def _regions_text(regions: Mapping[str, Any]) -> str:
    """The qualities of the blocks of a file that has regions."""
    known = regions["least"] is not None
    ends = f"quality {regions['least']:.4g} to {regions['most']:.4g}, " if known else ""
    counts = regions["blocks"]
    return (
        f"regions: {ends}blocks of 64x64: {counts['better']} better, "
        f"{counts['as_asked']} as asked, {counts['worse']} worse"
    )


def _form_text(header: Header, sections: Sections) -> str:
    """Color mode and depth of the image, alpha and metadata."""
    words = [f"{'gray' if header.gray else 'RGB'} of {16 if header.is_16bit else 8} bits"]
    if sections.alpha:
        words.append("alpha")
    along = side_data.fields(sections)
    if icc := along["icc"]:
        name = imaging_icc.name(icc)
        words.append(f"color profile {name}" if name else "a color profile without a name")
    if along["exif"]:
        words.append(f"{len(along['exif'])} bytes of EXIF data")
    if along["xmp"]:
        words.append(f"{len(along['xmp'])} bytes of XMP")
    words += [along[name].words for name in ("cicp", "resolution") if along[name]]
    return ", ".join(words)


def _model_text(facts: Mapping[str, Any]) -> str:
    """The model that the header names."""
    if facts["model"] is None:
        return f"weights {facts['weights']}, which are not bundled"
    release = " of an earlier release" if facts["is_earlier"] else ""
    return f"model {facts['model']}{release} (weights {facts['weights']}), which is bundled"


def facts_of_model(model: Model) -> dict[str, Any]:
    """A description of a model for programs; None is what is not on record."""
    record = model.record
    return {
        "weights": model.digest.hex(),
        "family": registry.family_of(model.config).name,
        "parameters": registry.parameter_count(model.params),
        "steps": record.steps_done,
        "validation": None if record.validation is None else dataclasses.asdict(record.validation),
    }


def of_model(model: Model) -> list[str]:
    """What a model is, and the record of its training."""
    millions = registry.parameter_count(model.params) / 1e6
    lines = [f"hash {model.digest.hex()}, {millions:.2f} M parameters"]
    if model.record.training is None:
        return [*lines, "  its training is not on record"]
    record = model.record.of_whole_network()
    loss = _objective_words(model.config, record.training or RecordedTraining())
    lines.append(f"  trained for {loss}, {_steps_words(record)}")
    if record.started_from:
        steps = record.started_from.steps_done
        lines.append(f"  after {_count(steps)} steps of the weights that it went on from")
    if record is not model.record:
        lines += [f"  then {_part_words(part)}" for part in _later_parts(model.record)]
    if validation := model.record.validation:
        lines.append(f"  validation: {validation.bpp:.3f} bpp (estimate), {validation.psnr:.2f} dB")
    return lines


def _later_parts(record: TrainingRecord) -> list[TrainingRecord]:
    """The trainings of parts of the network since the last one of the whole, in their order."""
    parts: list[TrainingRecord] = []
    whole = record.of_whole_network()
    while record is not whole and record.started_from:
        parts.insert(0, record)
        record = record.started_from
    return parts


def _part_words(record: TrainingRecord) -> str:
    """A training of a part of a network."""
    learn = (record.training or RecordedTraining()).learn
    words = {
        "priors": "for the rate, its priors alone",
        "added": "its added channels and synthesis",
    }
    what = words.get(learn, f"its {learn} alone")
    return f"{what}, {_steps_words(record)}"


def _steps_words(record: TrainingRecord) -> str:
    """How long a training was."""
    training = record.training or RecordedTraining()
    crops = f"{training.batch_size} crops of {training.crop}x{training.crop} pixels"
    return f"{_count(record.steps_done)} steps of {crops}"


def _count(steps: int | None) -> str:
    return "an unknown number of" if steps is None else str(steps)


def _objective_words(config: AnyConfig, training: RecordedTraining) -> str:
    """The loss that a model was trained for."""
    distortion = _distortion_words(training)
    if registry.family_of(config).variable_rate:
        low, high = config.lmbdas
        return f"bpp + lambda * {distortion} with every lambda from {low:g} to {high:g}"
    return f"bpp + {training.lmbda:g} * {distortion}"


def _distortion_words(training: RecordedTraining) -> str:
    """The distortion of a training run, see `rdonet_jax.metrics.loss`; its name without JAX."""
    try:
        from rdonet_jax.metrics.loss import DISTORTIONS
    except ModuleNotFoundError as error:
        if not optional_packages.is_optional(error):
            raise
        return f"the distortion {training.metric!r}"
    if training.metric not in DISTORTIONS:
        return f"the distortion {training.metric!r}"
    return DISTORTIONS[training.metric].words_of(training.ms_ssim_share)

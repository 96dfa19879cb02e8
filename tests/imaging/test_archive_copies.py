"""Copies in the archives of datasets, which are left out."""

from __future__ import annotations

import re

import pytest

from tests.imaging.image_folders import found, plant

pytestmark = pytest.mark.once

DIV2K = (
    "DIV2K_train_HR/0001.png", "DIV2K_valid_HR/0801.png", "DIV2K_train_LR_bicubic/X2/0001x2.png",
    "DIV2K_train_LR_bicubic/X4/0001x4.png", "DIV2K_train_LR_unknown/X3/0001x3.png",
    "DIV2K_train_LR_x8/0001x8.png", "DIV2K_train_LR_mild/0001x4m.png",
    "DIV2K_valid_LR_difficult/0801x4d.png", "DIV2K_train_LR_wild/0001x4w1.png",
)  # fmt: skip


CLIC = (
    "mobile_train/a.png", "professional_train/b.png", "test/e.png", "train/c.png", "valid/d.png",
)  # fmt: skip


TECNICK = (
    "TESTIMAGES/RGB/RGB_OR_1200x1200/RGB_OR_1200x1200_001.png",
    "TESTIMAGES/RGB/RGB_R02_0600x0600/RGB_R02_0600x0600_001.png",
    "TESTIMAGES/GRAY/GRAY_OR_1200x1200/GRAY_OR_1200x1200_001.png",
    "TESTIMAGES/GRAY/GRAY_R03_0400x0400/GRAY_R03_0400x0400_001.png",
    "TESTIMAGES/ART/ART_OR_1200x1200/ART_OR_1200x1200_001.png",
)


SAMPLING = tuple(
    f"SAMPLING/{name}.png"
    for name in (
        "8BIT/RGB/2400x2400/C00C00/ducks", "8BIT/RGB/1200x1200/C00C00/ducks",
        "8BIT/RGB/800x800/C00C00/ducks", "8BIT/RGB/1200x1200/B01C00/ducks",
        "8BIT/RGB/1200x1200/T01R01/ducks", "8BIT/RGB/1200x1200/C00L01/ducks",
        "8BIT/GRAY/2400x2400/C00C00/ducks", "16BIT/RGB/2400x2400/C00C00/ducks",
        "16BIT/GRAY/1200x1200/T01R01/ducks",
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "kept", "rules"),
    [
        (DIV2K, DIV2K[:2], ["7 of 9 images, reduced or degraded versions in DIV2K"]),
        (CLIC, CLIC, []),
        (TECNICK, TECNICK[:1], ["1 .*patterns", "2 .*gray", "1 .*reduced"]),
        (SAMPLING, SAMPLING[:1], ["1 .*gray", "2 .*16 bits", "3 .*shifted", "2 .*smaller"]),
        (SAMPLING[1:2] + SAMPLING[3:5], SAMPLING[1:2], ["2 .*shifted"]),
    ],
)
def test_copies_in_known_archives_are_left_out_with_one_warning_for_each_kind(
    tmp_path, tree, kept, rules
):
    names, said = found(plant(tmp_path / "data", *tree), root=tmp_path / "data")
    assert names == sorted(kept)
    assert len(said) == len(rules)
    for line, rule in zip(said, rules, strict=True):
        assert re.match(rf"{tmp_path}/data: left out {rule}", line)


@pytest.mark.parametrize(
    ("tree", "given", "count"),
    [
        (DIV2K, "DIV2K_train_LR_bicubic/X2", 1),
        (DIV2K, "DIV2K_train_LR_bicubic", 2),
        (TECNICK, "TESTIMAGES/GRAY", 1),
        (TECNICK, "TESTIMAGES/ART", 1),
        (TECNICK, "TESTIMAGES/RGB/RGB_R02_0600x0600", 1),
        (SAMPLING, "SAMPLING/8BIT/RGB/1200x1200/B01C00", 1),
        (SAMPLING, "SAMPLING/8BIT/RGB/1200x1200", 1),
        (SAMPLING, "SAMPLING/8BIT/GRAY", 1),
        (SAMPLING, "SAMPLING/16BIT/RGB", 1),
    ],
)
def test_a_folder_of_copies_that_is_itself_given_is_used(tmp_path, tree, given, count):
    root = plant(tmp_path, *tree) / given
    assert len(found(root, root=root)[0]) == count
    # Beside the originals as well, whichever is named first.
    originals = len(found(tmp_path, root=tmp_path)[0])
    for both in ((tmp_path, root), (root, tmp_path)):
        assert len(found(*both, root=tmp_path)[0]) == originals + count

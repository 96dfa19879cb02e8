"""Images of Pillow: what the plug-in and `compress` make of modes, orientations and profiles."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

import rdonet_jax
import rdonet_jax.pillow_plugin
from rdonet_jax.core import partition
from rdonet_jax.imaging import pixel_format, reader
from rdonet_jax.imaging.metadata.cicp import Cicp
from rdonet_jax.imaging.metadata.resolution import Resolution
from tests.image_samples import SRGB, SWAPPED, exif_block, png

pytestmark = pytest.mark.usefixtures("mini_as_standard")


@pytest.fixture
def image(photograph):
    return np.ascontiguousarray(photograph[:70, :90])


def saved(pil_image, **options):
    file = io.BytesIO()
    pil_image.save(file, "RDO", quality=40, **options)
    return file.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data))


# Orientation

NOTATIONS = {
    "attribute": b'<x tiff:Orientation="6"/>',
    "element": b"<x><tiff:Orientation>6</tiff:Orientation></x>",
    "a notation that Pillow does not recognize": b"<x tiff:Orientation = '6'/>",
}
with_xmp = pytest.mark.parametrize("text", NOTATIONS.values(), ids=NOTATIONS)


@with_xmp
@pytest.mark.parametrize(
    "exif",
    [b"", exif_block(), exif_block(1), exif_block(3)],
    ids=["no EXIF", "EXIF that does not say", "upright", "upside down"],
)
def test_the_plug_in_and_the_reader_turn_an_image_as_pillow_does(image, tmp_path, text, exif):
    options = {"exif": b"Exif\0\0" + exif} if exif else {}
    Image.fromarray(image).save(tmp_path / "a.webp", lossless=True, xmp=text, **options)
    with Image.open(tmp_path / "a.webp") as source:
        upright = np.asarray(ImageOps.exif_transpose(source))
        data = saved(source)
    found = reader.load(tmp_path / "a.webp")
    np.testing.assert_array_equal(found.pixels, upright)
    expected = rdonet_jax.compress(upright, quality=40)
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))
    assert opened(data).info["xmp"] == found.xmp == text.replace(b"6", b"1")


@pytest.mark.parametrize("tags", [{700: NOTATIONS["element"]}, {274: 6},
                                  {274: 6, 700: NOTATIONS["element"]}])  # fmt: skip
def test_tiff_files_are_turned_once_with_their_resolution(image, tmp_path, tags):
    Image.fromarray(image).save(tmp_path / "a.tif", dpi=(300, 150), tiffinfo=tags)
    found = reader.load(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.pixels, np.rot90(image, 3))
    assert found.resolution == Resolution(5906, 11811, True)
    with Image.open(tmp_path / "a.tif") as source:
        data = saved(source)
    expected = rdonet_jax.compress(np.ascontiguousarray(np.rot90(image, 3)), quality=40)
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))
    with Image.open(tmp_path / "a.tif") as source:
        again = rdonet_jax.decompress(rdonet_jax.compress(source, quality=40))
    np.testing.assert_array_equal(again, rdonet_jax.decompress(expected))


def test_xmp_of_an_image_that_does_not_stand_upright_is_a_value_error(image):
    with pytest.raises(ValueError, match="XMP says that the image does not stand upright: turn it"):
        rdonet_jax.compress(image, xmp=b'<x tiff:Orientation="6"/>')
    rdonet_jax.compress(image, xmp=b'<x tiff:Orientation="1"/>')


def with_raw_profile(image, exif):
    """A PNG file whose EXIF data is a text, as ImageMagick writes it."""
    texts = PngImagePlugin.PngInfo()
    data = b"Exif\0\0" + exif
    texts.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n")
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", pnginfo=texts)
    return file.getvalue()


def test_exif_data_in_a_text_of_png_turns_an_image_and_is_kept(image, tmp_path):
    data = with_raw_profile(image, exif_block(6))
    (tmp_path / "a.png").write_bytes(data)
    found = reader.load(tmp_path / "a.png")
    again = saved(opened(data))
    expected = saved(Image.fromarray(found.pixels))
    np.testing.assert_array_equal(rdonet_jax.decompress(again), rdonet_jax.decompress(expected))
    exif = opened(again).getexif()
    assert (exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation]) == ("A maker", 1)
    with pytest.raises(ValueError, match="does not stand upright: turn it first"):
        rdonet_jax.compress(opened(data))
    rdonet_jax.compress(ImageOps.exif_transpose(opened(data)))


def test_exif_data_that_somebody_has_removed_from_info_is_not_saved(image):
    source = opened(with_raw_profile(image, exif_block(1)))
    assert source.getexif()
    del source.info["Raw profile type exif"]
    assert "exif" not in opened(saved(source)).info


def test_a_damaged_text_of_png_is_no_exif_data(image):
    source = opened(with_raw_profile(image, exif_block(6)))
    source.info["Raw profile type exif"] = "\nexif\n   3\nno hex\n"
    with pytest.warns(UserWarning, match="is none"):
        assert "exif" not in opened(saved(source)).info
    rdonet_jax.compress(source)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tags_of_tiff_files_are_kept_as_the_reader_keeps_them(image, tmp_path, compression):
    tags = {271: "A maker", 272: "A model", 274: 6}
    Image.fromarray(image).save(tmp_path / "a.tif", tiffinfo=tags, compression=compression)
    with Image.open(tmp_path / "a.tif") as source:
        found = opened(saved(source))
    assert found.getexif()[271] == "A maker" and found.getexif()[272] == "A model"
    assert found.info["exif"] == b"Exif\0\0" + reader.load(tmp_path / "a.tif").exif
    assert found.size == (70, 90)


def lying(image, orientation):
    """An image that `exif_transpose` turns into `image`; the orientation is 1 or 6."""
    lies = np.rot90(image) if orientation == 6 else image
    source = Image.fromarray(np.ascontiguousarray(lies))
    source.info["exif"] = b"Exif\0\0" + exif_block(orientation)
    return source


def test_a_mask_of_regions_is_turned_with_its_image(image):
    mask = np.full(image.shape[:2], 60)
    mask[:, 64:] = 250
    upright = rdonet_jax.decompress(saved(Image.fromarray(image), roi=mask))
    again = rdonet_jax.decompress(saved(lying(image, 6), roi=np.rot90(mask).tolist()))
    np.testing.assert_array_equal(again, upright)
    with pytest.raises(OSError, match="two-dimensional array"):
        saved(lying(image, 6), roi=[1, 2])


def test_a_partition_is_taken_for_an_upright_image_alone(image):
    chosen = partition.uniform(1, partition.block_grid(*image.shape[:2]))
    saved(lying(image, 1), init=chosen)
    with pytest.raises(OSError, match="a partition is that of an upright image"):
        saved(lying(image, 6), init=chosen)


# Metadata that no file can hold


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("xmp", b"\xff\xfe"), ("xmp", b"<x>\0</x>"), ("xmp", "\udcff"), ("xmp", 5),
        ("cicp", (1, 13)), ("cicp", Cicp(256, 13)), ("icc_profile", "profile"),
        ("dpi", 72), ("dpi", ("a", "b")), ("aspect", 3), ("exif", "text"), ("exif", 5),
    ],
)  # fmt: skip
def test_what_info_holds_and_a_file_cannot_is_left_out_with_a_warning(image, name, value):
    source = Image.fromarray(image)
    source.info[name] = value
    with pytest.warns(UserWarning, match="left out") as warned:
        data = saved(source)
    assert not {"xmp", "cicp", "icc_profile", "exif"} & opened(data).info.keys()
    assert data == saved(Image.fromarray(image))
    assert [str(one.filename) for one in warned] == [__file__]


@pytest.mark.parametrize(
    ("name", "value"),
    [("xmp", b"\xff\xfe"), ("xmp", 5), ("icc_profile", "profile"), ("dpi", 72)],
)
def test_what_is_given_and_a_file_cannot_hold_is_an_error(image, name, value):
    with pytest.raises(OSError, match=name) as refused:
        saved(Image.fromarray(image), **{name: value})
    if name == "dpi":
        assert str(refused.value) == "dpi: two numbers are needed, not 72"
    if value == 5:
        assert str(refused.value) == "xmp: the XMP is bytes or a text, not int"


def test_xmp_that_is_no_text_turns_an_image_as_pillow_does(image):
    source = Image.fromarray(image)
    source.info["xmp"] = b'<x tiff:Orientation="6"/>\xff'
    upright = np.asarray(ImageOps.exif_transpose(source))
    with pytest.warns(UserWarning, match="left out"):
        data = saved(source)
    expected = saved(Image.fromarray(upright))
    np.testing.assert_array_equal(rdonet_jax.decompress(data), rdonet_jax.decompress(expected))


# Transparent colors


def keyed_file(samples, kind, depth, key):
    """A PNG file with a transparent color, in the depth of the file."""
    packed = struct.pack(f">{len(key)}H", *key)
    return png(np.atleast_3d(samples), kind, depth, before=[(b"tRNS", packed)])


@pytest.mark.parametrize(
    ("kind", "depth", "key"),
    [("gray", 1, [1]), ("gray", 1, [0]), ("gray", 2, [0]), ("gray", 8, [3]), ("gray", 16, [4660]),
     ("rgb", 8, [1, 2, 3]), ("rgb", 16, [0, 0, 0])],
)  # fmt: skip
def test_a_transparent_color_of_png_becomes_the_alpha_that_the_reader_sees(
    tmp_path, kind, depth, key
):
    samples = np.full((8, 9, len(key)), 2**depth - 1 - key[0])
    samples[2:5, 3:7] = key
    data = keyed_file(samples, kind, depth, key)
    (tmp_path / "a.png").write_bytes(data)
    found = reader.load(tmp_path / "a.png").alpha
    assert found is not None and not found.all()
    alpha = rdonet_jax.decompress(saved(opened(data)))[..., -1]
    np.testing.assert_array_equal(alpha > 0, found > 0)


LOST = [("rgb", 16, [4660, 4660, 4660]), ("gray", 2, [3]), ("gray", 4, [15])]
"""Colors that `Image.convert` does not find among samples of 8 bits."""


@pytest.mark.parametrize(("kind", "depth", "key"), LOST)
def test_a_transparent_color_of_which_the_pixels_are_not_known_is_refused(kind, depth, key):
    samples = np.zeros((8, 9, len(key)), int)
    samples[2:5, 3:7] = key
    data = keyed_file(samples, kind, depth, key)
    with pytest.raises(OSError, match="may have had more or fewer bits, and `rdonet compress`"):
        saved(opened(data))
    with pytest.raises(ValueError, match="which its array lacks: no pixel has the transparent"):
        rdonet_jax.compress(opened(data))


@pytest.mark.parametrize("key", [(1, 2, 3), "red", (1, 2)])
def test_a_transparent_color_that_no_pixel_can_have_hides_none(key):
    source = Image.new("RGB", (8, 8), (200, 100, 50))
    source.info["transparency"] = key
    if key == (1, 2, 3):
        assert rdonet_jax.decompress(saved(source)).shape == (8, 8, 3)
    else:
        with pytest.raises(OSError, match="the transparent color is none"):
            saved(source)


# Colors


def test_code_points_are_saved_again_with_the_profile_that_came_with_them(image):
    source = opened(rdonet_jax.compress(image, cicp=Cicp(12, 13)))
    for again in (
        saved(source),
        saved(source.convert("RGB"), icc_profile=source.info["icc_profile"]),
    ):
        assert opened(again).info["cicp"] == Cicp(12, 13)
    hdr = opened(rdonet_jax.compress(image, cicp=Cicp(9, 16)))
    assert opened(saved(hdr, icc_profile=None)).info["cicp"] == Cicp(9, 16)
    both = opened(rdonet_jax.compress(image, cicp=Cicp(9, 16), icc=SWAPPED))
    assert opened(saved(both)).info["cicp"] == Cicp(9, 16)


@pytest.mark.parametrize("profile", [SRGB, None])
def test_code_points_are_left_out_with_another_profile(image, profile):
    source = opened(rdonet_jax.compress(image, cicp=Cicp(12, 13)))
    info = opened(saved(source, icc_profile=profile)).info
    assert "cicp" not in info and info.get("icc_profile") == profile


def test_code_points_are_left_out_after_a_conversion_in_place(image):
    source = opened(rdonet_jax.compress(image, cicp=Cicp(12, 13)))
    wide = ImageCms.ImageCmsProfile(io.BytesIO(source.info["icc_profile"]))
    ImageCms.profileToProfile(source, wide, ImageCms.createProfile("sRGB"), inPlace=True)
    info = opened(saved(source)).info
    assert "cicp" not in info and info["icc_profile"] == source.info["icc_profile"]


# Modes


def test_the_alpha_of_a_palette_is_saved(image):
    palette = np.random.default_rng(0).integers(0, 256, (16, 4), np.uint8)
    index = image[..., 0] % 16
    source = Image.fromarray(index)
    source.putpalette(palette.tobytes(), "RGBA")
    assert source.mode == "P"
    again = np.asarray(opened(saved(source)))
    np.testing.assert_array_equal(again[..., 3], palette[index][..., 3])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_an_image_of_pillow_is_compressed_as_its_array_is(image, mode):
    array = np.dstack([image, image[..., 0]])
    array = {
        "L": array[..., 0], "LA": array[..., 2:], "RGB": image, "RGBA": array,
        "I;16": pixel_format.to_uint16(image[..., 0]),
    }[mode]  # fmt: skip
    pil_image = Image.fromarray(np.ascontiguousarray(array))
    assert pil_image.mode == mode
    assert rdonet_jax.compress(pil_image) == rdonet_jax.compress(array)


@pytest.mark.parametrize("mode", ["1", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "RGBX"])
def test_images_of_pillow_in_other_modes_are_a_value_error(mode):
    words = rf"mode L, LA, RGB, RGBA or I;16, not {mode}: convert it first"
    with pytest.raises(ValueError, match=words):
        rdonet_jax.compress(Image.new(mode, (8, 8)))


def test_images_of_pillow_that_show_something_else_than_their_array_are_a_value_error(image):
    pil_image = Image.fromarray(image)
    pil_image.info["transparency"] = (1, 2, 3)
    with pytest.raises(ValueError, match="transparent color, which its array lacks"):
        rdonet_jax.compress(pil_image)
    for metadata in {"exif": b"Exif\0\0" + exif_block(6)}, {"xmp": NOTATIONS["attribute"]}:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", **metadata)
        with pytest.raises(ValueError, match="does not stand upright: turn it first"):
            rdonet_jax.compress(Image.open(file))
    rdonet_jax.compress(ImageOps.exif_transpose(Image.open(file)))


def test_invalid_exif_data_of_an_image_of_pillow_does_not_matter(image):
    pil_image = Image.fromarray(image)
    pil_image.info["exif"] = b"garbage"
    assert rdonet_jax.compress(pil_image) == rdonet_jax.compress(image)


def test_a_damaged_image_of_pillow_is_a_value_error(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    with pytest.raises(ValueError, match="these are no pixels: "):
        rdonet_jax.compress(Image.open(io.BytesIO(file.getvalue()[:3000])))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_of_the_other_byte_order_give_the_same_file(image, channels):
    wide = np.dstack([image, image[..., 0]])[..., :channels].astype(np.uint16) * 200
    swapped = wide.astype(wide.dtype.newbyteorder("S"))
    assert swapped.tobytes() != wide.tobytes()
    assert rdonet_jax.compress(swapped) == rdonet_jax.compress(wide)


def test_opaque_alpha_and_an_axis_of_one_channel_are_dropped(image):
    opaque = np.full(image.shape[:2], 255, np.uint8)
    data = rdonet_jax.compress(np.dstack([image, opaque]))
    assert data == rdonet_jax.compress(image) and rdonet_jax.decompress(data).shape == image.shape
    data = rdonet_jax.compress(image[..., :1])
    assert rdonet_jax.decompress(data).shape == image.shape[:2]


def test_a_damaged_file_that_pillow_reads_late_is_a_value_error():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    start, first, second = file.getvalue().partition(b"IDAT")
    second = second.replace(b"IDAT", b"\0\0\0\0")
    with pytest.raises(ValueError, match="these are no pixels"):
        rdonet_jax.compress(opened(start + first + second))

import os

import numpy as np
import pytest
import skimage
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from rdonet_jax.imaging import output_files
from rdonet_jax.imaging import srgb as imaging_srgb
from rdonet_jax.imaging.errors import ImageError
from tests.image_samples import CHANNELS, png, write_animation

pytestmark = pytest.mark.once


def sample_image(height=5, width=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_16_bit_png(path, channels):
    kind = {count: name for name, count in CHANNELS.items()}[channels]
    path.write_bytes(png(np.full((1, 1, channels), 0x1234), kind, 16))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_a_photograph_is_read_as_scikit_image_reads_it_though_it_carries_an_srgb_profile(name):
    path = os.path.join(os.path.dirname(skimage.__file__), "data", f"{name}.png")
    np.testing.assert_array_equal(imaging_srgb.load(path), getattr(skimage.data, name)())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp", ".PNG"])
def test_a_saved_image_is_read_back_unchanged(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    imaging_srgb.save(path, sample_image())
    np.testing.assert_array_equal(imaging_srgb.load(path), sample_image())


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_a_jpeg_is_close_to_the_image_saved(tmp_path, suffix):
    gradient = np.linspace(0, 255, 32).astype(np.uint8)[None, :, None].repeat(16, 0).repeat(3, 2)
    imaging_srgb.save(tmp_path / f"a{suffix}", gradient)
    assert np.abs(imaging_srgb.load(tmp_path / f"a{suffix}").astype(int) - gradient).max() < 8


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_images_of_every_size_survive_a_png(tmp_path_factory, height, width, seed):
    path = tmp_path_factory.mktemp("sizes") / "a.png"
    imaging_srgb.save(path, sample_image(height, width, seed))
    np.testing.assert_array_equal(imaging_srgb.load(path), sample_image(height, width, seed))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_gray_palette_and_one_bit_images_become_rgb(tmp_path, mode):
    source = Image.fromarray(sample_image()).convert(mode)
    source.save(tmp_path / "a.png")
    loaded = imaging_srgb.load(tmp_path / "a.png")
    assert loaded.dtype == np.uint8 and loaded.shape == (5, 7, 3)
    np.testing.assert_array_equal(loaded, np.asarray(source.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_that_is_opaque_everywhere_is_dropped(tmp_path, mode):
    source = Image.fromarray(sample_image()).convert(mode)
    source.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        imaging_srgb.load(tmp_path / "a.png"), np.asarray(source.convert("RGB"))
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_one_transparent_pixel_is_refused(tmp_path, mode):
    source = Image.fromarray(sample_image()).convert(mode)
    alpha = source.getchannel("A")
    alpha.putpixel((3, 2), 254)
    source.putalpha(alpha)
    source.save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: has transparent pixels"):
        imaging_srgb.load(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "key"), [("1", 1), ("L", 7), ("P", 0), ("RGB", (9, 9, 9))])
def test_a_transparent_color_is_refused_where_it_is_used_and_ignored_where_not(tmp_path, mode, key):
    used = Image.new(mode, (4, 4), key)
    unused = Image.new(mode, (4, 4), 0 if mode != "P" else 1)
    used.save(tmp_path / "used.png", transparency=key)
    unused.save(tmp_path / "unused.png", transparency=key)
    assert imaging_srgb.load(tmp_path / "unused.png").shape == (4, 4, 3)
    with pytest.raises(ImageError, match="transparent"):
        imaging_srgb.load(tmp_path / "used.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 250  # a bright corner at the top left
    # How a camera held that way stores the scene, by the definition of each orientation.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright.swapaxes(0, 1)[::-1, ::-1],
        8: upright.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(imaging_srgb.load(tmp_path / "a.png"), upright)


def test_the_size_in_the_header_is_that_of_the_decoded_image(tmp_path):
    for number, suffix in enumerate(("png", "jpg", "tif", "webp") * 2):
        path = tmp_path / f"a.{suffix}"
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number + 1
        Image.fromarray(sample_image(80, 90)).save(path, exif=exif)
        size = imaging_srgb.inspect(path)
        assert size == imaging_srgb.read(path).size == imaging_srgb.load(path).shape[1::-1]
    path = tmp_path / "a.png"
    path.write_bytes(path.read_bytes()[:-3000])
    assert imaging_srgb.inspect(path) == (80, 90)
    Image.new("RGBA", (5, 5)).save(path)
    with pytest.raises(ImageError, match="transparent"):
        imaging_srgb.inspect(path)


def test_a_damaged_exif_block_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    damaged = exif.tobytes().replace(b"MM\0*", b"MM\0!")
    Image.fromarray(sample_image()).save(tmp_path / "a.png", exif=damaged)
    with pytest.raises(ImageError, match=r"a\.png: is damaged"):
        imaging_srgb.load(tmp_path / "a.png")


def test_a_profile_of_another_color_space_is_converted_to_srgb(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")
    source = Image.new("RGB", (4, 4), (255, 0, 0))
    expected = {"plain": (255, 0, 0), "swapped": (0, 0, 255), "lab": (255, 0, 0)}
    for name, profile in {"plain": srgb, "swapped": swapped, "lab": lab}.items():
        source.save(tmp_path / f"{name}.png", icc_profile=profile)
        actual = imaging_srgb.load(tmp_path / f"{name}.png")[0, 0].astype(int)
        assert np.abs(actual - expected[name]).max() <= 2


@pytest.mark.parametrize("damage", ["text", "color space", "cut"])
def test_an_unreadable_profile_is_passed_over(tmp_path, damage):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = {
        "text": b"no profile at all",
        "color space": srgb.replace(b"RGB ", b"\xe9\xff\x80 "),
        "cut": srgb[:200],
    }[damage]
    Image.fromarray(sample_image()).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(imaging_srgb.load(tmp_path / "a.png"), sample_image())


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_files_are_refused(tmp_path, channels):
    write_16_bit_png(tmp_path / "deep.png", channels)
    with pytest.raises(ImageError, match=r"deep\.png: has more than 8 bits"):
        imaging_srgb.load(tmp_path / "deep.png")


@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_sixteen_bit_pnm_files_are_refused(tmp_path, kind):
    (tmp_path / "deep.ppm").write_bytes(kind + b" 1 1 65535\n" + bytes(6))
    with pytest.raises(ImageError, match="more than 8 bits"):
        imaging_srgb.load(tmp_path / "deep.ppm")


def test_sixteen_bit_tiff_files_are_refused(tmp_path):
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(tmp_path / "deep.tif")
    with pytest.raises(ImageError, match="more than 8 bits"):
        imaging_srgb.load(tmp_path / "deep.tif")


def test_cmyk_images_are_refused(tmp_path):
    Image.new("CMYK", (8, 8)).save(tmp_path / "print.jpg")
    with pytest.raises(ImageError, match=r"print\.jpg: is a CMYK image"):
        imaging_srgb.load(tmp_path / "print.jpg")


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_animations_are_refused(tmp_path, suffix):
    write_animation(tmp_path / f"film.{suffix}")
    with pytest.raises(ImageError, match=r"film\.\w+: has 3 frames"):
        imaging_srgb.load(tmp_path / f"film.{suffix}")


def test_the_main_image_of_a_camera_file_with_previews_is_read(tmp_path):
    main, preview = Image.new("RGB", (16, 16), "white"), Image.new("RGB", (8, 8))
    main.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[preview])
    assert imaging_srgb.load(tmp_path / "phone.jpg").shape == (16, 16, 3)


def test_missing_files_folders_and_other_files_are_refused(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for name, reason in {
        "missing.png": "No such file",
        "": "Is a directory",
        "text.png": "is damaged or no image",
        "empty.png": "is empty",
    }.items():
        with pytest.raises(ImageError, match=reason) as caught:
            imaging_srgb.load(tmp_path / name)
        assert str(caught.value).count(str(tmp_path / name)) == 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    Image.fromarray(sample_image(64, 64)).save(tmp_path / f"whole.{suffix}")
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=rf"cut\.{suffix}"):
        imaging_srgb.load(tmp_path / f"cut.{suffix}")


@settings(max_examples=60, deadline=None)
@given(
    suffix=st.sampled_from(["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"]),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_an_image_or_an_image_error(tmp_path_factory, suffix, damage):
    path = tmp_path_factory.mktemp("damage") / f"a.{suffix}"
    Image.fromarray(sample_image(12, 12)).save(path)
    data = bytearray(path.read_bytes())
    for place, value in damage:
        data[int(place * (len(data) - 1))] = value
    path.write_bytes(data)
    try:
        loaded = imaging_srgb.load(path)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert loaded.dtype == np.uint8 and loaded.ndim == 3 and loaded.shape[2] == 3


def test_an_existing_file_is_overwritten_only_by_force(tmp_path):
    path = tmp_path / "a.png"
    imaging_srgb.save(path, sample_image(seed=1))
    with pytest.raises(ImageError, match=r"a\.png: exists already"):
        imaging_srgb.save(path, sample_image(seed=2))
    np.testing.assert_array_equal(imaging_srgb.load(path), sample_image(seed=1))
    imaging_srgb.save(path, sample_image(seed=2), force=True)
    np.testing.assert_array_equal(imaging_srgb.load(path), sample_image(seed=2))


def test_what_is_no_regular_file_is_never_replaced(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="not a regular file"):
        imaging_srgb.save(tmp_path / "folder.png", sample_image(), force=True)
    with pytest.raises(ImageError, match="not a regular file"):
        output_files.write_bytes(os.devnull, b"", force=True)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.rdo", "a.png.gz"])
def test_an_unknown_suffix_is_refused_and_the_known_ones_are_listed(tmp_path, name):
    for refuse in (
        output_files.check_image_target,
        lambda path: imaging_srgb.save(path, sample_image()),
    ):
        with pytest.raises(ImageError, match=r"suffix.*\.png"):
            refuse(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)],
)
def test_arrays_that_are_no_image_are_refused(tmp_path, array):
    with pytest.raises(ImageError, match=r"uint8 \[H, W, 3\]"):
        imaging_srgb.save(tmp_path / "a.png", array)


@pytest.mark.parametrize(("suffix", "side"), [("webp", 16383), ("jpg", 65500)])
def test_an_image_too_large_for_its_format_is_refused_before_the_work(tmp_path, suffix, side):
    path = tmp_path / f"a.{suffix}"
    output_files.check_image_target(path, size=(1, side))
    for size in [(1, side + 1), (side + 1, 1)]:
        with pytest.raises(ImageError, match=f"{size[1]}x{size[0]} pixels.* {side} at most"):
            output_files.check_image_target(path, size=size)
    imaging_srgb.save(path, np.zeros((1, side, 3), np.uint8))
    with pytest.raises(ImageError, match="at most"):
        imaging_srgb.save(path, np.zeros((1, side + 1, 3), np.uint8), force=True)
    output_files.check_image_target(tmp_path / "a.png", size=(1, side + 1))


def test_a_failed_write_leaves_no_other_file_and_the_old_one_unchanged(tmp_path, monkeypatch):
    def fail(file, *_, **__):
        file.write(b"half of it")
        raise OSError("encoder error")

    path = tmp_path / "a.webp"
    path.write_bytes(b"precious")
    monkeypatch.setattr(Image.Image, "save", lambda _, *rest, **options: fail(*rest, **options))
    with pytest.raises(ImageError, match=r"a\.webp: cannot be written: encoder error"):
        imaging_srgb.save(path, sample_image(), force=True)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]

import pytest

from rdonet_jax.imaging import output_files
from rdonet_jax.imaging.errors import ImageError

pytestmark = pytest.mark.once


def test_bytes_are_written_whole_and_overwritten_only_by_force(tmp_path):
    path = tmp_path / "a.rdo"
    output_files.write_bytes(path, b"one")
    with pytest.raises(ImageError, match="exists already"):
        output_files.write_bytes(path, b"two")
    assert path.read_bytes() == b"one"
    output_files.write_bytes(path, b"two", force=True)
    assert path.read_bytes() == b"two"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ImageError, match="the folder .*absent does not exist"):
        output_files.write_bytes(tmp_path / "absent" / "a.rdo", b"")


def test_targets_can_be_checked_before_the_work(tmp_path):
    output_files.check_image_target(tmp_path / "a.png")
    (tmp_path / "a.png").touch()
    output_files.check_image_target(tmp_path / "a.png", force=True)
    with pytest.raises(ImageError, match="exists already"):
        output_files.check_image_target(tmp_path / "a.png")


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path):
    with pytest.raises(ImageError, match="cannot be written: File name too long"):
        output_files.check_target(tmp_path / (300 * "a"))


def test_a_link_into_a_missing_folder_is_refused_before_the_work(tmp_path):
    link = tmp_path / "a.png"
    link.symlink_to(tmp_path / "absent" / "b.png")
    with pytest.raises(ImageError, match="a.png: the folder .*absent does not exist"):
        output_files.check_target(link)
    (tmp_path / "absent").mkdir()
    output_files.write_bytes(link, b"one")
    assert (tmp_path / "absent" / "b.png").read_bytes() == b"one" and link.is_symlink()


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    output_files.write_bytes(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode

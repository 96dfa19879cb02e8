"""Files at URLs: what is written is read, appears whole, and errors are one sentence."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from rdonet_jax.runtime import interrupts
from rdonet_jax.storage import url_cache, urls
from tests.conftest import ROOT

pytestmark = pytest.mark.once


def test_what_is_written_is_read_and_listed(store):
    urls.write(urls.join(store, "a/b"), b"some bytes")
    assert urls.read(urls.join(store, "a/b")) == b"some bytes"
    assert urls.read_range(urls.join(store, "a/b"), 2, 6) == b"me b"
    assert {name: entry.size for name, entry in urls.listed(store).items()} == {"a/b": 10}
    assert urls.exists(urls.join(store, "a/b")) and not urls.exists(urls.join(store, "a"))
    before = urls.listed(store)["a/b"]
    urls.write(urls.join(store, "a/b"), b"othr bytes")
    assert urls.listed(store)["a/b"].size == before.size
    urls.remove(urls.join(store, "a/b"))
    urls.remove(urls.join(store, "a/b"))
    assert urls.listed(store) == {}


def test_an_error_is_the_same_in_another_process():
    error = urls.UrlError("s3://bucket/x", "cannot be accessed", errno.EACCES)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is urls.UrlError and str(copy) == "s3://bucket/x: cannot be accessed"
    assert (copy.filename, copy.strerror, copy.errno) == (
        "s3://bucket/x", "cannot be accessed", errno.EACCES,
    )  # fmt: skip


def test_a_file_is_created_once(store):
    url = urls.join(store, "lock")
    assert urls.create(url, b"first") and not urls.create(url, b"second")
    assert urls.read(url) == b"first"


def test_a_lock_is_created_in_a_folder_that_is_not_there(tmp_path):
    url = f"local://{tmp_path}/runs/one/.lock"
    assert urls.create(url, b"first") and not urls.create(url, b"second")
    assert (tmp_path / "runs/one/.lock").read_bytes() == b"first"


def test_colons_in_a_name_do_not_end_it(store, tmp_path):
    for place in (store, f"local://{tmp_path}/store"):
        for name in ("a::1.png", "a::2.png", "b::c/d"):
            urls.write(urls.join(place, name), name.encode())
        assert list(urls.listed(place)) == ["a::1.png", "a::2.png", "b::c/d"]
        assert list(urls.listed(urls.join(place, "b::c"))) == ["d"]
        assert urls.read(urls.join(place, "a::1.png")) == b"a::1.png"


def test_a_file_in_an_archive_at_a_url_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", b"content")
    assert urls.read(f"zip://a::local://{tmp_path}/x.zip") == b"content"


def test_names_that_would_lead_upwards_are_not_copied(store):
    for name in ("a.png", "../b.png", "c/../../d.png"):
        try:
            urls.write(urls.join(store, "images", name), b"x")
        except urls.UrlError:  # a store may refuse such names
            continue
    assert list(urls.listed(urls.join(store, "images"))) == ["a.png"]


def test_local_files_are_copied_both_ways(store, tmp_path):
    (tmp_path / "source").write_bytes(bytes(range(256)) * 1000)
    urls.upload(tmp_path / "source", urls.join(store, "x"))
    urls.download(urls.join(store, "x"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


def test_a_store_that_is_a_file_system_gets_no_incomplete_files(tmp_path):
    url = f"local://{tmp_path}/deeper/a"
    urls.write(url, b"content")
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == ["a"]
    with pytest.raises(urls.UrlError):
        urls.upload(tmp_path / "nothing", url)
    assert [path.name for path in (tmp_path / "deeper").iterdir()] == ["a"]
    assert urls.read(url) == b"content"


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("gs://bucket/x", "gs:// needs a package that is not installed: gcsfs"),
        ("nothing://bucket/x", "cannot be accessed (Protocol not known: nothing)"),
        ("memory://there/is/none", "there is no such file or bucket"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(monkeypatch, url, cause):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for attempt in (urls.read, lambda url: urls.download(url, Path("/nowhere"))):
        with pytest.raises(urls.UrlError) as caught:
            attempt(url)
        assert str(caught.value) == f"{url}: {cause}"


def test_a_missing_bucket_and_denied_access_are_one_sentence(s3, s3_server):
    def control(what: str, body: bytes) -> None:
        address = f"{s3_server}/moto-api/{what}"
        plain = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(address, body, plain, method="POST")).read()

    for attempt in (urls.read, urls.listed, lambda url: urls.write(url, b"")):
        with pytest.raises(urls.UrlError, match=r"^s3://no-such/x: there is no such bucket$"):
            attempt("s3://no-such/x")
    urls.write(s3, b"")
    try:
        control("reset-auth", b"0")
        for attempt in (urls.read, urls.listed, lambda url: urls.write(url, b"")):
            with pytest.raises(urls.UrlError, match=rf"^{s3}: access is denied \(.*\)$"):
                attempt(s3)
    finally:
        control("reset-auth", b"1000000000")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b", Path("a/b")),
        ("C:/a", Path("C:/a")),
        ("file:///a/b", Path("/a/b")),
        ("s3://b//c", "s3://b//c"),
    ],
)
def test_names_are_paths_or_urls(name, expected):
    assert urls.parsed(name) == expected


def test_a_url_that_was_made_a_path_is_refused():
    with pytest.raises(urls.UrlError, match="give it as text, with both slashes"):
        urls.require_no_flattened_url(Path("gs://bucket/x"))
    urls.require_no_flattened_url(Path("C:/bucket/x"))
    urls.require_no_flattened_url("gs://bucket/x")


def test_a_folder_at_a_url_is_copied_once_and_again_when_it_changes(store, monkeypatch):
    for name in ("a.png", "deeper/b.png", ".hidden.png", "readme.txt"):
        urls.write(urls.join(store, name), name.encode())

    def copied() -> dict[str, bytes]:
        folder = url_cache.folder(store, lambda name: name[0] != "." and name.endswith(".png"))
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.png")}
        return {name: path.read_bytes() for name, path in found.items()}

    assert copied() == {"a.png": b"a.png", "deeper/b.png": b"deeper/b.png"}
    with monkeypatch.context() as patch:
        patch.setattr(urls, "download", None)
        assert len(copied()) == 2
    urls.write(urls.join(store, "a.png"), b"other")
    urls.remove(urls.join(store, "deeper/b.png"))
    assert copied() == {"a.png": b"other"}


def test_images_are_copied_every_time_where_a_store_tells_no_version(store, monkeypatch):
    monkeypatch.setattr(urls, "_version", lambda about: "")
    for content in (b"first", b"other"):
        urls.write(urls.join(store, "a.png"), content)
        folder = url_cache.folder(store, lambda name: True)
        assert (folder / "a.png").read_bytes() == content


@pytest.mark.parametrize("name", ["ETag", "mtime", "modificationTime", "last_modified", "modified"])
def test_the_version_of_a_file_is_what_its_store_calls_so(name):
    assert urls._version({"size": 3, name: 7}) == "7"


def test_a_folder_that_does_not_fit_is_refused_before_anything_is_copied(store, monkeypatch):
    urls.write(urls.join(store, "a.png"), b"x" * 1000)
    monkeypatch.setattr(url_cache.shutil, "disk_usage", lambda _: type("", (), {"free": 999}))
    with pytest.raises(urls.UrlError, match=r"0.0 GB are free; shards are read where they are"):
        url_cache.folder(store, lambda name: True)


def test_deleted_images_do_not_come_back_and_a_copy_that_failed_goes_on(store, monkeypatch):
    monkeypatch.setattr(url_cache, "TRANSFERS", 1)
    for name in ("a.png", "b.png", "c.png"):
        urls.write(urls.join(store, name), name.encode())
    usual, asked = urls.download, []

    def download(url, target):
        asked.append(urls.name_of(url))
        if asked == ["a.png", "b.png", "c.png"]:
            raise urls.UrlError(url, "is out of reach")
        usual(url, target)

    monkeypatch.setattr(urls, "download", download)
    with pytest.raises(urls.UrlError, match="out of reach"):
        url_cache.folder(store, lambda name: True)
    urls.remove(urls.join(store, "b.png"))
    asked.clear()
    folder = url_cache.folder(store, lambda name: True)
    assert asked == ["c.png"]
    (folder / ".left.part").write_bytes(b"x")
    (folder / url_cache.VERSIONS).unlink()
    urls.remove(urls.join(store, "a.png"))
    url_cache.folder(store, lambda name: True)
    names = {path.name for path in folder.iterdir()}
    assert names - {url_cache.LOCK} == {"c.png", url_cache.VERSIONS}


def test_a_folder_within_another_one_has_a_copy_of_its_own(store):
    for name in ("a.png", "inner/b.png"):
        urls.write(urls.join(store, name), b"x")
    inner = url_cache.folder(urls.join(store, "inner"), lambda name: True)
    for wanted in (("a.png",), ("a.png", "inner/b.png")):
        url_cache.folder(store, lambda name, wanted=wanted: name in wanted)
        assert (inner / "b.png").is_file()
    assert inner == url_cache.folder(urls.join(store, "inner") + "/", lambda name: True)
    urls.write(urls.join(store, "beside", "c.png"), b"x")
    assert url_cache.folder(urls.join(store, "beside"), bool) == inner.with_name("beside")


def test_a_file_is_copied_again_when_it_has_changed(store, monkeypatch):
    usual, asked = urls.download, []

    def download(url, target):
        asked.append(urls.name_of(url))
        assert str(target) in interrupts.temporary_paths()  # a signal removes it
        usual(url, target)

    monkeypatch.setattr(urls, "download", download)
    changing = urls.join(store, "model-0123456789abcdef-2.safetensors")
    for content in (b"first", b"other"):
        urls.write(changing, content)
        for _ in range(2):
            assert url_cache.file(changing).read_bytes() == content
    assert asked == ["model-0123456789abcdef-2.safetensors"] * 2
    hashed = urls.join(store, "model-0123456789abcdef.safetensors")
    urls.write(hashed, b"fixed")
    assert url_cache.file(hashed).read_bytes() == b"fixed"
    urls.remove(hashed)
    assert url_cache.file(hashed).read_bytes() == b"fixed"
    monkeypatch.setattr(urls, "_version", lambda about: "")
    asked.clear()
    for _ in range(2):
        assert url_cache.file(changing).read_bytes() == b"other"
    assert asked == ["model-0123456789abcdef-2.safetensors"] * 2
    assert not list(url_cache.file(changing).parent.glob("*.part"))
    urls.remove(changing)
    with pytest.raises(urls.UrlError, match="there is no such file"):
        url_cache.file(changing)


def test_local_files_load_no_fsspec(photograph_folder, tmp_path):
    names = [str(photograph_folder / "coffee.png"), str(tmp_path / "a.rdo")]
    code = (
        "import sys; from rdonet_jax.cli import main; "
        f"assert main.main(['compress', *{names}, '--engine', 'numpy']) == 0; "
        "loaded = {'fsspec', 'jax', 's3fs', 'etils'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

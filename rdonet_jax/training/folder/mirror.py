"""A local folder that is kept at a URL as well: a run, or the weights that it exports.

A thread copies what is new. What a reader at the URL finds is always whole: a checkpoint, a folder
of many files, is one object there (`STEP.zip`), and the log is copied before the checkpoints that
refer to it.
"""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from rdonet_jax.storage import urls
from rdonet_jax.storage.urls import UrlError
from rdonet_jax.training.folder import checkpoints, exports
from rdonet_jax.training.folder.run_dir import LOCK_FILE, RunError

PERIOD_S = 10.0
"""Seconds between two looks at the folder."""

PATIENCE_S = 300.0
"""Seconds for which copying may fail before that counts as an error."""

ATTEMPTS = 3
"""How often the last changes are tried to be copied."""

PACKED = ".zip"


class UncopiedError(RunError):
    """The last changes of a folder could not be copied to its URL."""


Signature = tuple[int, int]
"""What tells that a file has changed: bytes, and the time of its last change in ns."""


class Mirror:
    """Copies a folder to a URL as it changes. A context manager; leaving it copies what is left.

    Nothing is copied while `may_write` says that another process may write there.

    Attributes:
      failure: a sentence once copying has failed for `PATIENCE_S`; empty before.
      uncopied: after leaving, why the last changes could not be copied; empty if they were.
        Leaving raises `UncopiedError` with this sentence unless there is another error.
    """

    def __init__(
        self, folder: Path, url: str, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._folder, self._url, self._may_write = folder, url, may_write
        self._copied = {name: _signature(path) for name, path in _files(folder)}
        held = dict(_checkpoints(folder))
        self._packed = {
            name: _signature(held[name]) if name in held else None
            for name in urls.listed(url)
            if _is_packed(name)
        }
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.failure = ""
        self.uncopied = ""

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.uncopied = f"{self._url}: copying was interrupted"
        self._ended.set()
        self._thread.join()
        for attempt in range(ATTEMPTS):
            time.sleep(attempt)
            self.uncopied = self._attempt()
            if not self.uncopied:
                return
        if error is None:
            raise UncopiedError(self.uncopied)

    def _watch(self) -> None:
        failing_since: float | None = None
        while not self._ended.wait(PERIOD_S):
            cause = self._attempt()
            if not cause:
                failing_since, self.failure = None, ""
                continue
            failing_since = failing_since or time.monotonic()
            if time.monotonic() - failing_since > PATIENCE_S:
                self.failure = cause

    def _attempt(self) -> str:
        """Copies what has changed; the cause if that fails, else an empty text."""
        if not self._may_write():
            return f"{self._url}: is not written to without its lock"
        try:
            self.copy()
        except UrlError as error:
            return str(error)
        return ""

    def copy(self) -> None:
        """Copies what has changed since the last time. Raises `UrlError` whatever goes wrong."""
        with self._lock:
            try:
                self._copy()
            except UrlError:
                raise
            except Exception as error:  # a full disk, for one; the thread has to go on
                raise UrlError(self._url, f"cannot be kept up to date ({error})") from error

    def _copy(self) -> None:
        steps = dict(_checkpoints(self._folder))  # before the log, which is newer then
        for name, path in _files(self._folder):
            self._copy_file(name, path)
        for name, path in steps.items():
            self._copy_checkpoint(name, path)
        gone = self._packed.keys() - steps.keys()
        for name in [name for name in gone if self._is_replaced(name, steps)]:
            urls.remove(urls.join(self._url, name))
            del self._packed[name]
        for name in [name for name in self._copied if not (self._folder / name).exists()]:
            urls.remove(urls.join(self._url, name))
            del self._copied[name]

    def _is_replaced(self, name: str, steps: Mapping[str, Path]) -> bool:
        """Whether a checkpoint of the same kind is at the URL, and among those to be kept.

        It may be of an earlier step, after a run has gone back to a checkpoint before its best one.
        """
        kind = Path(name).parent
        return any(Path(one).parent == kind for one in self._packed.keys() & steps.keys())

    def _copy_file(self, name: str, path: Path) -> None:
        try:
            signature = _signature(path)
            if self._copied.get(name) == signature:
                return
            content = path.read_bytes()
        except FileNotFoundError:  # removed meanwhile
            return
        urls.write(urls.join(self._url, name), content)
        self._copied[name] = signature

    def _copy_checkpoint(self, name: str, folder: Path) -> None:
        """Copies a checkpoint unless it is there, or another one has taken its place meanwhile.

        A run that went back writes the checkpoint of a step again.
        """
        packed = folder.parent.with_name(f".{folder.parent.name}-{folder.name}{PACKED}")
        try:
            signature, paths = _signature(folder), _below(folder)
            if self._packed.get(name) == signature:
                return
            if not paths or not _is_packed_whole(folder, paths, packed):
                return
            # It is not being removed as long as it is among the newest ones.
            if name not in dict(_checkpoints(self._folder)) or _below(folder) != paths:
                return
            urls.upload(packed, urls.join(self._url, name))
            self._packed[name] = signature
        except FileNotFoundError:  # removed meanwhile
            return
        finally:
            packed.unlink(missing_ok=True)


def _below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def _is_packed_whole(folder: Path, paths: Iterable[Path], packed: Path) -> bool:
    """Writes the archive of a checkpoint; False if a file is gone."""
    try:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, strict_timestamps=False) as file:
            for path in paths:
                file.write(path, path.relative_to(folder))
    except FileNotFoundError:
        return False
    return True


def fetch(url: str, folder: Path) -> None:
    """Copies a run from a URL, but for older checkpoints. Raises `UrlError`."""
    names = urls.listed(url)
    packed = [name for name in names if _is_packed(name)]
    newest = {}
    for name in sorted(packed, key=_step):
        newest[Path(name).parent] = name
    plain = [name for name in names if _is_restored(name)]
    for name in [*plain, *newest.values()]:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        urls.download(urls.join(url, name), target)
        if name in packed:
            _unpack(urls.join(url, name), target)


def _unpack(url: str, path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as file:
            if not file.namelist():
                raise UrlError(url, "is no checkpoint (the archive is empty)")
            file.extractall(path.with_suffix(""))
    except zipfile.BadZipFile as error:
        raise UrlError(url, f"is no checkpoint ({error})") from error
    finally:
        path.unlink()


def _is_packed(name: str) -> bool:
    path = Path(name)
    return (
        len(path.parts) == 2
        and path.parts[0] in (checkpoints.LAST, checkpoints.BEST)
        and path.suffix == PACKED
        and path.stem.isdecimal()
    )


def _step(name: str) -> int:
    """The step of a packed checkpoint."""
    return int(Path(name).stem)


def _is_restored(name: str) -> bool:
    """Whether a resumed run needs a file. It begins its own event file."""
    path = Path(name)
    return path.name != LOCK_FILE and (len(path.parts) == 1 or path.parts[0] == exports.FOLDER)


def _checkpoints(folder: Path) -> Iterator[tuple[str, Path]]:
    """The checkpoints that are complete and to be kept, by their name at the URL."""
    for kind, kept in ((checkpoints.LAST, checkpoints.KEPT), (checkpoints.BEST, 1)):
        complete = [path for path in _listed(folder / kind) if path.name.isdecimal()]
        for path in sorted(complete, key=lambda path: int(path.name))[-kept:]:
            yield f"{kind}/{path.name}{PACKED}", path


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """All other files, hidden ones left out."""
    for path in _listed(folder):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path
        elif path.name not in (checkpoints.LAST, checkpoints.BEST):
            for name, below in _files(path):
                yield f"{path.name}/{name}", below


def _listed(folder: Path) -> Iterable[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(".")]


def _signature(path: Path) -> Signature:
    status = path.stat()
    return status.st_size, status.st_mtime_ns

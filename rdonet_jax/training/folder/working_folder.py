"""Where a run lies: a local folder, or a URL, for which the run works in a temporary folder.

A run at a URL has the same files there as a run in a local folder, but for its checkpoints, which
are packed. Every host works in a temporary folder of its own; the first one writes checkpoints and
copies what is new to the URL.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from rdonet_jax.runtime import interrupts, multihost
from rdonet_jax.storage import urls
from rdonet_jax.training.folder import mirror, run_dir
from rdonet_jax.training.folder.mirror import Mirror
from rdonet_jax.training.folder.run_dir import RunError
from rdonet_jax.training.folder.run_lease import Lease


class UncopiedWarning(UserWarning):
    """What a run has written is in a temporary folder, and not at its URL."""


@dataclasses.dataclass(frozen=True)
class WorkingFolder:
    """A folder in which a run works, or to which it writes.

    Attributes:
      folder: local.
      shared: whether all hosts of the run see the same folder.
      failures: give a sentence each when the run must not go on, else an empty text.
      publish: copies what is in the folder to the URL, if the run has one, before it returns.
    """

    folder: Path
    shared: bool = True
    failures: tuple[Callable[[], str], ...] = ()
    publish: Callable[[], None] = lambda: None

    def with_failures_of(self, other: WorkingFolder) -> WorkingFolder:
        """This folder, with the failures of another one as well."""
        return dataclasses.replace(self, failures=(*self.failures, *other.failures))

    def with_failure_checks(self, stop_request: Callable[[int], str]) -> Callable[[int], str]:
        """`stop_request`, see `multihost`, with checks that raise `RunError` after failures."""

        def checked(step: int) -> str:
            for failure in self.failures:
                if sentence := failure():
                    raise RunError(sentence)
            return stop_request(step)

        return checked if self.failures else stop_request


@contextlib.contextmanager
def open_run(run: str | Path) -> Iterator[WorkingFolder]:
    """The working folder of a run that is to be started or resumed, by all hosts together.

    Raises `RunError` when another process trains a run at the URL, and `UrlError`. What is raised
    inside names the URL. If the last changes cannot be copied to the URL, the temporary folder
    stays, and the error names it: that raised inside, or else `UncopiedError`. The other hosts wait
    until the first one has copied everything, and raise `ConfigError` if it cannot.
    """
    urls.require_no_flattened_url(run)
    if not urls.is_url(run):
        yield WorkingFolder(Path(run))
        _finish()  # weights may be copied to a URL
        return
    url = str(run)
    multihost.require_equal(url, "run")
    folder = Path(tempfile.mkdtemp(prefix="rdonet-run-"))  # stays after a signal
    kept: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            lease = Lease(url) if multihost.is_first() else None
            with multihost.raise_on_all_hosts("the run's lock"):
                run_dir.require_name(folder)
                urls.listed(url)  # an error names the run, and not its lock
                if lease:
                    stack.enter_context(lease)
            with multihost.raise_on_all_hosts("the run's files"), _naming(url, folder):
                mirror.fetch(url, folder)
            if lease is None:
                stack.enter_context(_naming(url, folder))
                yield WorkingFolder(folder, shared=False)
                _finish()
                return
            copies = stack.enter_context(_mirrored(folder, url, kept.append, lease.may_write))
            stack.enter_context(_naming(url, folder))
            failures = (lambda: lease.failure, lambda: copies.failure)
            yield WorkingFolder(folder, False, failures, copies.copy)
            _finish(stack.close)
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _finish(copy: Callable[[], None] = lambda: None) -> None:
    """Waits until every host has copied what is left to copy; `copy` does so for this one.

    A host that ends would wait a few minutes for the others, and then JAX would abort them.
    """
    with multihost.raise_on_all_hosts("everything is copied", multihost.A_DAY_MS):
        copy()


@contextlib.contextmanager
def fetch_run(run: str | Path) -> Iterator[Path]:
    """A run's folder to read, a temporary copy of what lies at a URL. Raises `UrlError`."""
    urls.require_no_flattened_url(run)
    if not urls.is_url(run):
        yield Path(run)
        return
    with interrupts.temporary_folder("rdonet-run-") as name:
        folder = Path(name)
        with _naming(str(run), folder):
            mirror.fetch(str(run), folder)
            yield folder


@contextlib.contextmanager
def open_output(target: str | Path) -> Iterator[WorkingFolder]:
    """A folder to write to, whose files are copied to the URL if it is one.

    If the last ones cannot be copied, they stay in the temporary folder, and the error names it:
    that raised inside, or else `UncopiedError`.
    """
    urls.require_no_flattened_url(target)
    if not urls.is_url(target):
        yield WorkingFolder(Path(target))
        return
    with interrupts.temporary_folder("rdonet-weights-") as name:
        folder = Path(name)
        with _mirrored(folder, str(target), interrupts.keep_folder) as copies:
            yield WorkingFolder(folder, False, (lambda: copies.failure,), copies.copy)


@contextlib.contextmanager
def _mirrored(
    folder: Path,
    url: str,
    keep: Callable[[Path], None],
    may_write: Callable[[], bool] = lambda: True,
) -> Iterator[Mirror]:
    """A folder that is kept at a URL. If the last changes are not there, `keep` gets the folder,
    and the error names it."""
    copies = Mirror(folder, url, may_write)
    try:
        with copies:
            yield copies
    except BaseException as error:
        if copies.uncopied:
            keep(folder)
            _add(error, f"what is not at {url} yet is in {folder}")
        raise


def _add(error: BaseException, sentence: str) -> None:
    """Adds to the message of an error; where that is not possible, as of Ctrl-C, a warning."""
    if isinstance(error, OSError) and error.strerror:
        error.strerror += f"; {sentence}"
    elif isinstance(error, Exception):
        error.args = (f"{error}; {sentence}",)
    if not isinstance(error, Exception) or sentence not in str(error):
        warnings.warn(sentence, UncopiedWarning, stacklevel=2)


@contextlib.contextmanager
def _naming(url: str, folder: Path) -> Iterator[None]:
    """Lets errors name the URL in place of the temporary folder."""
    try:
        yield
    except Exception as error:
        error.args = tuple(
            arg.replace(str(folder), url) if isinstance(arg, str) else arg for arg in error.args
        )
        raise

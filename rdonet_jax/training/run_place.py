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
from collections.abc import Callable, Iterator
from pathlib import Path

from rdonet_jax.core import multihost, urls
from rdonet_jax.training import mirror
from rdonet_jax.training.mirror import Mirror, UncopiedError
from rdonet_jax.training.run_dir import RunError
from rdonet_jax.training.run_lease import Lease


@dataclasses.dataclass(frozen=True)
class Place:
    """The folder in which a run works.

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

    def watched(self, stop_request: Callable[[int], str]) -> Callable[[int], str]:
        """A function as `multihost.stop_requests` gives, which raises `RunError` after failures."""

        def watched(step: int) -> str:
            for failure in self.failures:
                if sentence := failure():
                    raise RunError(sentence)
            return stop_request(step)

        return watched if self.failures else stop_request


@contextlib.contextmanager
def opened(run: str | Path) -> Iterator[Place]:
    """The place of a run that is to be started or resumed, by all hosts together.

    Raises `RunError` when another process trains a run at the URL, and `UrlError`. What is raised
    inside names the URL. If the last changes cannot be copied to the URL, `RunError` names the
    temporary folder, which stays then.
    """
    urls.require_no_flattened_url(run)
    if not urls.is_url(run):
        yield Place(Path(run))
        return
    url = str(run)
    multihost.require_equal(url, "run")
    folder = Path(tempfile.mkdtemp(prefix="rdonet-run-"))
    kept = False
    try:
        with _naming(url, folder), contextlib.ExitStack() as stack:
            lease = Lease(url) if multihost.is_first() else None
            with multihost.raise_on_all_hosts("the run's lock"):
                urls.listed(url)  # an error names the run, and not its lock
                if lease:
                    stack.enter_context(lease)
            with multihost.raise_on_all_hosts("the run's files"):
                mirror.fetch(url, folder)
            if lease is None:
                yield Place(folder, shared=False)
                return
            copies = stack.enter_context(Mirror(folder, url, lambda: not lease.failure))
            failures = (lambda: lease.failure, lambda: copies.failure)
            yield Place(folder, False, failures, copies.copy)
    except UncopiedError as error:
        kept = True
        raise RunError(f"{error}; what is not there yet is in {folder}") from error
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def fetched(run: str | Path) -> Iterator[Path]:
    """A run's folder to read, a temporary copy of what lies at a URL. Raises `UrlError`."""
    urls.require_no_flattened_url(run)
    if not urls.is_url(run):
        yield Path(run)
        return
    with tempfile.TemporaryDirectory(prefix="rdonet-run-") as name:
        folder = Path(name)
        with _naming(str(run), folder):
            mirror.fetch(str(run), folder)
            yield folder


@contextlib.contextmanager
def written(place: str | Path) -> Iterator[Path]:
    """A folder to write to, whose files are copied to the place if it is a URL."""
    urls.require_no_flattened_url(place)
    if not urls.is_url(place):
        yield Path(place)
        return
    with (
        tempfile.TemporaryDirectory(prefix="rdonet-weights-") as name,
        Mirror(Path(name), str(place)),
    ):
        yield Path(name)


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

"""Event files: what TensorBoard shows of a run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class EventFile:
    """One event file of a run, a new one in the folder for every start.

    `tensorboardX.SummaryWriter` writes in a background thread. A killed run would lose its last
    values, and an error such as a full disk would stay unseen. So this class uses the synchronous
    writer below it, and every event is on disk when a method returns.

    Args:
      folder: is made if it is missing.
      purge_step: TensorBoard hides what earlier files of the folder have of this step and later
        ones, as with `SummaryWriter(purge_step=...)`.

    All methods raise OSError, with the name of the file.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # The writer's own names have whole seconds. Two starts within one must not share a file,
        # and TensorBoard reads the files in the order of their names.
        self._writer = EventsWriter(str(folder / "events"), f".{time.time():.6f}")
        self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds numbers by their tags."""
        self._add(step, (summary.scalar(tag, value) for tag, value in values.items()))

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Adds images uint8 [H, W, 3] by their tags."""
        self._add(
            step, (summary.image(tag, image, dataformats="HWC") for tag, image in images.items())
        )

    def close(self) -> None:
        self._writer.close()

    def _add(self, step: int, parts: Iterable[Summary]) -> None:
        values = [value for part in parts for value in part.value]
        self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            error.filename = error.filename or str(self._folder)  # a full disk names no file
            raise

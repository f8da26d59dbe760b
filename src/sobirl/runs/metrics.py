"""Metrics that can be watched while a run goes on: `metrics.csv`, and TensorBoard's events."""

import abc
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sobirl.core.errors import InvalidInputError
from sobirl.runs.files import csv_header, csv_rows

if TYPE_CHECKING:
    import numpy as np

Columns: TypeAlias = "dict[str, np.ndarray]"  # (steps,) each


class MetricsStream(abc.ABC):
    """Takes the rows of a run as they come."""

    @abc.abstractmethod
    def begin(self, columns: Columns) -> None:
        """Start anew with the rows of steps 1, 2, ..., perhaps none yet."""

    @abc.abstractmethod
    def append(self, columns: Columns, first_step: int) -> None:
        """Add the rows of the steps from `first_step` on."""


class CsvStream(MetricsStream):
    """Rows of `metrics.csv`, flushed at every call."""

    def __init__(self, path: Path):
        self.path = path

    def begin(self, columns: Columns) -> None:
        """Write the header and the first rows over what there is."""
        self.path.write_text(csv_header(columns) + csv_rows(columns))

    def append(self, columns: Columns, first_step: int) -> None:
        """Append rows."""
        with self.path.open("a") as file:
            file.write(csv_rows(columns, first_step))


class TensorBoardStream(MetricsStream):
    """Scalars by step for TensorBoard: `tensorboard --logdir` on the run's folder shows them.

    Args:
        folder: made anew at `begin`.

    Raises:
        InvalidInputError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        require_tensorboard()

    def begin(self, columns: Columns) -> None:
        """Remove earlier events and write the first rows."""
        # pyrefly: ignore[missing-module-attribute]  # protobuf makes it at run time
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter

        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        # The writer that tensorboardX advertises writes from a thread of its own, which waits for
        # ever once the disk is full; its records are written here instead.
        path = self.folder / f"events.out.tfevents.{int(time.time())}.sobirl"
        self._records = RecordWriter(str(path))
        self._write([Event(wall_time=time.time(), file_version="brain.Event:2")])
        self.append(columns, first_step=1)

    def append(self, columns: Columns, first_step: int) -> None:
        """Append one event a step."""
        # pyrefly: ignore[missing-module-attribute]  # protobuf makes it at run time
        from tensorboardX.proto.event_pb2 import Event

        # pyrefly: ignore[missing-module-attribute]  # protobuf makes it at run time
        from tensorboardX.proto.summary_pb2 import Summary

        now = time.time()
        events = []
        for step, row in enumerate(zip(*columns.values(), strict=True), start=first_step):
            values = [
                Summary.Value(tag=tag, simple_value=float(entry))
                for tag, entry in zip(columns, row, strict=True)
            ]
            events.append(Event(wall_time=now, step=step, summary=Summary(value=values)))
        self._write(events)

    def _write(self, events: list) -> None:
        for event in events:
            self._records.write(event.SerializeToString())
        self._records.flush()


def require_tensorboard() -> None:
    """Raise unless the package that writes TensorBoard's events is installed.

    Raises:
        InvalidInputError: with the command that installs it.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise InvalidInputError(
            "--tensorboard needs a further package: pip install 'sobirl[tensorboard]'"
        ) from error

"""TensorBoard curves of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.runs.events import Ended, Event, Started, Stepped, Validated

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLog:
    """Listener that writes scalars to a TensorBoard folder.

    A resumed run hides what an earlier process logged after the checkpoint it starts from.

    Args:
        folder: where the event files go, such as ``RUN/tb``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def __call__(self, event: Event) -> None:
        """Write the scalars of one event."""
        if isinstance(event, Started):
            self._open(event.step + 1 if event.step else None)
        elif isinstance(event, Stepped):
            writer = self._writer or self._open(None)
            writer.add_scalar("learning rate", event.lr, event.step)
            writer.add_scalar("iterations per second", event.iterations_per_second, event.step)
            for name, value in event.values.items():
                writer.add_scalar(f"train/{name}", value, event.step)
        elif isinstance(event, Validated):
            writer = self._writer or self._open(None)
            for name, value in event.scores.items():
                writer.add_scalar(f"validation/{name}", value, event.step)
            writer.flush()
        elif isinstance(event, Ended):
            self.close()

    def close(self) -> None:
        """Flush and close; a later event opens the folder again."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, purge_step: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        self.close()
        self._writer = SummaryWriter(str(self.folder), purge_step=purge_step)
        return self._writer

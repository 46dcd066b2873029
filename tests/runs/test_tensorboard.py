from __future__ import annotations

from pathlib import Path

from semiseg.runs.events import Ended, Started, Stepped, Validated
from semiseg.runs.log import TensorBoardLog


def stepped(step: int, loss: float) -> Stepped:
    return Stepped(step, 40, "train", 0.01, {"loss": loss}, 3.0, 1.0)


def test_scalars_and_purging_on_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = TensorBoardLog(tmp_path)
    for event in (Started(0, 40), stepped(10, 1.0), stepped(20, 2.0), stepped(30, -1.0)):
        first(event)
    first.close()  # killed here; the checkpoint was at 20
    second = TensorBoardLog(tmp_path)
    for event in (
        Started(20, 40),
        stepped(30, 3.0),
        Validated(40, {"dice": 0.5}, True),
        Ended(40, "finished", 1),
    ):
        second(event)

    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert [(e.step, e.value) for e in events.Scalars("validation/dice")] == [(40, 0.5)]
    assert len(events.Scalars("learning rate")) == 3

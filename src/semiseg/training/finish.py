"""The end of a training: the weights that are exported, their scores, and the manifest's last entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from semiseg.core import Method
from semiseg.machine.hardware import peak_memory
from semiseg.networks import checkpoint
from semiseg.prediction.model import Model
from semiseg.preparation.prepare import Prepared
from semiseg.preparation.store import StoredCase
from semiseg.runs.events import Ended, Notice
from semiseg.runs.folder import RunFolder
from semiseg.runs.score import Score, of_evaluation, scored_on, unscored
from semiseg.settings.config import Config
from semiseg.training.loop import HEALTHY, Loop
from semiseg.training.trained import eager
from semiseg.training.validation import Validation

SCANS = 3
"""Predicted to take the time of."""


@dataclass(frozen=True)
class Finish:
    """Writes what a training leaves at its end."""

    folder: RunFolder
    prepared: Prepared
    config: Config
    method: Method
    precision: str
    validated: Callable[..., Validation]
    """Makes a :class:`Validation` of this training, see there; of other cases, and what they are."""

    def __call__(self, loop: Loop, ended: Ended) -> None:
        """Export, score and note; of an interrupted training only its end is noted."""
        folder, memory = self.folder, peak_memory(loop.fabric.device)
        if ended.reason == "interrupted":
            folder.note_end(ended, memory)
            return
        content = self._exported(loop, ended)
        loop.network.load_state_dict(content["predictor"])
        score = self._scored(loop)
        checkpoint.save(folder.checkpoints / "final.ckpt", content)
        if self.method.compared:
            self._compare(loop)
        watched = loop.monitor.report() if loop.monitor else {}
        facts = {**watched, "exported_iteration": content["step"], "score": score.as_dict()}
        folder.note_end(ended, memory, facts)
        for found in loop.monitor.judge.findings if loop.monitor else ():
            loop.tell(Notice(ended.step, f"{found.text} ({self._told(content)})", warning=True))

    def _exported(self, loop: Loop, ended: Ended) -> dict[str, Any]:
        """The weights that become the final model: by validation, or the last usable ones."""
        content = loop.model()
        for name, wanted in (
            ("best.ckpt", self.config.select == "best-val"),
            (HEALTHY, ended.reason == "collapse"),
        ):
            if wanted and (self.folder.checkpoints / name).is_file():
                chosen = checkpoint.load(self.folder.checkpoints / name, checkpoint.MODEL)
                if chosen["network"] == content["network"]:  # not so before its stage was first looked at
                    return chosen
        return content

    def _scored(self, loop: Loop) -> Score:
        """Score the exported network: on held-out cases, which nothing has looked at, else on val cases."""
        split, data = self.prepared.split, self.config.data
        selection = str(self.config.select) if split.val else "last"
        score = unscored(self.prepared.dataset, split, self.folder.path)
        if split.val:
            found = self.validated().write(loop.network, self.folder.path / "validation")
            score = of_evaluation(found, scored_on(split, "val", selection), "validation")
        if split.held_out:
            fold = f"fold {data.fold} of {data.folds}"
            last = self.validated(split.held_out, f"held-out cases of {fold}")
            found = last.write(loop.network, self.folder.path / "held_out")
            score = of_evaluation(found, scored_on(split, "held_out", selection, fold), "held_out")
        return score

    def _compare(self, loop: Loop) -> None:
        """Note parameters, validation Dice and seconds per scan of the networks to be compared.

        The time is that of prepared scans of the training, without reading and writing.
        """
        networks = {name: getattr(self.method, name) for name in self.method.compared}
        networks[loop.name] = loop.network  # as exported
        cases = [*self.prepared.unlabeled, *self.prepared.labeled][:SCANS]
        found, told = {}, []
        for name, network in networks.items():
            model = Model.of(self.prepared.plan, [network], self.config.inference, precision=self.precision)
            count, seconds = sum(p.numel() for p in network.parameters()), round(_seconds(model, cases), 3)
            dice = round(self.validated()(network)["dice"], 4) if self.prepared.split.val else None
            found[name] = {"parameters": count, "dice": dice, "seconds_per_scan": seconds}
            score = "no validation list for Dice" if dice is None else f"validation Dice {dice:.3f}"
            told.append(f"{name}: {score}, {seconds:g} s per scan, {count:,} parameters")
        self.folder.note("networks", found)
        for text in told:
            loop.tell(Notice(loop.step, text))

    def _told(self, content: dict[str, Any]) -> str:
        """Which weights are exported, and where those of the last healthy check are."""
        healthy = self.folder.checkpoints / HEALTHY
        if not healthy.is_file():
            return f"the weights of iteration {content['step']} are exported"
        step = checkpoint.load(healthy, checkpoint.MODEL)["step"]
        if step == content["step"]:
            return f"exported: iteration {step}, the last healthy check"
        return f"exported: iteration {content['step']}; the last healthy check, iteration {step}: {healthy}"


def _seconds(model: Model, cases: Sequence[StoredCase]) -> float:
    """Mean over the scans; one more goes before, which makes the prediction copy."""
    first, *others = [(np.array(case.image), case.geometry) for case in cases]
    with eager():
        model.segment_prepared(*first)
        began = time.monotonic()
        for image, geometry in (first, *others):
            model.segment_prepared(image, geometry)
    return (time.monotonic() - began) / len(cases)

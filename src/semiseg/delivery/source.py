"""What an export holds of a run: network, plan, and what is known of them without any name of the data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.errors import SemisegError
from semiseg.machine.files import json_object, printable
from semiseg.prediction.members import (
    Member,
    checkpoint_file,
    predictor_weights,
    read_checkpoint,
    read_member,
)
from semiseg.prediction.packaged import ModelZip, is_zip
from semiseg.preparation.plan import Plan
from semiseg.runs.run import Run, load_run
from semiseg.settings.config import InferenceConfig

OF_A_MANIFEST = (
    "semiseg", "python", "packages", "method", "method_options", "batch", "labeled", "validation",
    "selection", "protocol", "deviations", "precision", "parameters", "started", "ended",
    "split_sha256", "data_sha256", "class_shares", "collapse", "exported_iteration",
)  # fmt: skip
"""Entries that name no case, no file, no machine and no person."""

_PATH = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\]+[\w.\- ]*[\w.])+[/\\]+(?=\w)")
"""The folders of an absolute path in a text; the last name of the path stays."""


@dataclass(frozen=True)
class Source:
    """One network to export, and the run that it is of.

    Attributes:
        run: where it lies; of a zip, unpacked.
        member: the network (on the CPU) and its plan.
        settings: how its run predicts.
        about: see :func:`facts`.
    """

    run: Run
    member: Member
    settings: InferenceConfig
    about: dict[str, Any]

    @property
    def plan(self) -> Plan:
        """The network's plan without the name of its dataset."""
        plan = self.member.plan
        reasons = {key: without_paths(text) for key, text in plan.reasons.items()}
        return plan.model_copy(update={"dataset": "", "reasons": reasons})

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration without paths."""
        tree = self.run.config.model_dump(mode="json")
        tree["start"]["file"] = None  # where the first weights lay is nobody's business
        cleaned: dict[str, Any] = without_paths(tree)
        return cleaned

    def checkpoint(self) -> dict[str, Any]:
        """The model alone, as a checkpoint that this package reads: no optimizer, no training-only heads."""
        content = read_checkpoint(checkpoint_file(self.run.folder))
        kept = {key: content[key] for key in ("network", "in_channels", "classes", "step", "score")}
        return {
            "kind": "semiseg-model",
            "format": 1,
            **kept,
            "mirrored": list(self.member.mirrored),
            "plan": self.plan.model_dump_json(),
            "config": json.dumps(self.config),
            "predictor": predictor_weights(content),
        }


def read_sources(paths: Sequence[Path], allow_code: Collection[str] = ()) -> list[Source]:
    """The networks of run folders and zips (with one network or several), in that order.

    Code of other modules than ``allow_code`` is not imported; a run that cannot be used is a UsageError.
    """
    found = []
    for path in paths:
        if is_zip(path):
            opened = ModelZip(path)
            known = opened.document.get("about") or [None] * len(opened.folders)
            runs = [(Run(folder, opened), about) for folder, about in zip(opened.folders, known, strict=True)]
        else:
            runs = [(load_run(path), None)]
        found += [_source(run, about, allow_code) for run, about in runs]
    return found


def _source(run: Run, about: dict[str, Any] | None, allow_code: Collection[str]) -> Source:
    run.config  # noqa: B018 of another version, it may have settings that are not known here
    member, settings = read_member(run.folder, allow_code)
    return Source(run, member, settings, about or facts(run, member))


def facts(run: Run, member: Member) -> dict[str, Any]:
    """What a reader of a model card wants to know: counts and hashes of the data, never a name of a case."""
    manifest = run.manifest if (run.folder / "manifest.json").exists() else {}
    described = json_object(run.folder / "dataset.json")
    split = json_object(run.folder / "splits.json")
    counts = {key: len(split[name]) for key, name in PARTS.items() if isinstance(split.get(name), list)}
    texts = {
        key: described[key]
        for key in ("license", "licence", "reference", "file_ending")
        if described.get(key)
    }
    found = {
        **{key: manifest[key] for key in OF_A_MANIFEST if key in manifest},
        "network": member.source.get("network"),
        "iterations": member.source.get("step"),
        "validation_score": member.source.get("score"),
        "data": {**counts, **{key.replace("licence", "license"): str(v) for key, v in texts.items()}},
        "scores": scores(run),
    }
    cleaned: dict[str, Any] = without_paths(found)
    return cleaned


PARTS = {
    "labeled": "labeled",
    "unlabeled": "unlabeled",
    "validation": "val",
    "held_out": "held_out",
    "test": "test",
}
"""Count of cases -> their list in ``splits.json``."""


def scores(run: Run) -> list[dict[str, Any]]:
    """Means and 95 % intervals over cases of what ``semiseg evaluate`` wrote into the run, if it did."""
    from semiseg.comparison.compare import compare

    places = (run.folder / name / "summary.json" for name in ("test", "held_out", "validation"))
    if not any(place.is_file() for place in places):
        return []
    try:
        found = compare([run.folder]).groups
    except SemisegError:
        return []
    return [
        {
            "on": group.source,
            "metric": one.metric,
            "class": one.label,
            "mean": _number(one.mean),
            "interval": [_number(one.interval.low), _number(one.interval.high)],
            "level": one.interval.level,
            "cases": one.cases,
        }
        for group in found
        for one in group.summaries
    ]


def without_paths(value: Any) -> Any:
    """The same tree with every absolute path in its texts cut to its last name."""
    if isinstance(value, str):
        return _PATH.sub("", printable(value, keep="\n"))
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    return value


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None

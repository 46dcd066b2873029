"""Scans with a label that a run has not seen as labeled, to choose settings on; and the test scans."""

from __future__ import annotations

from pathlib import Path

from semiseg.dataset.case import LabeledCase
from semiseg.dataset.dataset import Dataset
from semiseg.runs.run import Run


def cases_of(dataset: Path, run: Run, part: str, count: int) -> list[LabeledCase]:
    """The last ``count`` cases of the training order (``development``), or all test cases (``test``).

    Raises:
        SystemExit: a case of the development part was labeled in the run, or a test case has no label.
    """
    opened = Dataset.open(dataset)
    chosen = opened.annotated[-count:] if part == "development" else opened.test
    labeled = {*run.split["labeled"]}
    if seen := [case.id for case in chosen if case.id in labeled]:
        raise SystemExit(f"{run.folder}: {seen[0]} was labeled in training; take fewer cases")
    found = [case for case in chosen if isinstance(case, LabeledCase)]
    if len(found) < len(chosen):
        raise SystemExit(f"{dataset}: {len(chosen) - len(found)} of its test cases have no label")
    return found

"""``semiseg check``: everything that is wrong with a dataset folder, before a training fails on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiseg.dataset.case import Case, LabeledCase
from semiseg.dataset.check.all_cases import (
    duplicates,
    inverted_problems,
    label_problems,
    mixed_dimensions,
    propose_label_map,
    roles,
    too_few,
    twins,
    unfolded,
    write_label_map,
)
from semiseg.dataset.check.case import examine, examine_label
from semiseg.dataset.check.misplaced import misplaced_problems
from semiseg.dataset.check.modality import flip_problems, modality_problems
from semiseg.dataset.dataset import locate
from semiseg.dataset.description import Description, read_description
from semiseg.dataset.files import num_training, scan
from semiseg.dataset.problem import Finding, Problem, as_lines
from semiseg.dataset.split import split_problems
from semiseg.dataset.split_file import read_split_file
from semiseg.drawing.notebook import Tabular, notebook_bar
from semiseg.errors import plural

__all__ = ["Problem", "Report", "check", "check_label"]

if TYPE_CHECKING:
    from semiseg.drawing.table import Table

CAUSES = ("DATASET_JSON", "REGIONS", "MISSING_FOLDER", "SPLITS")
"""Problems that cause others: they are listed first."""


@dataclass
class Report(Tabular):
    """The result of :func:`check`.

    Attributes:
        dataset: the folder.
        problems: all of them, errors first, then by case.
        notices: what was skipped or assumed.
        counts: cases per kind.
        proposed_label_map: raw value -> declared value, when ``fix`` would write it.
        fixed: what ``fix`` changed.
        channels: names, in their order.
    """

    dataset: Path
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    proposed_label_map: dict[int, int] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)
    channels: tuple[str, ...] = ()

    @property
    def errors(self) -> list[Problem]:
        """Problems that stop training."""
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def ok(self) -> bool:
        """Whether the dataset can be used; warnings do not count."""
        return not self.errors

    def as_dict(self) -> dict[str, Any]:
        """The ``--json`` form; with errors also ``code``, ``message`` and ``hint`` of the first."""
        first = self.errors[0] if self.errors else None
        return {
            "ok": self.ok,
            "code": first.code if first else "OK",
            "message": first.sentence(with_fix=False) if first else "",
            "hint": first.fix if first else "",
            "dataset": str(self.dataset),
            "counts": self.counts,
            "problems": [problem.as_dict() for problem in self.problems],
            "notices": self.notices,
            "proposed_label_map": {str(k): v for k, v in self.proposed_label_map.items()},
            "fixed": self.fixed,
        }

    def tables(self) -> Sequence[Table]:
        """The problems, a row each, with a verdict above."""
        from semiseg.drawing.table import Table, TableCell, heads

        rows = tuple(
            (TableCell(p.severity, state=p.severity), TableCell(p.case or ""), TableCell(p.sentence()))
            for p in self.problems
        )
        first, *_, verdict = self.as_text().splitlines()
        columns = heads(("severity", "case", "problem"), left=3)
        return [Table(f"{first}; {verdict}", columns, rows, tuple(self.notices))]

    def as_text(self) -> str:
        """One line per problem and notice, with a summary first and a verdict last.

        What is the same in many cases is one line.
        """
        counts = ", ".join(f"{number} {kind}" for kind, number in self.counts.items())
        errors, warnings = len(self.errors), len(self.problems) - len(self.errors)
        verdict = f"{plural(errors, 'error')}, {plural(warnings, 'warning')}"
        return "\n".join(
            [
                f"{self.dataset.name}: {counts or 'no cases'}",
                *as_lines(self.problems, self.channels),
                *(f"notice {notice}" for notice in self.notices),
                *(f"fixed {change}" for change in self.fixed),
                f"OK ({verdict})" if self.ok else f"not usable yet: {verdict}",
            ]
        )


def check(
    dataset: str | Path,
    *,
    fix: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Look at every file of a dataset and report all problems at once. Opens labels: this is not training.

    Args:
        dataset: a folder, or a name or number under ``SEMISEG_DATA``.
        fix: write a proposed ``label_map`` (value in the files: class) into ``dataset.json``.
        workers: cases read at the same time; None is one per core, 8 at most.
        progress: called with (cases done, cases in all).

    Returns:
        All problems with what mends them; ``report.ok`` says whether the dataset can be used.

    Raises:
        UsageError: there is no such folder.
    """
    progress = progress or notebook_bar("check")
    root = locate(dataset)
    description, faults = read_description(root)
    report = Report(root, list(faults))
    found = scan(root, description)
    report.problems += found.problems
    report.notices += found.notices
    report.counts = {
        "labeled": len(found.annotated),
        "unlabeled": len(found.unannotated),
        "test": len(found.test),
    }
    if description.file_ending:
        report.problems += too_few(found)
        count = num_training(description, found)
        report.problems += [count] if count else []
    splits, split_faults = read_split_file(root, found.ids)
    report.problems += split_faults
    if splits is not None and not split_faults and description.file_ending:
        training = {case.id: case for case in (*found.annotated, *found.unannotated)}
        broken = split_problems(training, {case.id: case for case in found.test}, splits)
        # too_few has told of a folder without any label
        report.problems += [p for p in broken if found.annotated or p.code != "NO_LABELED"]
        report.problems += unfolded(found, splits)
    cases: list[Case] = [*found.annotated, *found.unannotated, *found.test]
    findings = _examine_all(cases, description.channel_names, root, workers, progress)
    report.problems += [problem for finding in findings for problem in finding.problems]
    role = roles(found, splits)
    report.problems += duplicates(findings, role) + twins(findings, role, splits) + mixed_dimensions(findings)
    report.problems += modality_problems(findings, description.channel_names) + flip_problems(findings)
    report.problems += misplaced_problems(findings)
    report.channels = description.channel_names
    if description.labels:
        proposal = propose_label_map(findings, description)
        if proposal and fix and not faults:
            write_label_map(root, proposal)
            report.fixed.append(f"dataset.json: label_map {proposal} (value in the files: class)")
            description = replace(description, label_map={**description.label_map, **proposal})
            proposal = {}
        report.proposed_label_map = proposal
        report.problems += label_problems(findings, description, proposal, root)
        report.problems += inverted_problems(findings, description)
    report.problems.sort(key=lambda p: (p.severity != "error", p.code not in CAUSES, p.case, p.file))
    return report


def _examine_all(
    cases: Sequence[Case],
    channels: Sequence[str],
    root: Path,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[Finding]:
    """Threads, not processes: reading, inflating, hashing and counting release the interpreter lock."""
    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(examine, case, channels, root) for case in cases]
        try:
            for done, _ in enumerate(as_completed(futures), start=1):
                if progress:
                    progress(done, len(cases))
        except BaseException:  # Ctrl-C must not wait for the rest
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def check_label(case: LabeledCase, description: Description, root: Path) -> list[Problem]:
    """Everything that is wrong with the label of one case, as :func:`check` tells it; its image is not read.

    Raises:
        DataError: the image's header cannot be read.
    """
    finding = examine_label(case, root)
    values = label_problems([finding], description, {}, root)
    return [*finding.problems, *(problem for problem in values if problem.code != "MISSING_CLASS")]

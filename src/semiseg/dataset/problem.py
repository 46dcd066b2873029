"""What is wrong with a dataset, for people and machines to read; and what was found in one case."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from semiseg.dataset.case import Case
from semiseg.errors import DataError, SemisegError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """What was found, where, what it should be and how to fix it.

    Attributes:
        code: a stable word such as ``LABEL_VALUES``.
        got: what is there.
        wanted: what should be there.
        fix: what to do.
        case: the case id, empty when the problem is not one case's.
        file: the file, relative to the dataset folder where it lies inside.
        severity: ``error`` stops training, ``warning`` does not.
        text: the whole sentence, where "got …, wanted …" would not be one.
    """

    code: str
    got: str
    wanted: str = ""
    fix: str = ""
    case: str = ""
    file: str = ""
    severity: Severity = "error"
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {key: value for key, value in asdict(self).items() if key != "text"}

    def as_line(self) -> str:
        """``severity code case file: got ..., wanted ...; fix: ...`` on one line."""
        colon = "" if (self.case or self.file) and not self.text else ":"
        return f"{self.severity} {self.code}{colon} {self.sentence()}"

    def sentence(self, with_fix: bool = True) -> str:
        """``case file: got ..., wanted ...; fix: ...``."""
        if self.text:
            return self.text + (f"; fix: {self.fix}" if self.fix and with_fix else "")
        where = " ".join(part for part in (self.case, self.file) if part)
        wanted = f", wanted {self.wanted}" if self.wanted else ""
        fix = f"; fix: {self.fix}" if self.fix and with_fix else ""
        return " ".join((f"{where}: " * bool(where) + f"got {self.got}{wanted}{fix}").split())


MOST_ALIKE = 3
"""Problems of one kind, in one kind of file, that have a line each; more are put together."""


def as_lines(problems: Sequence[Problem], channels: Sequence[str] = ()) -> list[str]:
    """A line for each problem, in their order; one for many cases with the same fault in the same channel."""
    keys = [(p.severity, p.code, _place(p.file, channels)) if p.case else None for p in problems]
    alike = defaultdict(list)
    for problem, key in zip(problems, keys, strict=True):
        alike[key].append(problem)
    cases = {key: list(dict.fromkeys(one.case for one in group)) for key, group in alike.items()}
    lines, told = [], set()
    for problem, key in zip(problems, keys, strict=True):
        if key is None or len(cases[key]) <= MOST_ALIKE:
            lines.append(problem.as_line())
        elif key not in told:
            told.add(key)
            lines.append(_together(problem, key[2], cases[key], len({one.got for one in alike[key]}) > 1))
    return lines


def _together(first: Problem, place: str, cases: Sequence[str], differ: bool) -> str:
    what = " ".join(part for part in (first.severity, first.code, place) if part)
    shown = f"{', '.join(cases[:2])} and {len(cases) - 2} more"
    sentence = replace(first, case="", file="").sentence()
    such = f" in {first.case} (others differ)" if differ else ""
    return f"{what} of {len(cases)} cases ({shown}): {sentence}{such}"


def _place(file: str, channels: Sequence[str]) -> str:
    """What a file is: a channel's name, ``label``, or nothing that is known."""
    if file.startswith("labels"):
        return "label"
    match = re.search(r"_(\d{4})\.[^/]*$", file)
    if match is None:
        return ""
    number = int(match[1])
    return channels[number] if number < len(channels) else f"channel {number}"


def raise_if_any(problems: Sequence[Problem], where: str, kind: type[SemisegError] = DataError) -> None:
    """Raise one error that names every problem of severity ``error``; warnings do not raise."""
    errors = [p for p in problems if p.severity == "error"]
    if not errors:
        return
    codes = {p.code for p in errors}
    hint = "fix what is named; `semiseg check` lists every problem of a dataset"
    message = errors[0].text or f"{where}: {errors[0].sentence(with_fix=False)}"
    if len(errors) > 1:
        lines = [f"  {line.removeprefix('error ')}" for line in as_lines(errors)]
        message = f"{where} has {len(errors)} problems:\n" + "\n".join(lines)
    elif errors[0].fix:
        hint = errors[0].fix
    raise kind(
        message,
        hint=hint,
        code=codes.pop() if len(codes) == 1 else "DATASET",
        details={"problems": [p.as_dict() for p in errors]},
    )


@dataclass
class Finding:
    """What was found in one case.

    Attributes:
        digest: hash of the decoded images, None when they are constant or unreadable.
        values: label value -> voxels, None without a readable label.
        mask: hash of the cropped label map, None without one that says anything.
        frame: the value that fills the outer frame of the label, None where no single one does.
        dim: axes of the first image, 0 when unreadable.
        lowest: the lowest value of each channel, NaN of one that cannot be read.
        flip: of a labeled CT, the array axes along which its label would fit better, and how much better (see
            :func:`semiseg.dataset.check.modality.best_flip`); None where that was not looked at.
        shape: voxels per axis of a labeled case.
        fit: how well its label fits the first channel (see :func:`semiseg.dataset.check.edges.fit`).
    """

    case: Case
    problems: list[Problem] = field(default_factory=list)
    digest: str | None = None
    values: dict[int, int] | None = None
    mask: str | None = None
    frame: int | None = None
    dim: int = 0
    lowest: tuple[float, ...] = ()
    flip: tuple[tuple[int, ...], float] | None = None
    shape: tuple[int, ...] = ()
    fit: float | None = None

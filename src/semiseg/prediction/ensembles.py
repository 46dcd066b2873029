"""Which runs a pattern or a list of folds means."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from semiseg.errors import UsageError

_FOLD = re.compile(r"(.*fold-)(\d+)(.*)")
"""In the name of a run folder, see :func:`semiseg.runs.folder.run_name`."""


def expanded(paths: Sequence[str | Path], folds: str | Sequence[int] | None = None) -> list[Path]:
    """The runs or checkpoints that the paths mean, each once.

    Args:
        paths: as they are; one that does not exist and has ``*``, ``?`` or ``[`` is a pattern.
        folds: ``all``, numbers with commas between them, or a list of numbers: these folds of each run.

    Raises:
        UsageError: a pattern that nothing fits, a run of no fold, or a fold that was not trained.
    """
    found = [match for path in paths for match in _matches(Path(path))]
    if folds is not None:
        found = [fold for path in found for fold in _folds(path, folds)]
    return list(dict.fromkeys(found))


def fitting(pattern: Path) -> list[Path]:
    """What a path with ``*``, ``?`` or ``[`` fits, sorted; nothing without any of these."""
    if not glob.has_magic(str(pattern)):
        return []
    return sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))


def _matches(path: Path) -> list[Path]:
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = fitting(path)
    usable = [one for one in found if one.suffix == ".zip" or one.is_file() or (one / "checkpoints").is_dir()]
    if not usable:
        what = "nothing" if not found else f"{found[0]}, which is not a run"
        raise UsageError(
            f"the pattern {path} fits {what}",
            hint="quote it, and see with `ls` which run folders it names",
            code="NO_MODEL",
        )
    return usable


def _folds(path: Path, folds: str | Sequence[int]) -> list[Path]:
    match = _FOLD.fullmatch(path.name)
    if match is None:
        raise UsageError(
            f"{path} is not named as one fold of several",
            hint="give -m a run folder such as labeled-8_fold-0_seed-0",
            code="FOLDS",
        )
    before, _, after = match.groups()
    there = {}
    for one in path.parent.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        other = _FOLD.fullmatch(one.name)
        if other and (other[1], other[3]) == (before, after):
            there[int(other[2])] = one
    wanted = sorted(there) if folds == "all" else _numbers(folds)
    missing = [number for number in wanted if number not in there]
    if missing or not wanted:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise UsageError(
            f"no fold {', '.join(map(str, missing))} beside {path} (available: {known})",
            hint="train it with `semiseg train … --fold N`, or leave it out of --folds",
            code="FOLDS",
            details={"missing": missing, "known": sorted(there)},
        )
    return [there[number] for number in wanted]


def _numbers(folds: str | Sequence[int]) -> list[int]:
    parts = folds.split(",") if isinstance(folds, str) else list(folds)
    try:
        return sorted({int(part) for part in parts})
    except ValueError:
        raise UsageError(
            f"folds {folds!r} are not numbers", hint="give all, or numbers such as 0,1,2", code="FOLDS"
        ) from None

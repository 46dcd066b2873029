"""Which prediction belongs to which reference: the same name, whatever the ending."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg.errors import DataError, UsageError

EndingOf = Callable[[Path], str | None]


@dataclass(frozen=True)
class Pairs:
    """Files by case id.

    Attributes:
        files: case -> (reference, prediction).
        missing: cases with a reference only.
        extra: cases with a prediction only.
        failed: case -> message, where a folder has several files for it.
    """

    files: dict[str, tuple[Path, Path]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    def only(self, cases: Collection[str]) -> Pairs:
        """The same for some of the cases; one that is nowhere fails."""
        known = {*self.files, *self.missing, *self.failed}
        nowhere = {case: "no reference" for case in sorted(set(cases) - known)}
        return Pairs(
            files={case: pair for case, pair in self.files.items() if case in cases},
            missing=tuple(case for case in self.missing if case in cases),
            extra=tuple(case for case in self.extra if case in cases),
            failed={case: text for case, text in self.failed.items() if case in cases} | nowhere,
        )


def pair_files(reference: Path, prediction: Path, ending_of: EndingOf) -> Pairs:
    """Match two folders, or two files, by case id.

    Args:
        reference: a folder of label maps, or one file.
        prediction: the same for the predictions.
        ending_of: the image ending of a file name, or None for other files, which are passed over.

    Raises:
        UsageError: a path that does not exist, or a file against a folder.
        DataError: no label map in a folder, or no case in common.
    """
    for path in (reference, prediction):
        if not path.exists():
            raise UsageError(f"{path} does not exist", hint="give two folders or two files", code="NOT_FOUND")
    if reference.is_file() and prediction.is_file():
        ending = ending_of(reference)
        case = reference.name[: -len(ending)] if ending else reference.name
        return Pairs({case: (reference, prediction)})
    if reference.is_file() or prediction.is_file():
        raise UsageError(
            f"{reference} and {prediction} are a file and a folder", hint="give two folders or two files"
        )
    wanted, twice = _listing(reference, ending_of)
    given, twice_given = _listing(prediction, ending_of)
    ids = set(wanted) | set(twice)
    failed = {c: m for c, m in {**twice_given, **twice}.items() if c in ids}
    both = sorted((set(wanted) & set(given)) - set(failed))
    if not both and not failed:
        raise DataError(
            f"no case in common: {reference} has {_some(wanted)}, {prediction} has {_some(given)}",
            hint="a prediction has the name of its reference; only the ending may differ",
            code="NO_COMMON_CASES",
        )
    return Pairs(
        files={case: (wanted[case], given[case]) for case in both},
        missing=tuple(sorted(ids - set(given) - set(failed))),
        extra=tuple(sorted((set(given) | set(twice_given)) - ids)),
        failed=failed,
    )


def _listing(folder: Path, ending_of: EndingOf) -> tuple[dict[str, Path], dict[str, str]]:
    """(case -> its file, case -> message for cases with several files)."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        ending = ending_of(path)
        if ending and path.is_file() and not path.name.startswith("."):
            files.setdefault(path.name[: -len(ending)], []).append(path)
    if not files:
        inside = sorted(p.name for p in folder.glob("labels*") if p.is_dir())
        raise DataError(
            f"no label map in {folder}",
            hint=f"did you mean {folder / inside[-1]}?" if inside else "give the folder that holds the files",
            code="NO_FILES",
        )
    one = {case: paths[0] for case, paths in files.items() if len(paths) == 1}
    several = {
        case: f"several files in {folder}: {', '.join(p.name for p in paths)}"
        for case, paths in files.items()
        if len(paths) > 1
    }
    return one, several


def _some(cases: Mapping[str, Any]) -> str:
    names = sorted(cases)
    return ", ".join(names[:3]) + (f", ... ({len(names)})" if len(names) > 3 else "")

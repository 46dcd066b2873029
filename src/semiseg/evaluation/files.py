"""Which prediction belongs to which reference, and which values their label maps hold.

A reference that is a picture may hold no class numbers, but blurred black and white, or colors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, UsageError, plural, some
from semiseg.machine.files import printable

if TYPE_CHECKING:
    from semiseg.dataset.adopt.draft import Recode
    from semiseg.images.grid import Volume


@dataclass(frozen=True)
class Pairs:
    """Files by case id.

    Attributes:
        files: case -> (reference, prediction).
        missing: cases with a reference only.
        extra: cases with a prediction only.
        failed: case -> message, where a folder has several files for it.
        notices: which files were matched though their names differ.
    """

    files: dict[str, tuple[Path, Path]]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def only(self, cases: Collection[str]) -> Pairs:
        """The same for some of the cases; one that is nowhere fails."""
        known = {*self.files, *self.missing, *self.failed}
        nowhere = {case: "no reference" for case in sorted(set(cases) - known)}
        return Pairs(
            files={case: pair for case, pair in self.files.items() if case in cases},
            missing=tuple(case for case in self.missing if case in cases),
            extra=tuple(case for case in self.extra if case in cases),
            failed={case: text for case, text in self.failed.items() if case in cases} | nowhere,
            notices=self.notices,
        )


def pair_files(reference: Path, prediction: Path) -> Pairs:
    """Match two folders, or two files, by case id.

    Raises:
        UsageError: a path that does not exist, or a file against a folder.
        DataError: no label map in a folder, or no case in common.
    """
    from semiseg.images import ending_of

    for path in (reference, prediction):
        if not path.exists():
            raise UsageError(f"{path} does not exist", hint="give two folders or two files", code="NOT_FOUND")
    if reference.resolve() == prediction.resolve():
        raise UsageError(
            f"{reference} is given as reference and as prediction",
            hint="the predictions are what `semiseg predict` wrote",
            code="CONTRADICTION",
        )
    if reference.is_file() and prediction.is_file():
        ending = ending_of(reference)
        case = reference.name[: -len(ending)] if ending else reference.name
        return Pairs({printable(case): (reference, prediction)})
    if reference.is_file() or prediction.is_file():
        raise UsageError(
            f"{reference} and {prediction} are a file and a folder", hint="give two folders or two files"
        )
    wanted, twice = _listing(reference)
    given, twice_given = _listing(prediction)
    given, notices = _renamed(given, wanted)
    ids = set(wanted) | set(twice)
    failed = {c: m for c, m in {**twice_given, **twice}.items() if c in ids}
    same = "its reference and its prediction are the same file"
    failed |= {c: same for c in set(wanted) & set(given) if wanted[c].resolve() == given[c].resolve()}
    both = sorted((set(wanted) & set(given)) - set(failed))
    if not both and not failed:
        raise DataError(
            f"no case in common: {reference} has {some(sorted(wanted), 3)}, "
            f"{prediction} has {some(sorted(given), 3)}",
            hint="a prediction has the name of its reference; endings and words such as _seg may differ",
            code="NO_COMMON_CASES",
        )
    return Pairs(
        files={case: (wanted[case], given[case]) for case in both},
        missing=tuple(sorted(ids - set(given) - set(failed))),
        extra=tuple(sorted((set(given) | set(twice_given)) - ids)),
        failed=failed,
        notices=notices,
    )


def _listing(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """(case -> its file, case -> message for cases with several files).

    Of a folder that holds images, its own files count, by their full names; of one that holds folders, all
    below, named as ``semiseg init`` names them. Scans beside their masks are passed over.
    """
    from semiseg.dataset.adopt.listing import list_source
    from semiseg.dataset.adopt.pairing import case_ids, without_scans

    files = [path for path in sorted(folder.iterdir()) if _is_label_map(path)]
    nested = not files
    inside = sorted(p.name for p in folder.glob("labels*") if p.is_dir())
    if nested and not inside:
        files = [path for path in sorted(folder.rglob("*")) if _is_label_map(path)]
    if not files:
        raise DataError(
            f"no label map in {folder}",
            hint=f"did you mean {folder / inside[-1]}?" if inside else "give the folder that holds the files",
            code="NO_FILES",
        )
    entries = without_scans(list_source(folder, only=files).entries)
    for entry in entries:
        entry.role, entry.channel = "label", None
    names = case_ids(entries)[0] if nested else {entry.shown: printable(entry.stem) for entry in entries}
    found: dict[str, list[Path]] = {}
    for entry in entries:
        found.setdefault(names[entry.shown], []).append(entry.source.path)
    one = {case: paths[0] for case, paths in found.items() if len(paths) == 1}
    several = {
        case: f"several files in {folder}: {', '.join(printable(p.name) for p in paths)}"
        for case, paths in found.items()
        if len(paths) > 1
    }
    return one, several


def _is_label_map(path: Path) -> bool:
    from semiseg.images import ending_of

    return ending_of(path) is not None and path.is_file() and not path.name.startswith(".")


def _renamed(given: dict[str, Path], wanted: Mapping[str, Path]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The predictions under the names of their references, where only words such as ``_seg`` differ.

    Returns:
        name -> prediction, and a notice of those that were matched so.
    """
    ours, theirs = (_by_key(sorted(set(a) - set(b))) for a, b in ((given, wanted), (wanted, given)))
    both = sorted(key for key in set(ours) & set(theirs) if len(ours[key]) == len(theirs[key]) == 1)
    new = {ours[key][0]: theirs[key][0] for key in both}
    if not new:
        return given, ()
    old, case = next(iter(new.items()))
    notice = f"{plural(len(new), 'prediction')} matched by the case in the name, such as {old} with {case}"
    return {new.get(name, name): path for name, path in given.items()}, (notice,)


def _by_key(names: Collection[str]) -> dict[str, list[str]]:
    """What a name says of the case, as file systems compare names -> the names that say it."""
    from semiseg.dataset.adopt.names import clean_id, take_apart, without_role

    found: dict[str, list[str]] = {}
    for name in names:
        key = without_role(clean_id(take_apart(name).key)).lower()
        found.setdefault(key, []).append(name)
    return found


def declared_values(
    array: NDArray[Any], path: Path, to_declared: Mapping[int, int]
) -> tuple[NDArray[Any], set[int]]:
    """The label map with declared values (raw -> declared; others stay), and the values it then holds.

    Floats are taken when they are whole numbers; else a DataError (``LABEL_VALUES``) names ``path``.
    """
    whole = array
    if array.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64)
        odd = array[whole != array]
        if odd.size:
            raise DataError(
                f"{path} holds {odd.flat[0]}; label values are whole numbers",
                hint="write the label map, not the probabilities",
                code="LABEL_VALUES",
            )
    values = distinct(whole)
    changes = {raw: new for raw, new in to_declared.items() if raw in values and raw != new}
    if not changes:
        return whole, values
    mapped = whole.astype(np.int64)
    for raw, new in changes.items():
        mapped[whole == raw] = new
    return mapped, {to_declared.get(v, v) for v in values}


def distinct(array: NDArray[Any]) -> set[int]:
    """The values of an integer array, without a sort for the usual small ones."""
    if array.size and int(array.min()) >= 0 and int(array.max()) < 2**16:
        counts = np.bincount(array.ravel(order="K").astype(np.int64))
        return {int(v) for v in np.flatnonzero(counts)}
    return {int(v) for v in np.unique(array)}


_LOOKED_AT = 8
"""Files that tell whether all need a closer look."""
_ALL = 2**16
_WHITE = 255


@dataclass(frozen=True)
class Recoded:
    """How pictures of references become class numbers.

    Attributes:
        recode: of the references' pixels; None leaves them as they are.
        prediction_map: value of a prediction -> class number, for predictions that are black and white.
        names: class number -> name, where colors tell classes apart.
        notices: what was decided, one sentence each.
    """

    recode: Recode | None = None
    prediction_map: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    def __call__(self, volume: Volume) -> Volume:
        """The label map with class numbers."""
        return volume if self.recode is None else replace(volume, array=self.recode(volume))


def settle_references(pairs: Sequence[tuple[Path, Path]], workers: int | None) -> Recoded:
    """How the references of (reference, prediction) become class numbers, by the rules of ``semiseg init``.

    Only pictures (PNG, BMP, JPEG, WebP) are opened, ``workers`` at a time. Where predictions have a palette
    with all colors of the references, it says which number a color has.

    Raises:
        DataError: lossy files that are not black and white, or too many colors for classes.
    """
    from semiseg.dataset.adopt.draft import Draft, Recode, Source
    from semiseg.dataset.adopt.looks import in_threads, look_for_labels
    from semiseg.dataset.adopt.masks import settle_masks
    from semiseg.images import ending_of, picture

    paths = [reference for reference, _ in pairs]
    pictures = [path for path in paths if ending_of(path) in picture.ENDINGS]
    first = in_threads(look_for_labels, [Source(path) for path in pictures[:_LOOKED_AT]], workers)
    alike = len({mask.values - {0} for mask in first if mask.values - {0}}) < 2
    if alike and not any(mask.colors or mask.lossy or len(mask.counts) > 2 for mask in first):
        return Recoded()
    rest = in_threads(look_for_labels, [Source(path) for path in pictures[_LOOKED_AT:]], workers)
    masks = {str(path): mask for path, mask in zip(pictures, [*first, *rest], strict=True)}
    usable = {name: mask for name, mask in masks.items() if not mask.trouble}
    draft = Draft([])
    if not usable:
        return Recoded()
    settle_masks(usable, draft, _ALL)
    if draft.recode is None:
        return Recoded()
    if len(pictures) < len(paths):
        raise DataError(
            f"{len(pictures)} of {len(paths)} references are pictures without class numbers "
            f"({draft.decisions[0]})",
            hint="give references of one kind, or export the pictures again with one number per class",
            code="MIXED_REFERENCES",
        )
    known = look_for_labels(Source(pairs[0][1])).palette if draft.recode.colors else {}
    numbers = {color: value for value, color in known.items()}
    if draft.recode.colors and set(draft.recode.colors) <= set(numbers):
        used = {color: numbers[color] for color in draft.recode.colors}
        return Recoded(Recode(colors=used), notices=("references: colors as in the predictions' palette",))
    bright = {_WHITE: 1} if draft.recode.threshold else {}
    return Recoded(
        draft.recode, bright, draft.label_names, tuple(f"references: {d}" for d in draft.decisions)
    )

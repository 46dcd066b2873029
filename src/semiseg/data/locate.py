"""From what a user typed (a path, ``Dataset104_Hippocampus``, ``104``) to a dataset folder."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from semiseg.errors import DataError, UsageError

ROOT_VARIABLES = ("SEMISEG_DATA", "nnUNet_raw")
"""Environment variables that name folders of datasets (several, separated as in PATH)."""


def roots() -> list[Path]:
    """The existing folders named by ``SEMISEG_DATA`` and ``nnUNet_raw``, in that order."""
    named = [part for name in ROOT_VARIABLES for part in os.environ.get(name, "").split(os.pathsep) if part]
    return [path for path in (Path(part).expanduser() for part in named) if path.is_dir()]


def locate(name: str | int | Path) -> Path:
    """The dataset folder that ``name`` means.

    A path that exists wins; a bare name or an nnU-Net id (``104``, ``Dataset104``, the full name) is then
    looked up under ``$SEMISEG_DATA`` and ``$nnUNet_raw``.

    Raises:
        UsageError: nothing found (with the nearest name), or an id that several folders carry.
    """
    path = Path(str(name)).expanduser()
    if path.name == "dataset.json" and path.is_file():
        return path.parent
    if path.is_dir():
        return path
    if path.is_file():
        raise DataError(
            f"{path} is a file, wanted a dataset folder",
            hint="give the folder that holds dataset.json; `semiseg init` makes one from a pile of scans",
            code="NOT_A_FOLDER",
        )
    bare = len(path.parts) == 1
    found = [folder for root in roots() for folder in _named(root, str(name))] if bare else []
    if len(found) > 1 and len({folder.resolve() for folder in found}) > 1:
        raise UsageError(
            f"{name} names {len(found)} datasets: {', '.join(map(str, found))}",
            hint="give the full path",
            code="AMBIGUOUS_DATASET",
        )
    if found:
        return found[0]
    raise _not_found(path, bare)


def _named(root: Path, name: str) -> list[Path]:
    if (root / name).is_dir():
        return [root / name]
    number = re.fullmatch(r"(?:Dataset)?(\d{1,3})", name)
    if not number:
        return []
    prefix = f"Dataset{int(number[1]):03d}_"
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and folder.name.startswith(prefix))


def _not_found(path: Path, bare: bool) -> UsageError:
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    places = [parent, *(roots() if bare else [])]
    siblings = [f for place in places for f in _folders(place)]
    # The first folder that does not exist is where the typo is, not always the last one.
    missing = path.parts[len(parent.parts)] if len(path.parts) > len(parent.parts) else path.name
    if str(parent) == "." and path.parts:
        missing = path.parts[0]
    lower = {folder.name.lower(): folder for folder in reversed(siblings)}
    near = difflib.get_close_matches(missing.lower(), lower, n=1, cutoff=0.5)
    guess = _with_rest(lower[near[0]], path, missing) if near else None
    return UsageError(
        f"no dataset folder {str(path)!r}." + (f" Did you mean {guess}?" if guess else ""),
        hint=_where_looked(places, bare),
        code="NO_DATASET",
        details={"got": str(path), "near": str(guess) if guess else None},
    )


def _with_rest(near: Path, path: Path, missing: str) -> Path:
    """The mended folder with what followed the typo, where that exists."""
    rest = path.parts[path.parts.index(missing) + 1 :]
    return near.joinpath(*rest) if near.joinpath(*rest).is_dir() else near


def _where_looked(places: list[Path], bare: bool) -> str:
    known = [f.name for place in places for f in _folders(place) if (f / "dataset.json").is_file()]
    there = f"; datasets there: {', '.join(known[:8])}" if known else ""
    unset = [v for v in ROOT_VARIABLES if bare and not os.environ.get(v)]
    also = f"; set {' or '.join(unset)} to search another folder" if unset else ""
    return f"looked in {', '.join(map(str, places))}{there}{also}"


def _folders(place: Path) -> Iterable[Path]:
    try:
        return sorted(f for f in place.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError:
        return []

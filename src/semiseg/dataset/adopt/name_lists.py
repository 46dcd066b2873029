"""Lists of case names beside the data (``train.list``, ``val.txt``): which part each case belongs to."""

from __future__ import annotations

import re
from pathlib import Path

from semiseg.dataset.adopt.draft import Draft, Part, notice
from semiseg.errors import DataError

_FILE = re.compile(r"(train|val|valid|eval|test)\.(?:list|txt)", re.IGNORECASE)
_PARTS: dict[str, Part] = {"train": "train", "val": "val", "valid": "val", "eval": "val", "test": "test"}


def part_of(name: str) -> Part | None:
    """``train``, ``val`` or ``test`` for the name of such a list file."""
    match = _FILE.fullmatch(name)
    return _PARTS[match[1].lower()] if match else None


def take_lists(draft: Draft, root: Path) -> None:
    """Give the cases of a pile the parts that its lists say, if there is a list for training.

    Lists of which no name is a case say nothing, and a case in no list keeps its part.
    """
    found: dict[Part, list[str]] = {}
    gone: list[str] = []
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        part = part_of(path.name)
        if part is None or part in found or not path.is_file():
            continue
        try:
            cases = {name: _case(name, draft) for name in read_list(path)}
        except DataError as error:
            draft.notices.append(f"ignored {path.name}: {error.message.removeprefix(f'{path} ')}")
            continue
        if any(cases.values()):
            found[part] = [case for case in cases.values() if case]
            gone += [name for name, case in cases.items() if not case]
    if "train" not in found:
        return
    held = {case for part in ("val", "test") for case in found.get(part, [])}
    twice = [case for case in found["train"] if case in held]
    found["train"] = [case for case in found["train"] if case not in held]
    draft.notices += notice("{} of the training list in another list, too", twice, "case")
    part_of_case = {case: part for part, cases in found.items() for case in cases}
    for item in draft.items:
        part = part_of_case.get(item.id)
        if part == "test" or (part and item.label is not None):
            item.part = part
    draft.splits["order"] = found["train"]
    told = ", ".join(f"{len(cases)} {part}" for part, cases in found.items())
    draft.decisions.append(f"parts of the cases, by the lists beside the data: {told}")
    draft.notices += notice(
        "{} here", gone, "name in these lists is no case", "names in these lists are no cases"
    )


def _case(name: str, draft: Draft) -> str | None:
    """The one case of this name, or in whose name it is a word."""
    same = [item.id for item in draft.items if item.id.lower() == name.lower()]
    word = re.compile(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", re.IGNORECASE)
    near = same or [item.id for item in draft.items if word.search(item.id)]
    return near[0] if len(near) == 1 else None


def read_list(path: Path) -> tuple[str, ...]:
    """The names in a list file, in any of the forms that scripts of the field write.

    Line ends of any system, a byte order mark, blanks, quotes, empty lines, lines that begin with ``#``, text
    after a comma or tab, folders and the ending of a file are passed over. Where all files have one name, as
    ``.../CASE/mri_norm2.h5``, the last folder that tells them apart is the case.

    Raises:
        DataError: not text, or a name twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of names ({type(error).__name__})",
            hint="a list is a text file in UTF-8 with a name in each line",
            code="BAD_LIST",
        ) from None
    lines = [_parts(line) for line in text.splitlines() if not line.lstrip().startswith("#")]
    lines = [parts for parts in lines if parts]
    names = [parts[-1] for parts in lines]
    for level in range(1, min(map(len, lines), default=0) + 1):
        found = [parts[-level] for parts in lines]
        if _distinct(found):
            names = found
            break
    if not _distinct(names):
        lower = [name.lower() for name in names]
        twice = next(name for index, name in enumerate(names) if name.lower() in lower[:index])
        raise DataError(f"{path} names {twice} twice", hint="name each case once", code="BAD_LIST")
    return tuple(names)


def plain_id(line: str) -> str:
    """A name without text after a comma or tab, quotes, folders above it, and the ending of a file."""
    return next(reversed(_parts(line)), "")


def number_of(name: str, digits: int = 4) -> str:
    """The first number in a name, with zeros before it: ``0018`` of ``image18_norm``; else the name."""
    found = re.search(r"\d+", plain_id(name))
    return found[0].zfill(digits) if found else plain_id(name)


def _parts(line: str) -> list[str]:
    """Folders and file of a line, the ending left out; none of an empty line."""
    name = re.split(r"[,\t]", line.strip())[0].strip().strip("\"'").replace("\\", "/")
    name = name.rstrip("/ ")
    for ending in (".nii.gz", ".npy.h5", ".h5", ".npz", ".nii", ".jpg", ".png"):
        name = name[: -len(ending)] if name.lower().endswith(ending) else name
    return [part for part in (each.strip() for each in name.split("/")) if part]


def _distinct(names: list[str]) -> bool:
    return len({name.lower() for name in names}) == len(names)

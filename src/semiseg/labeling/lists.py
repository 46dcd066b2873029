"""What a dataset folder says of its labeled cases, beside the label files: lists and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semiseg.dataset.description import FILE
from semiseg.dataset.split_file import OURS
from semiseg.machine.files import read_json, write_json


def move_to_training(root: Path, name: str, ending: str) -> None:
    """Move the images of a case from ``imagesUn`` to ``imagesTr``, where labeled scans lie."""
    (root / "imagesTr").mkdir(exist_ok=True)
    for path in sorted((root / "imagesUn").glob("*")):
        stem = path.name.removesuffix(ending) if path.name.endswith(ending) else path.stem
        if stem[:-5] == name and stem[-5:-4] == "_" and stem[-4:].isdecimal():
            path.replace(root / "imagesTr" / path.name)


def add(root: Path, name: str, label: Path) -> None:
    """List a case that has a label now: last in the published order, and in the counts."""
    _change(root / OURS, lambda content: _listed(content, name))
    _change(root / FILE, lambda content: _mapped(content, name, label.relative_to(root).as_posix()))
    count(root)


def drop(root: Path, name: str) -> None:
    """Take a case off the lists, before its label goes."""
    _change(root / OURS, lambda content: _unlisted(content, name))
    _change(root / FILE, lambda content: _mapped(content, name, None))


def count(root: Path) -> None:
    """Make ``numTraining``, where it is said, the number of labels."""

    def counted(content: Any) -> bool:
        labels = root / "labelsTr"
        if not isinstance(content, dict) or "numTraining" not in content or not labels.is_dir():
            return False
        ending = str(content.get("file_ending", ""))
        found = sum(path.name.endswith(ending) and path.name[0] != "." for path in labels.iterdir())
        changed = bool(content["numTraining"] != found)
        content["numTraining"] = found
        return changed

    _change(root / FILE, counted)


def _listed(content: Any, name: str) -> bool:
    changed = False
    for labeled, others in _lists(content):
        if name in others.get("val", ()) or name in labeled:
            continue
        labeled.append(name)
        for key in ("unlabeled", "unlabelled"):
            if name in others.get(key, ()):
                others[key].remove(name)
        changed = True
    return changed


def _unlisted(content: Any, name: str) -> bool:
    listed = [labeled for labeled, _ in _lists(content) if name in labeled]
    for labeled in listed:
        labeled.remove(name)
    return bool(listed)


def _lists(content: Any) -> list[tuple[list[Any], dict[str, Any]]]:
    """The lists of labeled cases, each with the object that it is in."""
    if not isinstance(content, dict):
        return []
    folds = content.get("folds")
    objects = [content, *(folds if isinstance(folds, list) else [])]
    keys = ("order", "labeled", "labelled", "train")
    given = [(one, key) for one in objects if isinstance(one, dict) for key in keys]
    return [(one[key], one) for one, key in given if isinstance(one.get(key), list)]


def _mapped(content: Any, name: str, label: str | None) -> bool:
    """Of a folder whose ``dataset.json`` lists its files."""
    entry = (content.get("dataset") or {}).get(name) if isinstance(content, dict) else None
    if not isinstance(entry, dict) or entry.get("label") == label:
        return False
    entry["label"] = label
    return True


def _change(path: Path, change: Any) -> None:
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return
    if change(content):
        write_json(path, content)

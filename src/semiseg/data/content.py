"""What a cached array depends on: the bytes of its files and the part of the plan that shapes it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semiseg.data.plan import Plan

RECIPE = 2
"""Raised whenever reading or preprocessing changes what it computes, so that old caches are not reused."""

_HEADER_ENDINGS = (".mhd", ".nhdr", ".hdr")
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data file\s*:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_CHANNEL = re.compile(r"_\d{4}$")


def image_key(images: Iterable[Path], plan: Plan) -> str:
    """The key of a case's stored image: 64 hexadecimal digits.

    Raises:
        OSError: a file cannot be read.
    """
    part = plan.model_dump(mode="json", include={"orientation", "axes", "spacing", "crop", "channels"})
    for channel in part["channels"]:
        channel.pop("name")  # the scheme is what counts
        if channel["clip"] is None:  # stores made before there were windows stay good
            channel.pop("clip")
    return _digest({"recipe": RECIPE, "plan": part, "files": [_file_hash(path) for path in images]})


def label_key(label: Path, image: str, plan: Plan) -> str:
    """The key of a case's stored label, which also depends on where its image (key ``image``) was cropped.

    Raises:
        OSError: the file cannot be read.
    """
    part = {
        "labels": list(plan.labels.values()),
        "label_map": sorted(plan.label_map.items()),
        "ignore": plan.ignore_value,
    }
    return _digest({"recipe": RECIPE, "plan": part, "image": image, "files": [_file_hash(label)]})


def _file_hash(path: Path) -> str:
    whole = hashlib.sha256(path.suffix.lower().encode())
    for part in (path, *_companions(path)):
        with part.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _companions(path: Path) -> list[Path]:
    """Files that also decide what ``path`` holds: its JSON with the spacing, its detached voxels."""
    stem = path.name.rsplit(".", 1)[0]
    names = [f"{stem}.json", f"{_CHANNEL.sub('', stem)}.json"]
    if path.suffix.lower() in _HEADER_ENDINGS:
        with path.open("rb") as stream:
            found = _DATA_FILE.findall(stream.read(1 << 20))
        names += [Path(name.decode("utf-8", "replace")).name for name in found]
        names.append(f"{stem}.img")
    return [
        file for file in (path.with_name(name) for name in dict.fromkeys(names) if name) if file.is_file()
    ]


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

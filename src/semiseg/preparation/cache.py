"""The cache of prepared scans: an entry is named arrays and a JSON sidecar, and exists once the sidecar does.

Its key depends on the bytes of the case's files and on the part of the plan that shapes the arrays.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError
from semiseg.machine.claim import Claim
from semiseg.machine.files import atomic_file
from semiseg.preparation.plan import Plan

PATIENCE_S = 3600.0
"""To wait for another process that makes the same entry; making it twice is waste and no harm."""

ABANDONED_AFTER_S = 24 * 3600
"""Temporary files older than this belong to a process that died."""


@dataclass(frozen=True)
class CacheEntry:
    """Where an entry lies; the two first letters of its key name its folder."""

    cache: Path
    key: str

    @property
    def sidecar(self) -> Path:
        """The JSON file that makes the entry valid; written last."""
        return self.cache / self.key[:2] / f"{self.key}.json"

    def array(self, name: str) -> Path:
        """The file of one array."""
        return self.cache / self.key[:2] / f"{self.key}.{name}.npy"

    def write(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Write arrays, then the sidecar, each atomically: a process killed between leaves no entry.

        Raises:
            OSError: the cache cannot be written.
        """
        described = {}
        for name, array in arrays.items():
            whole = np.ascontiguousarray(array)
            with atomic_file(self.array(name)) as stream:
                np.save(stream, whole, allow_pickle=False)
            described[name] = _describe(whole)
        with atomic_file(self.sidecar) as stream:
            stream.write(sealed({"arrays": described, "facts": dict(facts)}))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While an entry is made: other processes that want it wait, and find it made.

        Raises:
            OSError: the cache cannot be written.
        """
        with Claim(self.sidecar.with_suffix(".lock"), PATIENCE_S):
            yield

    def read(self) -> dict[str, Any] | None:
        """The facts of a sound entry, or None where anything is missing, cut short or altered."""
        try:
            content = unsealed(self.sidecar.read_bytes())
            for name, wanted in content["arrays"].items():
                array = np.load(self.array(name), mmap_mode="r", allow_pickle=False)
                if _describe(array) != wanted:
                    return None
            facts = content["facts"]
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return facts if isinstance(facts, dict) else None


def sweep(cache: Path) -> None:
    """Remove temporary files that dead processes left behind; those in use are young."""
    now = time.time()
    for path in cache.glob("*/.*.tmp"):
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > ABANDONED_AFTER_S:
                path.unlink()


def map_array(path: Path) -> NDArray[Any]:
    """Map an array of a sound entry into memory, read-only.

    Every mapping holds a file handle. Where the usual limit of about a thousand is met, it is raised to what
    the system allows.

    Raises:
        DataError: the file is gone or broken.
    """
    try:
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            if error.errno != errno.EMFILE or not _raise_file_limit():
                raise
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"cannot map the cached array {path}: {error}",
            hint="start again, the cache repairs itself; for `too many open files` raise `ulimit -n`",
            code="CACHE",
        ) from None
    return array


def _raise_file_limit() -> bool:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    if soft >= wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True


def sealed(content: Mapping[str, Any]) -> bytes:
    """JSON with a checksum of its own."""
    return json.dumps({"crc32": _checksum(content), "content": content}, indent=1).encode()


def unsealed(text: bytes) -> dict[str, Any]:
    """What was :func:`sealed`; of an older version, which did not, what is there.

    Raises:
        ValueError: it is damaged.
    """
    found = json.loads(text.decode("utf-8"))
    if set(found) != {"crc32", "content"}:
        return dict(found)
    if found["crc32"] != _checksum(found["content"]):
        raise ValueError("the checksum is another one")
    return dict(found["content"])


def _checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _describe(array: NDArray[Any]) -> dict[str, Any]:
    checksum = zlib.crc32(array.data if array.size else b"")
    return {"shape": list(array.shape), "dtype": array.dtype.str, "crc32": checksum}


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
    files = (path.with_name(name) for name in dict.fromkeys(names) if name)
    return [file for file in files if file.is_file()]


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

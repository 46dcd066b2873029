"""Checks the chain of a TIFF's pages before any library follows it: no loop, no table beyond the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from semiseg.errors import plural
from semiseg.images.claims import MAX_RATIO, broken, check_claim, needed_bytes

_SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of TIFF's value types."""
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _SAMPLES, _STRIP, _TILE = 256, 257, 258, 259, 277, 278, (322, 323)
MAX_PAGES = 100_000


def check_pages(path: Path, stream: BinaryIO) -> None:
    """Walk all pages of the open file ``path``.

    Raises:
        DataError: UNREADABLE for a chain that loops or leaves the file, ABSURD_HEADER or TRUNCATED for pages
            that the file cannot hold.
    """
    size = path.stat().st_size
    for tags in _pages(path, stream, size):
        _check_page(path, tags, size)


def _pages(path: Path, stream: BinaryIO, size: int) -> Iterator[dict[int, int]]:
    """The first number of each tag of interest, page by page."""
    start = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    big = order is not None and len(start) == 16 and start[2:4] in (b"+\0", b"\0+")
    if order is None or len(start) < 8 or not (big or start[2:4] in (b"*\0", b"\0*")):
        raise broken(path, "is not a TIFF file (its first bytes are something else)")
    word, counter, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (where,) = struct.unpack_from(order + word, start, 8 if big else 4)
    seen: set[int] = set()
    while where:
        if where in seen or len(seen) > MAX_PAGES:
            raise broken(path, "is damaged: its pages go round in a circle")
        seen.add(where)
        stream.seek(where)
        try:
            (count,) = struct.unpack(order + counter, stream.read(struct.calcsize(counter)))
            if count * entry > size:
                raise struct.error
            table = stream.read(count * entry)
            tags: dict[int, int] = {}
            for k in range(count):
                tags |= _tag(path, table[k * entry : (k + 1) * entry], order, word, size)
            yield tags
            (where,) = struct.unpack(order + word, stream.read(struct.calcsize(word)))
        except struct.error as error:
            raise broken(path, "is cut off or damaged in the table of a page", code="TRUNCATED") from error


def _tag(path: Path, entry: bytes, order: str, word: str, size: int) -> dict[int, int]:
    """A tag whose values lie within the file; its number where it is one."""
    tag, kind, count = struct.unpack_from(order + "HH" + word, entry)
    inside = struct.calcsize(word)
    length = _SIZES.get(kind, 1) * count
    if length > size:
        why = f"claims {plural(count, 'value')} in tag {tag}, more than the file has bytes"
        raise broken(path, why, code="ABSURD_HEADER")
    if length > inside:
        (offset,) = struct.unpack_from(order + word, entry, 4 + inside)
        if offset + length > size:
            raise broken(path, f"is cut off: tag {tag} lies behind its end", code="TRUNCATED")
        return {}
    if kind not in _NUMBERS or count == 0:
        return {}
    return {tag: struct.unpack_from(order + _NUMBERS[kind], entry, 4 + inside)[0]}


def _check_page(path: Path, tags: dict[int, int], size: int) -> None:
    width, length = tags.get(_WIDTH, 0), tags.get(_LENGTH, 0)
    samples, bits = tags.get(_SAMPLES, 1), tags.get(_BITS, 8)  # three samples keep their bits elsewhere
    packed = tags.get(_COMPRESSION, 1) != 1
    needed = (needed_bytes((length, width), bits, samples) + 7) // 8
    check_claim(path, (length, width), needed, size, compressed=packed)
    across, down = (tags.get(tag, 0) for tag in _TILE)
    if across and down:
        parts = -(-width // across) * -(-length // down)
    else:
        parts = -(-length // max(min(tags.get(_STRIP, length), length), 1))
    if parts > size * (MAX_RATIO if packed else 1):
        raise broken(path, f"claims {parts} strips or tiles", code="ABSURD_HEADER")

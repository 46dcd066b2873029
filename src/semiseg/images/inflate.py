"""Decompression that is bounded by what was asked for, and believed only when its checksum is right."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from semiseg.errors import DataError
from semiseg.images.claims import broken, readable_bytes

CHUNK = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
MOST_SURPLUS = 256 << 20
"""Bytes after those asked for that are still decoded to reach the checksum (or as many as were asked for)."""
_ZLIB_OR_GZIP = 47  # zlib's window bits that accept either wrapper


def inflate(stream: BinaryIO, count: int, path: Path) -> bytearray:
    """The first ``count`` bytes that the rest of ``stream`` decodes to (gzip of any members, or zlib).

    Decoding goes on to the checksum at the stream's end, and what is over is dropped: a damaged stream can
    give more than expected, and only the checksum tells. Memory grows with what is really decoded, never
    beyond ``count`` bytes and one piece.

    Raises:
        DataError: TRUNCATED when the stream ends early, UNREADABLE when it is damaged or does not end.
    """
    out = bytearray()
    surplus = 0
    try:
        for piece in _pieces(stream):
            kept = piece[: count - len(out)]
            out += kept
            surplus += len(piece) - len(kept)
            if surplus > max(MOST_SURPLUS, count):
                why = f"decodes to over {readable_bytes(surplus)} more than its header asks for"
                raise broken(path, f"{why}: header or data are damaged")
    except zlib.error as error:
        raise broken(path, f"the compressed data are damaged ({error})") from error
    except EOFError as error:
        raise _cut(path, count, len(out)) from error
    if len(out) < count:
        raise _cut(path, count, len(out))
    return out


def head(stream: BinaryIO, count: int, path: Path) -> tuple[bytes, bool]:
    """The first ``count`` decoded bytes (fewer for a short file), and whether the stream is gzip.

    The stream is left at its start.
    """
    start = stream.read(count)
    packed = start.startswith(GZIP_MAGIC)
    if packed:
        start += stream.read(1 << 16)
        try:
            start = zlib.decompressobj(_ZLIB_OR_GZIP).decompress(start, count)
        except zlib.error as error:
            raise broken(path, f"the compressed data are damaged ({error})") from error
    stream.seek(0)
    return start, packed


def plain(stream: BinaryIO, count: int, path: Path) -> bytearray:
    """Exactly ``count`` bytes from the position of ``stream``, read in pieces."""
    out = bytearray()
    while len(out) < count:
        piece = stream.read(min(CHUNK * 16, count - len(out)))
        if not piece:
            raise _cut(path, count, len(out))
        out += piece
    return out


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Decoded pieces of at most ``CHUNK`` bytes, over all members; what follows the last is padding.

    Raises:
        EOFError: the stream ends within a member.
    """
    decoder = zlib.decompressobj(_ZLIB_OR_GZIP)
    waiting = stream.read(CHUNK)
    while True:
        piece = decoder.decompress(waiting, CHUNK)
        yield piece
        if decoder.eof:
            waiting = decoder.unused_data
            if len(waiting) < len(GZIP_MAGIC):
                waiting += stream.read(CHUNK)
            if not waiting.startswith(GZIP_MAGIC):
                return
            decoder = zlib.decompressobj(_ZLIB_OR_GZIP)
            continue
        waiting = decoder.unconsumed_tail
        if not waiting and len(piece) < CHUNK:  # a full piece may have more behind it that needs no input
            waiting = stream.read(CHUNK)
            if not waiting:
                raise EOFError


def _cut(path: Path, wanted: int, got: int) -> DataError:
    why = f"ends too early: {got} of {wanted} bytes of voxels can be read"
    return broken(path, why, code="TRUNCATED", needed_bytes=wanted, present_bytes=got)

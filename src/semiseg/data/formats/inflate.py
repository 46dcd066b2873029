"""Decompress no more than was asked for: a small file cannot fill the memory, a cut one is found out."""

from __future__ import annotations

import bz2
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from semiseg.data.formats.guards import broken

CHUNK = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
_ZLIB_OR_GZIP = 47  # zlib's window bits that accept either wrapper


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def inflate(stream: BinaryIO, count: int, path: Path, *, bzip2: bool = False) -> bytearray:
    """Decode exactly ``count`` bytes from the position of ``stream`` (gzip with any members, zlib or bzip2).

    Memory grows with what is really decoded, never beyond ``count`` bytes.

    Raises:
        DataError: TRUNCATED when the stream ends early, UNREADABLE when it is damaged.
    """
    out = bytearray()
    decoder = _decoder(bzip2)
    magic = BZIP2_MAGIC if bzip2 else GZIP_MAGIC
    try:
        while len(out) <= count:  # the byte beyond makes the decoder reach, and check, the stream's end
            if decoder.eof:
                rest = _rest(decoder, stream)
                if not rest.startswith(magic):
                    break  # padding after the last member
                decoder = _decoder(bzip2)
            else:
                rest = _rest(decoder, stream)
            piece = decoder.decompress(rest, count + 1 - len(out))
            if not (rest or piece or decoder.eof):
                raise _cut(path, count, len(out))
            out += piece
    except (zlib.error, OSError) as error:
        raise broken(path, f"the compressed data are damaged ({error})") from error
    if len(out) < count:
        raise _cut(path, count, len(out))
    del out[count:]
    return out


def head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes (fewer for a short file), decompressed where the file is gzip."""
    with path.open("rb") as stream:
        start = stream.read(count)
        if not start.startswith(GZIP_MAGIC):
            return start
        start += stream.read(1 << 16)
    try:
        return zlib.decompressobj(_ZLIB_OR_GZIP).decompress(start, count)
    except zlib.error as error:
        raise broken(path, f"the compressed data are damaged ({error})") from error


def is_gzip(path: Path) -> bool:
    """Whether the file's first bytes are gzip's, whatever its name says."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def plain(stream: BinaryIO, count: int, path: Path) -> bytearray:
    """Exactly ``count`` bytes from the position of ``stream``, read in pieces."""
    out = bytearray()
    while len(out) < count:
        piece = stream.read(min(CHUNK * 16, count - len(out)))
        if not piece:
            raise _cut(path, count, len(out))
        out += piece
    return out


class _Deflate:
    """zlib's decoder with bzip2's manners: it keeps the input that it has not used yet."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_ZLIB_OR_GZIP)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


def _decoder(bzip2: bool) -> _Deflate | bz2.BZ2Decompressor:
    return bz2.BZ2Decompressor() if bzip2 else _Deflate()


def _rest(decoder: _Deflate | bz2.BZ2Decompressor, stream: BinaryIO) -> bytes:
    """The bytes to decode next."""
    if decoder.eof:
        unused = decoder.unused_data
        return unused if len(unused) > 2 else unused + stream.read(CHUNK)
    return stream.read(CHUNK) if decoder.needs_input else b""


def _cut(path: Path, wanted: int, got: int) -> Exception:
    why = f"ends too early: {got} of {wanted} bytes of voxels can be read"
    return broken(path, why, code="TRUNCATED", needed_bytes=wanted, present_bytes=got)

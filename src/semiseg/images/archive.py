"""Unpacks zips and gzip streams safely: no file outside its folder, no more bytes than can be there.

What a stream decodes to counts only where its checksum is right.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from semiseg.errors import DataError, plural, where_to_move
from semiseg.images.claims import broken, readable_bytes
from semiseg.machine.folders import Scratch

MAX_MEMBERS = 200_000
MAX_PLAUSIBLE_RATIO = 100
"""No scan shrinks more; zeros shrink a thousand times."""
PLAUSIBLE_BYTES = 64 << 20
"""Below this a zip may shrink as much as it likes."""


class Unpacked:
    """The files of a zip in a temporary folder, which is deleted with this object.

    Raises:
        DataError: as :func:`unpack`.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self._scratch = Scratch()
        self.folder = self._scratch.path
        unpack(archive, self.folder)

    def cleanup(self) -> None:
        """Delete the folder now."""
        self._scratch.close()


def unpack(archive: Path, folder: Path) -> None:
    """Extract every file of ``archive`` below ``folder``.

    Raises:
        DataError: BAD_ARCHIVE for absolute or ``..`` members, links, encryption, damage, or more bytes than
            the archive can hold (a zip bomb).
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check_sizes(archive, members, folder)
            targets = [(member, folder / _safe_name(archive, member)) for member in members]
            for member, target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("xb") as out:
                    _copy(source, out, member.file_size, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        why = f"cannot be unpacked ({type(error).__name__}: {error})"
        full = where_to_move(error) if isinstance(error, OSError) else ""
        hint = full or "make the zip again, or unpack it yourself"
        raise broken(archive, why, code="BAD_ARCHIVE", hint=hint) from error


def _safe_name(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    """The member's relative path, if it is one that stays inside."""
    text = member.orig_filename.replace("\\", "/")
    name = PurePosixPath(text)
    outside = name.is_absolute() or ".." in name.parts or (len(text) > 1 and text[1] == ":")
    if outside or "\0" in text or not name.parts:
        why = "has a member that would be written outside its folder"
        raise broken(archive, why, code="BAD_ARCHIVE", hint="do not trust this archive; ask for a clean one")
    if (member.external_attr >> 16) & 0o170000 == 0o120000:
        why = "has a symbolic link as member"
        raise broken(archive, why, code="BAD_ARCHIVE", hint="zip the files themselves")
    return name


def _check_sizes(archive: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    total = sum(member.file_size for member in members)
    size = archive.stat().st_size
    free = shutil.disk_usage(folder).free
    if len(members) > MAX_MEMBERS or total > max(MAX_PLAUSIBLE_RATIO * size, PLAUSIBLE_BYTES):
        why = f"claims {plural(len(members), 'file')} of {readable_bytes(total)} in {readable_bytes(size)}"
        raise broken(archive, why, code="BAD_ARCHIVE", hint="do not trust this archive; ask for a clean one")
    if total > free:
        why = f"needs {readable_bytes(total)}, {readable_bytes(free)} are free in {folder.parent}"
        raise broken(archive, why, code="BAD_ARCHIVE", hint="free some space or set TMPDIR")


def _copy(source: IO[bytes], out: IO[bytes], size: int, archive: Path) -> None:
    """Copy exactly what the member's entry says; a longer stream is a lie."""
    left = size
    while piece := source.read(min(1 << 20, left + 1)):
        left -= len(piece)
        if left < 0:
            raise broken(archive, "unpacks to more than its header says", code="BAD_ARCHIVE")
        out.write(piece)


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

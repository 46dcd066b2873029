"""What a file holds by its first bytes, for names that do not say it."""

from __future__ import annotations

from pathlib import Path

from semiseg.images.claims import broken
from semiseg.images.inflate import head

_STARTS = {
    b"NRRD": ".nrrd",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
    b"ObjectType": ".mha",
    b"NDims": ".mha",
    b"\x89HDF": ".h5",
}


def ending_by_content(path: Path) -> str | None:
    """The ending that suits the first bytes of ``path``, or None.

    Raises:
        DataError: UNREADABLE with a hint for a DICOM file under another format's name.
    """
    with path.open("rb") as stream:
        start = head(stream, 540, path)[0]
    if start[128:132] == b"DICM":
        hint = "give the folder of the series, or convert it with semiseg init"
        raise broken(path, "is a DICOM file, whatever its name says", hint=hint)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return ".webp"
    if start[344:347] == b"n+1" or start[4:7] == b"n+2":
        return ".nii"
    return next((ending for magic, ending in _STARTS.items() if start.startswith(magic)), None)

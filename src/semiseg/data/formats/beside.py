"""Headers that name another file for their voxels: only a plain name in the same folder is followed."""

from __future__ import annotations

from pathlib import Path

from semiseg.data.formats.guards import broken


def data_file_beside(path: Path, name: str) -> Path:
    """The file ``name`` in the folder of the header ``path``.

    Raises:
        DataError: UNREADABLE for lists, patterns and names that lead elsewhere, MISSING_FILE when absent.
    """
    clean = name.strip()
    plain = Path(clean).name == clean and "\\" not in clean and "%" not in clean and " " not in clean.strip()
    if not plain or clean.upper().startswith("LIST") or clean in ("", ".", ".."):
        hint = "save the image as one file (.nii.gz, .nrrd or .mha)"
        raise broken(path, f"keeps its voxels in {clean!r}, wanted one file in the same folder", hint=hint)
    source = path.with_name(clean)
    if not source.is_file():
        hint = f"copy {clean} beside it, or save the image as one file"
        raise broken(path, f"keeps its voxels in {clean!r}, which is missing", code="MISSING_FILE", hint=hint)
    return source

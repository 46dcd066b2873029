"""Hand a trained model on: as one zip, as ONNX, as a PyTorch program or as a MONAI bundle."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.errors import UsageError, unknown_name
from semiseg.machine.files import contents, held, write_text

log = logging.getLogger("semiseg.export")

KINDS = ("onnx", "torch", "monai", "zip")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: where.
        kind: ``onnx``, ``torch``, ``monai`` or ``zip``.
        files: name in the folder -> bytes.
        document: the content of ``model.json``.
    """

    folder: Path
    kind: str
    files: dict[str, int]
    document: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"folder": str(self.folder), "kind": self.kind, "files": self.files, "model": self.document}


def export(
    runs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    to: str = "onnx",
    overrides: Mapping[str, Any] | None = None,
    allow_code: Collection[str] = (),
    overwrite: bool = False,
) -> Exported:
    """Hand trained networks on, with all that is needed to use them and a model card.

    Nothing written names a case, a patient, a path or a dataset, and nothing is a pickled object.

    Args:
        runs: a run folder or a ``model.zip``; several make an ensemble.
        output: a folder, which is made whole or not at all.
        to: ``onnx`` (with ``run_onnx.py``, which needs neither torch nor this package), ``torch`` (a
            ``torch.export`` program), ``monai`` (a bundle) or ``zip`` (for ``semiseg predict -m``).
        overrides: keys of the ``inference`` section, over what the first run was configured with.
        allow_code: modules that may be imported where a checkpoint names a network of other code.
        overwrite: replace an earlier export. Other folders that are not empty are never touched.

    Raises:
        UsageError: a run that cannot be used, a folder that is in use or not empty, or an extra that is
            missing.
    """
    if to not in KINDS:
        raise unknown_name("kind of export", to, KINDS)
    given = [runs] if isinstance(runs, str | Path) else list(runs)
    output = Path(output)
    with held(output, "-o", beside=True):
        _require_free(output, overwrite)
        from semiseg.delivery.source import read_sources
        from semiseg.prediction.model import Model

        sources = read_sources([Path(run) for run in given], allow_code)
        model = Model(tuple(source.member for source in sources), sources[0].settings)
        model = model.with_settings(**(overrides or {}))
        with _made_whole(output) as folder:
            written = _WRITERS[to](folder, sources, model)
    files = {
        str(path.relative_to(output)): path.stat().st_size
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }
    return Exported(output, to, files, written)


def _zip(folder: Path, sources: Sequence[Any], model: Any) -> dict[str, Any]:
    from semiseg.delivery.card import card
    from semiseg.delivery.zipped import pack

    written = pack(folder / "model.zip", sources, model)
    write_text(folder / "MODEL.md", card(written))
    return written


_WRITERS = {"zip": _zip}


def _require_free(output: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but an export that may be replaced.

    Raises:
        UsageError: there is something else in it.
    """
    if not contents(output):
        return
    ours = (output / MARK).is_file()
    if ours and overwrite:
        return
    raise UsageError(
        f"{output} is not empty",
        hint="--overwrite replaces the export in it" if ours else "give -o another folder",
        code="OUTPUT_EXISTS",
    )


MARK = "MODEL.md"
"""What every export has, and other folders hardly ever."""


@contextmanager
def _made_whole(output: Path) -> Iterator[Path]:
    """A folder beside ``output`` that takes its place when the block ends well, and goes away when not."""
    for left in output.parent.glob(f".{output.name}.*.tmp"):  # of a process that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    made = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    made.mkdir(parents=True)
    try:
        yield made
        if output.is_dir():
            old = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
            output.replace(old)
            made.replace(output)
            shutil.rmtree(old, ignore_errors=True)
        else:
            made.replace(output)
    finally:
        shutil.rmtree(made, ignore_errors=True)

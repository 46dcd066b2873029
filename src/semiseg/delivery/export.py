"""Export a trained model: as one zip, as ONNX, as a PyTorch program or as a MONAI bundle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from semiseg.errors import UsageError, unknown_name
from semiseg.machine.claim import contents, held
from semiseg.machine.files import write_json, write_text
from semiseg.machine.folders import restore, whole_folder

if TYPE_CHECKING:
    from semiseg.delivery.document import Kind
    from semiseg.delivery.onnx_model import Precision
    from semiseg.delivery.source import Source
    from semiseg.prediction.members import Member
    from semiseg.prediction.model import Model

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
    half: bool = False,
    int8: bool = False,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    allow_code: Collection[str] = (),
    overwrite: bool = False,
) -> Exported:
    """Export trained networks, with all that is needed to use them and a model card.

    Nothing written names a case, a patient, a path or a dataset, and nothing is a pickled object.

    Args:
        runs: a run folder or a ``model.zip``; several make an ensemble.
        output: a folder, which is made whole or not at all.
        to: ``onnx`` (with ``run_onnx.py``, which needs neither torch nor this package), ``torch`` (a
            ``torch.export`` program), ``monai`` (a bundle) or ``zip`` (for ``semiseg predict -m``).
        half: Store ONNX weights in 16 bits: half the size.
        int8: ONNX with convolutions in 8 bits: a third of the file. Their ranges are taken from unlabeled
            scans of the run, so ``data`` is needed.
        data: the dataset of the runs. With it, what ``half`` or ``int8`` costs is measured on the validation
            cases, or on the labeled ones where there are none, and told in ``model.json``.
        overrides: keys of the ``inference`` section, over what the first run was configured with.
        allow_code: modules that may be imported where a checkpoint names a network of other code.
        overwrite: replace an earlier export. Other folders that are not empty are never touched.

    Raises:
        UsageError: a run that cannot be used, a folder that is in use or not empty, or an extra that is
            missing.
    """
    if to not in KINDS:
        raise unknown_name("kind of export", to, KINDS)
    wanted = _wanted(to, half, int8, data)
    if to == "onnx":
        from semiseg.delivery.onnx_model import require_onnx

        require_onnx()
    from semiseg.prediction.members import members_of
    from semiseg.prediction.packaged import expanded

    given = expanded([runs] if isinstance(runs, str | Path) else list(runs))
    given = list(dict.fromkeys(run for each in given for run in members_of(each)))
    output = Path(output)
    with held(output, "-o", beside=True):
        restore(output)
        _require_free(output, overwrite)
        from semiseg.delivery.source import read_sources
        from semiseg.prediction.model import Model

        sources = read_sources(given, allow_code)
        model = Model(tuple(source.member for source in sources), sources[0].settings)
        model = model.with_settings(**(overrides or {}))
        with whole_folder(output) as folder:
            written = _WRITERS[to](folder, sources, model, wanted)
    made = {
        str(path.relative_to(output)): path.stat().st_size
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }
    return Exported(output, to, made, written)


class _Wanted(NamedTuple):
    """What is asked of ONNX."""

    precision: Precision
    data: str | Path | None


def _wanted(to: str, half: bool, int8: bool, data: str | Path | None) -> _Wanted:
    """The number format of the weights (UsageError: flags that exclude or lack one another)."""
    smaller = [name for name, given in (("half", half), ("int8", int8)) if given]
    why = ""
    if smaller and to != "onnx":
        why = f"{smaller[0]} is for onnx, not for {to}"
    elif len(smaller) > 1:
        why = "half and int8 exclude each other"
    elif int8 and data is None:
        why = "int8 needs data, the dataset of the run: it takes ranges from its unlabeled scans"
    elif data is not None and not smaller:
        why = "data is for half and int8, whose cost is measured on it"
    if why:
        raise UsageError(why, hint="see `semiseg export --help`", code="CONTRADICTION")
    return _Wanted("16" if half else "int8" if int8 else "32", data)


def _zip(folder: Path, sources: Sequence[Source], model: Model, _: _Wanted) -> dict[str, Any]:
    from semiseg.delivery.card import card
    from semiseg.delivery.zipped import pack

    written = pack(folder / "model.zip", sources, model)
    write_text(folder / "MODEL.md", card(written))
    return written


def _onnx(folder: Path, sources: Sequence[Source], model: Model, wanted: _Wanted) -> dict[str, Any]:
    from semiseg.delivery import measured
    from semiseg.delivery.onnx_model import write

    cases = None if wanted.data is None else measured.Cases(sources, wanted.data)

    def one(path: Path, members: Sequence[Member]) -> dict[str, Any]:
        needed = cases is not None and wanted.precision == "int8"
        windows = measured.windows(cases, model, members) if cases and needed else ()
        return write(path.with_suffix(".onnx"), members, wanted.precision, windows)

    def more(files: Sequence[Path]) -> dict[str, Any]:
        if cases is None or wanted.precision == "32":
            return {}
        return {"measured": measured.compared(model, measured.from_files(model, files), cases)}

    written = _weights(folder, "onnx", sources, model, one, more)
    runner = files("semiseg.delivery").joinpath("run_onnx.py").read_text("utf-8")
    write_text(folder / "run_onnx.py", runner)
    return written


def _torch(folder: Path, sources: Sequence[Source], model: Model, _: _Wanted) -> dict[str, Any]:
    from semiseg.delivery.graph import write_program

    return _weights(folder, "torch", sources, model, write_program)


def _monai(folder: Path, sources: Sequence[Source], model: Model, _: _Wanted) -> dict[str, Any]:
    from semiseg.delivery import bundle
    from semiseg.delivery.card import card
    from semiseg.delivery.document import document

    bundle.require_possible(model)
    mirror = model.mirrored(model.members[0])
    described = bundle.metadata(document("monai", model, sources, [{}]))
    written = _weights(
        folder, "monai", sources, model, lambda path, group: bundle.write(folder, group, mirror, described)
    )
    bundle.write_configs(folder, described, written, card(written), model.plan)
    return written


def _weights(
    folder: Path,
    kind: Kind,
    sources: Sequence[Source],
    model: Model,
    write: Callable[[Path, Sequence[Member]], dict[str, Any]],
    more: Callable[[Sequence[Path]], dict[str, Any]] = lambda files: {},
) -> dict[str, Any]:
    """One file for all networks that see the same input, ``model.json`` and the card."""
    from semiseg.delivery.card import card
    from semiseg.delivery.document import document

    whole = model.settings.slice_size
    if whole is not None and any(tuple(member.plan.patch) != whole for member in model.members):
        raise UsageError(
            f"inference.slice_size ({list(whole)}) is not the network's patch, which is what a graph takes",
            hint="--to zip keeps it; --set inference.slice_size=null exports windows of the patch instead",
            code="SLICE_SIZE",
        )
    groups = model.groups()
    names = ["model"] if len(groups) == 1 else [f"model_{k + 1}" for k in range(len(groups))]
    found = [write(folder / name, group) for name, group in zip(names, groups, strict=True)]
    written = document(kind, model, sources, found, more([folder / one["file"] for one in found]))
    write_json(folder / "model.json", written)
    write_text(folder / "MODEL.md", card(written))
    return written


_WRITERS = {"zip": _zip, "onnx": _onnx, "torch": _torch, "monai": _monai}


def _require_free(output: Path, overwrite: bool) -> None:
    """Refuse a file, and a folder that holds anything but an export that may be replaced (UsageError)."""
    if output.exists() and not output.is_dir():
        raise UsageError(
            f"{output} is a file, wanted the name of a folder",
            hint="give -o another name",
            code="OUTPUT_EXISTS",
        )
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

"""One scan measured (its grid, its gray values, the size of what is labeled in it) and kept in a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semiseg.dataset.case import Case, LabeledCase, case_header, load_case, load_label
from semiseg.errors import DataError, SemisegError, plural
from semiseg.images.grid import Grid
from semiseg.inference.postprocess import box_of, components
from semiseg.machine.files import atomic_file
from semiseg.preparation.forward import require_finite, scheme_for
from semiseg.preparation.geometry import orientation
from semiseg.preparation.unlike import looks
from semiseg.preparation.workers import attempt

log = logging.getLogger("semiseg.data")

FORM = 5
"""Raised when what is measured changes."""

SAMPLE = 10_000
"""Voxels per image and channel that enter the statistics."""


def sample(voxels: NDArray[Any]) -> NDArray[np.float32]:
    """At most :data:`SAMPLE` of the finite values, the same ones every time."""
    finite = voxels[np.isfinite(voxels)] if voxels.dtype.kind == "f" else voxels
    if finite.size > SAMPLE:
        finite = np.random.default_rng(0).choice(finite, SAMPLE, replace=False)
    return finite.astype(np.float32)


@dataclass(frozen=True)
class CaseFacts:
    """What was measured of one scan."""

    id: str
    shape: tuple[int, ...]
    """Voxels per axis in the file's order, two or three."""
    spacing: tuple[float, ...]
    """Millimeters, same order."""
    ras: tuple[int, int, int] | None
    """Which file axis runs along R, A and S; None for a 2D image or where no orientation can be read."""
    nonzero: tuple[float, ...] | None = None
    """Share of each axis that the box of nonzero voxels spans; None where the voxels were not read."""
    run: tuple[float, ...] | None = None
    """Millimeters that a line along each axis stays inside a labeled structure on average (two thirds of a
    ball's diameter), of the class where it is shortest; None where no label was read or has any."""
    pieces: tuple[tuple[int, float, float], ...] | None = None
    """For each class in the label of a 3D scan: its value, the share of its voxels in its largest connected
    piece, and its mm³; None where no label was read or there are regions."""
    looks: tuple[tuple[float, ...], ...] | None = None
    """Each channel's gray values, as :meth:`Look.as_row` gives them; None where the voxels were not read."""

    def size(self, cropped: bool) -> tuple[int, ...]:
        """Voxels per axis, of the whole scan or of the box of its nonzero voxels (where known)."""
        if not cropped or self.nonzero is None:
            return self.shape
        return tuple(max(1, round(n * share)) for n, share in zip(self.shape, self.nonzero, strict=True))

    @classmethod
    def from_dict(cls, part: Mapping[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made of it, also after a way through JSON."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
        for rows in ("looks", "pieces"):
            if values.get(rows) is not None:
                values[rows] = tuple(map(tuple, values[rows]))
        return cls(**values)


@dataclass(frozen=True)
class Measured:
    """One case's facts and, per channel, a sample of its voxels: of the body, and under its label."""

    facts: CaseFacts
    body: list[NDArray[np.float32]]
    foreground: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Ask:
    """What to measure, the same for every case."""

    channels: tuple[str, ...]
    voxels: frozenset[str]
    mapping: Mapping[int, int]
    """Raw to declared label value."""
    background: frozenset[int]
    """Declared values that are no foreground."""
    regions: tuple[tuple[int, ...], ...] = ()
    """Declared values of each structure, where one is made of several."""

    @property
    def ct(self) -> bool:
        """Whether some channel is CT, whose gray values are measured inside of labels."""
        return any(scheme_for(name) == "ct" for name in self.channels)


def measure(case: Case, ask: Ask, cache: Path | None = None) -> Measured | SemisegError:
    """One case's facts and voxel samples; an error is returned, with the case named."""
    return attempt(case, lambda: _measured_once(case, ask, cache))


def _measured_once(case: Case, ask: Ask, cache: Path | None) -> Measured:
    if cache is None or case.id not in ask.voxels:
        return _measure(case, ask)
    kept = cache / f"measured-{_key(case, ask)}.npz"
    found = _load(kept, case.id)
    if found is None:
        found = _measure(case, ask)
        arrays: dict[str, Any] = {f"body{c}": part for c, part in enumerate(found.body)}
        arrays |= {f"foreground{c}": part for c, part in enumerate(found.foreground)}
        facts = json.dumps(dataclasses.asdict(found.facts)).encode()
        with atomic_file(kept) as stream:
            np.savez(stream, facts=np.frombuffer(facts, np.uint8), **arrays)
    return found


def _load(path: Path, name: str) -> Measured | None:
    """What was kept of a case, under its name of now; None where nothing is, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:  # a zip, whose checksums are looked at
            facts = CaseFacts.from_dict(json.loads(arrays["facts"].tobytes()))
            parts = {
                kind: [arrays[key] for key in sorted(arrays.files, key=_number) if key.startswith(kind)]
                for kind in ("body", "foreground")
            }
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
    return Measured(dataclasses.replace(facts, id=name), parts["body"], parts["foreground"])


def _number(key: str) -> int:
    return int(key.lstrip("abcdefghijklmnopqrstuvwxyz") or -1)


def _key(case: Case, ask: Ask) -> str:
    opened = [*case.images, *([case.label] if isinstance(case, LabeledCase) else [])]
    rows = [FORM, ask.channels, sorted(ask.mapping.items()), sorted(ask.background), ask.regions]
    rows += [isinstance(case, LabeledCase), [stamp(path) for path in opened]]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]


def _measure(case: Case, ask: Ask) -> Measured:
    if case.id not in ask.voxels:
        return Measured(_grid_facts(case.id, case_header(case).grid), [], [])
    image, grid, _ = load_case(case, len(ask.channels))
    facts = _grid_facts(case.id, grid)
    if len(image) != len(ask.channels):
        raise DataError(
            f"{case.id}: got {plural(len(image), 'channel')}, wanted {len(ask.channels)} "
            f"({', '.join(ask.channels)})",
            hint="fix channel_names in dataset.json, or the files of this case",
            code="CHANNELS",
        )
    for channel, name in zip(image, ask.channels, strict=True):
        require_finite(channel, name)
    body = [sample(channel[channel > channel.mean(dtype=np.float64)]) for channel in image]
    rows = tuple(look.as_row() for look in looks(image, grid))
    facts = dataclasses.replace(facts, nonzero=_nonzero_share(image), looks=rows)
    foreground = []
    if isinstance(case, LabeledCase):
        label = _declared(load_label(case, grid), ask)
        facts = dataclasses.replace(
            facts,
            run=_run(label, grid.spacing, ask.regions),
            pieces=None if ask.regions or label.ndim == 2 else _pieces(label, grid.spacing),
        )
        if ask.ct:
            foreground = [sample(channel[label > 0]) for channel in image]
    return Measured(facts, body, foreground)


def _grid_facts(name: str, grid: Grid) -> CaseFacts:
    ras = None
    if len(grid.shape) == 3:
        try:
            ras = orientation(grid)[0]
        except DataError as error:
            log.warning("%s: %s", name, error.message)
    return CaseFacts(name, grid.shape, grid.spacing, ras)


def _declared(label: NDArray[Any], ask: Ask) -> NDArray[np.uint16]:
    """Declared values, 0 for all that is no foreground; values that no plan can have count as one."""
    raw = np.clip(label, 0, np.iinfo(np.uint16).max).astype(np.uint16)
    table = np.arange(np.iinfo(np.uint16).max + 1, dtype=np.uint16)
    for value, meant in ask.mapping.items():
        if 0 <= value < len(table):
            table[value] = max(meant, 0)
    table[np.isin(table, list(ask.background))] = 0
    declared: NDArray[np.uint16] = table[raw]
    return declared


def _run(
    label: NDArray[np.uint16], spacing: Sequence[float], regions: Sequence[Sequence[int]]
) -> tuple[float, ...] | None:
    if not regions:
        return _shortest_run(label, spacing)
    masks = (np.isin(label, members).astype(np.uint16) for members in regions)
    found = [run for mask in masks if (run := _shortest_run(mask, spacing)) is not None]
    return tuple(map(min, zip(*found, strict=True))) if found else None


def _shortest_run(label: NDArray[np.uint16], spacing: Sequence[float]) -> tuple[float, ...] | None:
    voxels = np.bincount(label.ravel())
    there = voxels[1:] > 0
    if not there.any():
        return None
    shortest = []
    for axis, mm in enumerate(spacing):
        lines = np.moveaxis(label, axis, 0)
        begun = np.bincount(lines[1:][lines[1:] != lines[:-1]], minlength=len(voxels))
        begun += np.bincount(lines[0].ravel(), minlength=len(voxels))
        shortest.append(float((voxels[1:][there] / begun[1:][there]).min() * mm))
    return tuple(shortest)


def _pieces(label: NDArray[np.uint16], spacing: Sequence[float]) -> tuple[tuple[int, float, float], ...]:
    found = []
    for value, box in enumerate(ndimage.find_objects(label), 1):
        if box is not None:
            numbered, _ = components(label[box] == value)
            sizes = np.bincount(numbered.ravel())[1:]
            found.append((value, float(sizes.max() / sizes.sum()), float(sizes.sum() * np.prod(spacing))))
    return tuple(found)


def _nonzero_share(image: NDArray[Any]) -> tuple[float, ...]:
    sizes = image.shape[1:]
    box = box_of((image != 0).any(0)) or [slice(0, size) for size in sizes]
    return tuple((part.stop - part.start) / size for part, size in zip(box, sizes, strict=True))


def stamp(path: Path) -> list[Any]:
    """Name, size and time of a file, by which a change is noticed without opening it."""
    try:
        about = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), about.st_size, about.st_mtime_ns]

"""What a dataset looks like: sizes, spacings, gray values; from labeled and unlabeled images, never test.

Gray-value statistics of many images, from a bounded sample of each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.case import Case, LabeledCase, case_header, load_case, load_label
from semiseg.errors import DataError, SemisegError
from semiseg.machine.files import atomic_file
from semiseg.preparation.cache import sealed, unsealed
from semiseg.preparation.forward import scheme_for
from semiseg.preparation.geometry import orientation
from semiseg.preparation.look import Look
from semiseg.preparation.seen import Seen
from semiseg.preparation.unlike import looks
from semiseg.preparation.workers import each, raise_faults, told

SAMPLE = 10_000
"""Voxels per image and channel that enter the statistics."""


@dataclass(frozen=True)
class Intensities:
    """Gray values of pooled voxels."""

    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    p005: float
    """0.5th percentile."""
    p995: float
    """99.5th percentile."""
    images: int
    """How many images the voxels come from."""


def pooled(samples: Sequence[NDArray[np.float32]]) -> Intensities | None:
    """Statistics of several images' samples; None where all are empty."""
    filled = [sample for sample in samples if sample.size]
    if not filled:
        return None
    voxels = np.concatenate(filled).astype(np.float64)
    low, median, high = np.percentile(voxels, [0.5, 50, 99.5])
    return Intensities(
        mean=float(voxels.mean()),
        std=float(voxels.std()),
        median=float(median),
        minimum=float(voxels.min()),
        maximum=float(voxels.max()),
        p005=float(low),
        p995=float(high),
        images=len(filled),
    )


def sample(voxels: NDArray[Any]) -> NDArray[np.float32]:
    """At most :data:`SAMPLE` of the finite values, the same ones every time."""
    finite = voxels[np.isfinite(voxels)] if voxels.dtype.kind == "f" else voxels
    if finite.size > SAMPLE:
        finite = np.random.default_rng(0).choice(finite, SAMPLE, replace=False)
    return finite.astype(np.float32)


log = logging.getLogger("semiseg.data")

MOST_IMAGES = 50
"""Labeled, and again unlabeled, images whose voxels are read; evenly spread over the lists. Headers: all."""
_FORM = 4


@dataclass(frozen=True)
class CaseFacts:
    """One scan's grid."""

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
    looks: tuple[tuple[float, ...], ...] | None = None
    """Each channel's gray values, as :meth:`Look.as_row` gives them; None where the voxels were not read."""

    def size(self, cropped: bool) -> tuple[int, ...]:
        """Voxels per axis, of the whole scan or of the box of its nonzero voxels (where known)."""
        if not cropped or self.nonzero is None:
            return self.shape
        return tuple(max(1, round(n * share)) for n, share in zip(self.shape, self.nonzero, strict=True))


@dataclass(frozen=True)
class ChannelFacts:
    """One channel's gray values."""

    name: str
    body: Intensities | None
    """Voxels brighter than their image's mean: a crude body mask that needs no label."""
    foreground: Intensities | None
    """Voxels under a label of the labeled cases; only for channels whose scheme needs it (CT)."""


@dataclass(frozen=True)
class Fingerprint:
    """The facts that a plan is made from."""

    cases: tuple[CaseFacts, ...]
    channels: tuple[ChannelFacts, ...]

    @property
    def flat(self) -> bool:
        """Whether the images are 2D."""
        return len(self.cases[0].shape) == 2

    def seen(self) -> Seen:
        """What the scans look like, to compare others with."""
        grids = []
        for case in self.cases:
            order = case.ras or range(len(case.shape))
            grids.append(([case.shape[axis] for axis in order], [case.spacing[axis] for axis in order]))
        read = [case.looks for case in self.cases if case.looks is not None]
        return Seen.of(grids, [[Look.from_row(row) for row in rows] for rows in read])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`as_dict` wrote, also after a way through JSON."""

        def statistics(part: Mapping[str, Any] | None) -> Intensities | None:
            return None if part is None else Intensities(**part)

        def case(part: Mapping[str, Any]) -> CaseFacts:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in part.items()}
            if values.get("looks") is not None:
                values["looks"] = tuple(map(tuple, values["looks"]))
            return CaseFacts(**values)

        channels = [
            ChannelFacts(part["name"], statistics(part["body"]), statistics(part["foreground"]))
            for part in values["channels"]
        ]
        return cls(tuple(map(case, values["cases"])), tuple(channels))


@dataclass(frozen=True)
class _Measured:
    facts: CaseFacts
    body: list[NDArray[np.float32]]
    foreground: list[NDArray[np.float32]]


@dataclass(frozen=True)
class _Ask:
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
        return any(scheme_for(name) == "ct" for name in self.channels)


def fingerprint(
    cases: Sequence[Case],
    channel_names: Sequence[str],
    workers: int = 0,
    *,
    label_map: Mapping[int, int] | None = None,
    ignore_value: int | None = None,
    regions: tuple[tuple[int, ...], ...] = (),
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprint:
    """Measure a dataset.

    Args:
        cases: labeled and unlabeled training cases. A label is opened only of a labeled case: for the size of
            the structures, and for the gray values of CT inside them.
        channel_names: one per channel; the name chooses the scheme.
        workers: processes; 0 works in this one.
        label_map: raw to declared label value.
        ignore_value: the declared value that is neither foreground nor background.
        regions: declared values of each structure, where one is made of several.
        cache: a folder; the result is kept there and reused while no file changes.
        progress: told (cases done, all cases).

    Raises:
        DataError: no case, 2D and 3D images in one dataset, other channels than declared, or files that
            cannot be read; all cases at once.
    """
    if not cases:
        raise DataError("no training case to plan from", hint="put images into imagesTr", code="NO_CASES")
    background = {0} if ignore_value is None else {0, ignore_value}
    labeled = [case.id for case in cases if isinstance(case, LabeledCase)]
    others = [case.id for case in cases if not isinstance(case, LabeledCase)]
    read = frozenset([*_spread(labeled), *_spread(others)])
    ask = _Ask(tuple(channel_names), read, dict(label_map or {}), frozenset(background), regions)
    kept = None if cache is None else cache / f"fingerprint-{_key(cases, ask)}.json"
    known = None if kept is None else _load(kept)
    if known is not None:
        return known
    results: dict[Case, _Measured | SemisegError] = {}
    if progress is not None:
        progress(0, len(cases))
    for case, result in each(partial(measure, ask=ask), cases, workers):
        results[case] = result
        if progress is not None:
            progress(len(results), len(cases))
    raise_faults([r for case in cases if isinstance(r := results[case], SemisegError)], "measured")
    found = _joined([r for case in cases if isinstance(r := results[case], _Measured)], ask)
    if kept is not None:
        with atomic_file(kept) as stream:
            stream.write(sealed(found.as_dict()))
    return found


def measure(case: Case, ask: _Ask) -> _Measured | SemisegError:
    """One case's facts and voxel samples; an error is returned, with the case named."""
    return told(case, lambda: _measure(case, ask))


def _measure(case: Case, ask: _Ask) -> _Measured:
    grid = case_header(case).grid
    ras = None
    if len(grid.shape) == 3:
        try:
            ras = orientation(grid)[0]
        except DataError as error:
            log.warning("%s: %s", case.id, error.message)
    facts = CaseFacts(case.id, grid.shape, grid.spacing, ras)
    if case.id not in ask.voxels:
        return _Measured(facts, [], [])
    image, grid, _ = load_case(case, len(ask.channels))
    if len(image) != len(ask.channels):
        raise DataError(
            f"{case.id}: got {len(image)} channels, wanted {len(ask.channels)} ({', '.join(ask.channels)})",
            hint="fix channel_names in dataset.json, or the files of this case",
            code="CHANNELS",
        )
    body = [sample(channel[channel > channel.mean(dtype=np.float64)]) for channel in image]
    rows = tuple(look.as_row() for look in looks(image, grid))
    facts = dataclasses.replace(facts, nonzero=_nonzero_share(image), looks=rows)
    foreground = []
    if isinstance(case, LabeledCase):
        label = _declared(load_label(case, grid), ask)
        facts = dataclasses.replace(facts, run=_run(label, grid.spacing, ask.regions))
        if ask.ct:
            foreground = [sample(channel[label > 0]) for channel in image]
    return _Measured(facts, body, foreground)


def _declared(label: NDArray[Any], ask: _Ask) -> NDArray[np.uint16]:
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


def _joined(measured: Sequence[_Measured], ask: _Ask) -> Fingerprint:
    flat = [m.facts.id for m in measured if len(m.facts.shape) == 2]
    if flat and len(flat) < len(measured):
        raise DataError(
            f"{len(flat)} of {len(measured)} images are 2D (such as {flat[0]}), the others 3D",
            hint="make two datasets, or stack the 2D images to volumes",
            code="MIXED_DIM",
        )
    channels = [
        ChannelFacts(
            name,
            pooled([m.body[c] for m in measured if m.body]),
            pooled([m.foreground[c] for m in measured if m.foreground]),
        )
        for c, name in enumerate(ask.channels)
    ]
    return Fingerprint(tuple(m.facts for m in measured), tuple(channels))


def _nonzero_share(image: NDArray[Any]) -> tuple[float, ...]:
    mask = (image != 0).any(0)
    shares = []
    for axis in range(mask.ndim):
        hits = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        shares.append(float((hits[-1] - hits[0] + 1) / mask.shape[axis]) if len(hits) else 1.0)
    return tuple(shares)


def _spread(ids: Sequence[str]) -> list[str]:
    if len(ids) <= MOST_IMAGES:
        return list(ids)
    return [ids[i] for i in np.linspace(0, len(ids) - 1, MOST_IMAGES).round().astype(int)]


def _key(cases: Sequence[Case], ask: _Ask) -> str:
    """Changes with any image's name, size or time, and with any label's that would be opened."""
    rows: list[Any] = [_FORM, ask.channels, sorted(ask.voxels)]
    rows += [sorted(ask.mapping.items()), sorted(ask.background)]
    rows += [ask.regions] if ask.regions else []
    for case in cases:
        opened = [
            *case.images,
            *([case.label] if isinstance(case, LabeledCase) and case.id in ask.voxels else []),
        ]
        rows.append([case.id, [_stamp(path) for path in opened]])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]


def _stamp(path: Path) -> list[Any]:
    try:
        about = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), about.st_size, about.st_mtime_ns]


def _load(path: Path) -> Fingerprint | None:
    try:
        return Fingerprint.from_dict(unsealed(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None

"""What a dataset looks like: sizes, spacings, gray values; from labeled and unlabeled images, never test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.case import Case, LabeledCase
from semiseg.errors import DataError, SemisegError
from semiseg.machine.files import atomic_file
from semiseg.preparation.cache import sealed, unsealed
from semiseg.preparation.look import Look
from semiseg.preparation.measure import FORM, Ask, CaseFacts, Measured, measure, stamp
from semiseg.preparation.seen import Seen
from semiseg.preparation.workers import each, raise_faults


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


MOST_IMAGES = 50
"""Labeled, and again unlabeled, images whose voxels are read; evenly spread over the lists. Headers: all."""


LEAST_LABELS = 4
"""Labeled scans that must show a class before it is taken to be one piece in others, too."""
WHOLE = 0.95
"""Share of a class that its largest piece must hold; the rest are slips of the pen."""
ALIKE = 1.0
"""The standard deviation of the logarithm of a class's volume, at most: 0.8 for the right ventricle in six
frames of ACDC, whose volumes differ by 12 times; the volumes of lesions differ by 100."""


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

    def one_piece(self, values: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
        """The classes that are one connected piece of much the same size in every labeled scan.

        A lesion that happens to be single in a few scans differs in size far more than an organ does.

        Args:
            values: foreground class -> its value in the label files.

        Returns:
            Their names, of those that at least :data:`LEAST_LABELS` scans show, and how many scans were
            looked at.
        """
        read = [case.pieces for case in self.cases if case.pieces is not None]
        found = []
        for name, value in values.items():
            rows = [(share, mm3) for pieces in read for number, share, mm3 in pieces if number == value]
            sizes = np.log([mm3 for _, mm3 in rows])
            if (
                len(rows) >= LEAST_LABELS
                and min(share for share, _ in rows) >= WHOLE
                and float(np.std(sizes)) <= ALIKE
            ):
                found.append(name)
        return tuple(found), len(read)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What :meth:`as_dict` wrote, also after a way through JSON."""

        def statistics(part: Mapping[str, Any] | None) -> Intensities | None:
            return None if part is None else Intensities(**part)

        channels = [
            ChannelFacts(part["name"], statistics(part["body"]), statistics(part["foreground"]))
            for part in values["channels"]
        ]
        return cls(tuple(map(CaseFacts.from_dict, values["cases"])), tuple(channels))


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
    ask = Ask(tuple(channel_names), read, dict(label_map or {}), frozenset(background), regions)
    kept = None if cache is None else cache / f"fingerprint-{_key(cases, ask)}.json"
    known = None if kept is None else _load(kept)
    if known is not None:
        return known
    results: dict[Case, Measured | SemisegError] = {}
    if progress is not None:
        progress(0, len(cases))
    for case, result in each(partial(measure, ask=ask, cache=cache), cases, workers):
        results[case] = result
        if progress is not None:
            progress(len(results), len(cases))
    raise_faults([r for case in cases if isinstance(r := results[case], SemisegError)], "measured")
    found = _joined([r for case in cases if isinstance(r := results[case], Measured)], ask)
    if kept is not None:
        with atomic_file(kept) as stream:
            stream.write(sealed(found.as_dict()))
    return found


def _joined(measured: Sequence[Measured], ask: Ask) -> Fingerprint:
    flat = [m.facts.id for m in measured if len(m.facts.shape) == 2]
    if flat and len(flat) < len(measured):
        raise DataError(
            f"{len(flat)} of {len(measured)} images in 2D (such as {flat[0]}), the others in 3D",
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


def _spread(ids: Sequence[str]) -> list[str]:
    if len(ids) <= MOST_IMAGES:
        return list(ids)
    return [ids[i] for i in np.linspace(0, len(ids) - 1, MOST_IMAGES).round().astype(int)]


def _key(cases: Sequence[Case], ask: Ask) -> str:
    """Changes with any image's name, size or time, and with any label's that would be opened."""
    rows: list[Any] = [FORM, ask.channels, sorted(ask.voxels)]
    rows += [sorted(ask.mapping.items()), sorted(ask.background)]
    rows += [ask.regions] if ask.regions else []
    for case in cases:
        label = [case.label] if isinstance(case, LabeledCase) and case.id in ask.voxels else []
        rows.append([case.id, [stamp(path) for path in (*case.images, *label)]])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]


def _load(path: Path) -> Fingerprint | None:
    try:
        return Fingerprint.from_dict(unsealed(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None

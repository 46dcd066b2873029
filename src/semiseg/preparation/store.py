"""The store: every case preprocessed once, kept as plain arrays that training maps into memory.

An entry's key is the content of its files and the part of the plan that shapes it, so renaming a folder,
changing the batch size or training another method reuses it, and a changed scan or spacing does not.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.dataset.case import Case, LabeledCase, case_header, load_case, load_label
from semiseg.errors import DataError, SemisegError, some
from semiseg.preparation.cache import CacheEntry, image_key, label_key, map_array, sweep
from semiseg.preparation.forward import preprocess_image, preprocess_label, sample_foreground, stored_shape
from semiseg.preparation.geometry import Geometry
from semiseg.preparation.plan import Plan
from semiseg.preparation.workers import affordable, attempt, each, raise_faults

log = logging.getLogger("semiseg.data")

PASSES = 8
"""Float copies of a channel that live at once while it is resampled, as measured."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class StoredCase:
    """A preprocessed scan. There is no label here, and no path to one.

    Arrays are mapped on first use, read-only; pickling sends paths, not voxels.
    """

    id: str
    geometry: Geometry
    image_path: Path

    @cached_property
    def image(self) -> NDArray[np.float32]:
        """(C, T0, T1, T2) float32."""
        return map_array(self.image_path)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False)
class StoredLabeledCase(StoredCase):
    """A preprocessed scan with its label."""

    label_path: Path
    foreground_path: Path

    @cached_property
    def label(self) -> NDArray[np.uint8]:
        """(T0, T1, T2) uint8: classes, 255 where ignored."""
        return map_array(self.label_path)

    @cached_property
    def foreground(self) -> NDArray[np.int32]:
        """(N, 3) positions of up to 10000 foreground voxels, class-balanced."""
        return map_array(self.foreground_path)


def build_store(
    cases: Sequence[Case | LabeledCase],
    plan: Plan,
    cache: Path,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, StoredCase]:
    """Preprocess what is not in the cache yet.

    Args:
        cases: ids must differ. Of a plain :class:`Case` no label is opened, whatever lies beside it.
        plan: how to lay scans out.
        cache: a folder, made when missing; safe to share between processes and runs.
        workers: processes, fewer where memory is short; 0 works in this one. The result is the same,
            bit for bit.
        progress: called with (cases done, all cases) as they finish.

    Returns:
        Case id -> :class:`StoredCase`, or :class:`StoredLabeledCase` for labeled cases, in the given order.

    Raises:
        DataError: cases that cannot be read or do not fit the plan, all of them at once.
        DeviceError: a worker process died, as a rule for lack of memory.
        SemisegError: the cache cannot be written (code ``FILES``).
    """
    _require_distinct(cases)
    sweep(cache)
    stored: dict[str, StoredCase] = {}
    faults: dict[str, SemisegError] = {}
    missing: list[Missing] = []

    def finish(case: Case, result: StoredCase | SemisegError) -> None:
        if isinstance(result, SemisegError):
            faults[case.id] = result
        else:
            stored[case.id] = result
        if progress:
            progress(len(stored) + len(faults), len(cases))

    if progress:
        progress(0, len(cases))
    with ThreadPoolExecutor(max(1, workers)) as pool:  # hashing and checksums release the interpreter
        looked_up = pool.map(lambda case: _look_up(case, plan, cache), cases)
        for case, found in zip(cases, looked_up, strict=True):
            if isinstance(found, Missing):
                missing.append(found)
            else:
                finish(case, found)
    if missing:
        log.debug("preprocessing %d of %d cases into %s", len(missing), len(cases), cache)
    if workers > 1:
        workers = affordable(workers, max((_peak_bytes(one.case, plan) for one in missing), default=0))
    for one, result in each(partial(prepare, plan=plan, cache=cache), missing, workers):
        finish(one.case, result)
    raise_faults([faults[case.id] for case in cases if case.id in faults], "prepared")
    return {case.id: stored[case.id] for case in cases}


@dataclass(frozen=True)
class Missing:
    """A case that is not in the cache, and the key of its image, as far as that could be made."""

    case: Case
    key: str | None = None


def prepare(missing: Missing, plan: Plan, cache: Path) -> StoredCase | SemisegError:
    """Make the entries of one case; an error is returned, with the case named."""
    return attempt(missing.case, lambda: _prepare(missing.case, missing.key, plan, cache), cache)


def _prepare(case: Case | LabeledCase, key: str | None, plan: Plan, cache: Path) -> StoredCase:
    image_entry = CacheEntry(cache, key or image_key(case.images, plan))
    with image_entry.alone():
        geometry = _prepare_image(case, plan, image_entry)
    if isinstance(case, LabeledCase):
        label_entry = CacheEntry(cache, label_key(case.label, image_entry.key, plan))
        with label_entry.alone():
            if label_entry.read() is None:
                raw = load_label(case, geometry.source)
                label = preprocess_label(raw, geometry, plan, case=case.id)
                label_entry.write({"label": label, "foreground": sample_foreground(label)}, {})
        return _labeled(case, geometry, image_entry, label_entry)
    return StoredCase(case.id, geometry, image_entry.array("image"))


def _prepare_image(case: Case, plan: Plan, entry: CacheEntry) -> Geometry:
    facts = entry.read()
    if facts is None:
        image, grid, _ = load_case(case, len(plan.channels))
        if image.size == 0 or (image == image.flat[0]).all():
            raise DataError(
                f"{case.id}: got the same value in every voxel of {case.images[0].name}, wanted an image",
                hint="export the scan again, or leave the case out; `semiseg check` finds all such scans",
                code="CONSTANT_IMAGE",
            )
        array, geometry = preprocess_image(image, grid, plan)
        entry.write({"image": array}, {"geometry": geometry.as_dict()})
        return geometry
    return Geometry.from_dict(facts["geometry"])


def _peak_bytes(case: Case, plan: Plan) -> int:
    """Memory that preparing a case takes at most, from its header; 0 where it is unreadable (told later)."""
    try:
        header = case_header(case)
        stored = math.prod(stored_shape(header.grid, plan))
    except SemisegError:
        return 0
    channels = len(case.images) * header.channels
    return 4 * (max(math.prod(header.grid.shape), stored) * PASSES + (channels - 1) * stored)


def _look_up(case: Case | LabeledCase, plan: Plan, cache: Path) -> StoredCase | Missing:
    try:
        key = image_key(case.images, plan)
        missing = Missing(case, key)
        image_entry = CacheEntry(cache, key)
        facts = image_entry.read() if image_entry.sidecar.is_file() else None
        if facts is None:
            return missing
        geometry = Geometry.from_dict(facts["geometry"])
        if not isinstance(case, LabeledCase):
            return StoredCase(case.id, geometry, image_entry.array("image"))
        label_entry = CacheEntry(cache, label_key(case.label, key, plan))
        return missing if label_entry.read() is None else _labeled(case, geometry, image_entry, label_entry)
    except OSError:
        return Missing(case)  # told properly by prepare


def _labeled(case: Case, geometry: Geometry, image: CacheEntry, label: CacheEntry) -> StoredLabeledCase:
    return StoredLabeledCase(
        case.id, geometry, image.array("image"), label.array("label"), label.array("foreground")
    )


def _require_distinct(cases: Sequence[Case]) -> None:
    twice = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    if twice:
        raise DataError(
            f"cases given twice: {some(twice, 10)}",
            hint="give every case once; fix the split file",
            code="DUPLICATE_CASE",
        )

"""The store: every case preprocessed once, kept as plain arrays that training maps into memory.

An entry's key is the content of its files and the part of the plan that shapes it, so renaming a folder,
changing the batch size or training another method reuses it, and a changed scan or spacing does not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.cases import Case, LabeledCase
from semiseg.data.content import image_key, label_key
from semiseg.data.entry import Entry, map_array, sweep
from semiseg.data.foreground import sample_foreground
from semiseg.data.geometry import Geometry
from semiseg.data.load import load_case, load_label
from semiseg.data.plan import Plan
from semiseg.data.preprocess import preprocess_image, preprocess_label
from semiseg.errors import DataError, DeviceError, SemisegError

log = logging.getLogger("semiseg.data")

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
        workers: processes; 0 works in this one. The result is the same, bit for bit.
        progress: called with (cases done, all cases) as they finish.

    Returns:
        Case id -> :class:`StoredCase`, or :class:`StoredLabeledCase` for labeled cases, in the given order.

    Raises:
        DataError: cases that cannot be read or do not fit the plan, all of them at once.
        DeviceError: a worker process died, as a rule for lack of memory.
        SemisegError: the cache cannot be written.
    """
    _require_distinct(cases)
    sweep(cache)
    stored: dict[str, StoredCase] = {}
    faults: dict[str, SemisegError] = {}
    missing: list[Case] = []

    def finish(case: Case, result: StoredCase | SemisegError) -> None:
        if isinstance(result, SemisegError):
            faults[case.id] = result
        else:
            stored[case.id] = result
        if progress:
            progress(len(stored) + len(faults), len(cases))

    for case, found in _looked_up(cases, plan, cache, workers):
        if found is None:
            missing.append(case)
        else:
            finish(case, found)
    if missing:
        log.debug("preprocessing %d of %d cases into %s", len(missing), len(cases), cache)
    for case, result in _prepared(missing, plan, cache, workers):
        finish(case, result)
    _raise_faults([faults[case.id] for case in cases if case.id in faults])
    return {case.id: stored[case.id] for case in cases}


def prepare(case: Case | LabeledCase, plan: Plan, cache: Path) -> StoredCase | SemisegError:
    """Make the entries of one case; an error is returned, so that one bad case does not stop the others."""
    try:
        return _prepare(case, plan, cache)
    except SemisegError as error:
        if not error.message.startswith(f"{case.id}:"):
            error.message = f"{case.id}: {error.message}"
            error.args = (error.message,)
        error.details.setdefault("case", case.id)
        return error
    except OSError as error:
        return SemisegError(
            f"{case.id}: {error.strerror or error} ({error.filename or cache})",
            hint=f"see that the files can be read and that {cache} has room and may be written",
            code="CACHE",
            details={"case": case.id},
        )
    except MemoryError:
        return DeviceError(
            f"{case.id}: out of memory while preprocessing",
            hint="use fewer workers, or a coarser spacing in the plan",
            code="MEMORY",
            details={"case": case.id},
        )


def _prepare(case: Case | LabeledCase, plan: Plan, cache: Path) -> StoredCase:
    key = image_key(case.images, plan)
    image_entry = Entry(cache, key)
    facts = image_entry.read()
    grid = None
    if facts is None:
        image, grid, _ = load_case(case)
        array, geometry = preprocess_image(image, grid, plan)
        image_entry.write({"image": array}, {"geometry": geometry.as_dict()})
    else:
        geometry = Geometry.from_dict(facts["geometry"])
    if isinstance(case, LabeledCase):
        label_entry = Entry(cache, label_key(case.label, key, plan))
        if label_entry.read() is None:
            raw = load_label(case, geometry.source)
            label = preprocess_label(raw, geometry, plan, case=case.id)
            label_entry.write({"label": label, "foreground": sample_foreground(label)}, {})
        return _labeled(case, geometry, image_entry, label_entry)
    return StoredCase(case.id, geometry, image_entry.array("image"))


def _look_up(case: Case | LabeledCase, plan: Plan, cache: Path) -> StoredCase | None:
    try:
        key = image_key(case.images, plan)
        image_entry = Entry(cache, key)
        facts = image_entry.read() if image_entry.sidecar.is_file() else None
        if facts is None:
            return None
        geometry = Geometry.from_dict(facts["geometry"])
        if not isinstance(case, LabeledCase):
            return StoredCase(case.id, geometry, image_entry.array("image"))
        label_entry = Entry(cache, label_key(case.label, key, plan))
        return None if label_entry.read() is None else _labeled(case, geometry, image_entry, label_entry)
    except OSError:
        return None  # told properly by prepare


def _labeled(case: Case, geometry: Geometry, image: Entry, label: Entry) -> StoredLabeledCase:
    return StoredLabeledCase(
        case.id, geometry, image.array("image"), label.array("label"), label.array("foreground")
    )


def _looked_up(
    cases: Sequence[Case], plan: Plan, cache: Path, workers: int
) -> Iterator[tuple[Case, StoredCase | None]]:
    """Hashing and checksums release the interpreter, so threads do here."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from zip(cases, pool.map(lambda case: _look_up(case, plan, cache), cases), strict=True)


def _prepared(
    cases: Sequence[Case], plan: Plan, cache: Path, workers: int
) -> Iterator[tuple[Case, StoredCase | SemisegError]]:
    if workers <= 0 or len(cases) <= 1:
        for case in cases:
            yield case, prepare(case, plan, cache)
        return
    try:
        with ProcessPoolExecutor(min(workers, len(cases)), mp_context=get_context("spawn")) as pool:
            yield from _as_they_come(pool, cases, plan, cache)
    except BrokenProcessPool:
        raise DeviceError(
            "a preprocessing process died without a word; as a rule the system ended it for lack of memory",
            hint="use fewer workers (0 works in this process); from a script, keep the call under "
            '`if __name__ == "__main__":`. What is done so far is kept',
            code="WORKER_DIED",
        ) from None


def _as_they_come(
    pool: ProcessPoolExecutor, cases: Iterable[Case], plan: Plan, cache: Path
) -> Iterator[tuple[Case, StoredCase | SemisegError]]:
    waiting: dict[Future[StoredCase | SemisegError], Case] = {
        pool.submit(prepare, case, plan, cache): case for case in cases
    }
    try:
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    finally:  # an interrupt ends the work after the cases in hand
        pool.shutdown(wait=True, cancel_futures=True)


def _require_distinct(cases: Sequence[Case]) -> None:
    twice = [name for name, count in Counter(case.id for case in cases).items() if count > 1]
    if twice:
        raise DataError(
            f"cases given twice: {', '.join(twice[:10])}",
            hint="give every case once; mend the split file",
            code="DUPLICATE_CASE",
        )


def _raise_faults(faults: Sequence[SemisegError]) -> None:
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    lines = "\n".join(f"  {fault.message}" for fault in faults[:20])
    more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
    raise type(faults[0])(
        f"{len(faults)} cases cannot be prepared:\n{lines}{more}",
        hint=faults[0].hint,
        code=faults[0].code if len({fault.code for fault in faults}) == 1 else "CASES",
        details={"cases": [fault.as_dict() for fault in faults]},
    )

"""Label values: from what is in a file to class indices, and back to what the user wrote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import DataError, some
from semiseg.preparation.plan import Plan

IGNORE = 255
"""Equal to ``semiseg.core.IGNORE``; spelled again so that worker processes need not import torch."""


def to_classes(label: NDArray[Any], plan: Plan, *, case: str = "") -> NDArray[np.uint8]:
    """File values to class indices 0..K-1 and :data:`IGNORE`.

    ``plan.label_map`` is applied first; what it does not name stays as it is.

    Raises:
        DataError: a value that is not a whole number or not declared (code ``LABEL_VALUES``); the hint
            proposes a ``label_map``.
    """
    whole = _as_integers(label)
    found = _distinct(whole)
    known = {value: k for k, value in enumerate(plan.labels.values())}
    if plan.ignore_value is not None:
        known[plan.ignore_value] = IGNORE
    declared = {raw: plan.label_map.get(int(raw), raw) if float(raw).is_integer() else raw for raw in found}
    odd = [raw for raw in found if declared[raw] not in known]
    if odd:
        raise _undeclared(odd, found, plan, case)
    classes = np.zeros(label.shape, np.uint8)
    for raw in found:
        if known[declared[raw]]:
            classes[whole == raw] = known[declared[raw]]
    return classes


def file_values(plan: Plan) -> tuple[int, ...]:
    """The value that each class gets in a prediction: the user's own, as it was before ``label_map``.

    Where several raw values mean one class, or two classes would get the same value, nothing can be undone
    and the declared values are used. Nothing is written below 0, and what is mapped to the background comes
    back as 0.
    """
    raw: dict[int, list[int]] = {}
    for value, declared in plan.label_map.items():
        raw.setdefault(declared, []).append(value)
    declared_values, raised = tuple(plan.labels.values()), plan.label_map.get(0)
    alone = {v: of[0] for v, of in raw.items() if len(of) == 1 and of[0] >= 0 and (v or raised)}
    back = tuple(alone.get(v, v) for v in declared_values)
    if raised and 0 not in raw:  # files hold no background: 0 is a class, and it needs another value
        back = (max(*back, *plan.label_map) + 1, *back[1:])
    return back if len(set(back)) == len(back) else declared_values


def smallest_unsigned(values: Iterable[int]) -> np.dtype[Any]:
    """The smallest unsigned type that holds all values."""
    return np.min_scalar_type(max(values))


def _as_integers(label: NDArray[Any]) -> NDArray[Any]:
    """The label as integers where it holds whole numbers stored as floats, otherwise as it is."""
    if label.dtype.kind != "f" or not np.isfinite(label).all():
        return label
    whole = label.astype(np.int32)
    return whole if np.array_equal(whole, label) else label


def _distinct(label: NDArray[Any]) -> list[Any]:
    """The distinct values, ascending; without sorting the voxels where they are small integers."""
    small = label.dtype.kind in "iu" and label.size and int(label.min()) >= 0 and int(label.max()) < 2**16
    if not small:
        return list(np.unique(label).tolist())
    counts = np.zeros(2**16, np.int64)
    for slab in label:  # counting makes 8 bytes of every voxel, so not of all at once
        counts += np.bincount(slab.ravel(), minlength=2**16)
    return list(np.flatnonzero(counts).tolist())


def _undeclared(odd: list[Any], found: list[Any], plan: Plan, case: str) -> DataError:
    where = f"{case}: " if case else ""
    declared = sorted({*plan.labels.values(), *([] if plan.ignore_value is None else [plan.ignore_value])})
    if plan.label_map.get(0):  # no background: what files hold is what the map names
        declared = sorted(raw for raw, value in plan.label_map.items() if value in declared)
    proposal = {} if plan.label_map.get(0) else propose_label_map(found, declared)
    hint = (
        f'if these are the same classes in order, add "label_map": {proposal} to dataset.json '
        "(`semiseg check --fix` writes it)"
        if proposal
        else "fix the label file, or declare the value under labels in dataset.json"
    )
    return DataError(
        f"{where}the label holds {some((f'{value:g}' for value in odd), 10)}, wanted only the declared "
        f"values {declared}",
        hint=hint,
        code="LABEL_VALUES",
        details={"case": case, "values": odd[:50], "declared": declared, "label_map": proposal},
    )


def propose_label_map(found: list[Any], declared: list[int]) -> dict[int, int]:
    """Found to declared values in ascending order, where their number fits; otherwise empty."""
    if not all(float(value).is_integer() for value in found) or len(found) > len(declared):
        return {}
    odd = sorted(int(v) for v in found if v not in declared)
    free = [v for v in sorted(declared) if v not in found]
    return dict(zip(odd, free, strict=False))

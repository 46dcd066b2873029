"""Label values: from what is in a file to class indices, and back to what the user wrote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.plan import Plan
from semiseg.errors import DataError

IGNORE = 255
"""Equal to ``semiseg.core.IGNORE``; spelled again so that worker processes need not import torch."""


def to_classes(label: NDArray[Any], plan: Plan, *, case: str = "") -> NDArray[np.uint8]:
    """File values to class indices 0..K-1 and :data:`IGNORE`.

    ``plan.label_map`` is applied first; what it does not name stays as it is.

    Args:
        label: any shape, integers (or floats that are whole numbers).
        plan: labels, label_map and ignore_value.
        case: named in errors.

    Raises:
        DataError: a value that is not a whole number or not declared (code ``LABEL_VALUES``); the hint
            proposes a ``label_map``.
    """
    values, inverse = _distinct(label)
    known = {value: k for k, value in enumerate(plan.labels.values())}
    if plan.ignore_value is not None:
        known[plan.ignore_value] = IGNORE
    table = np.zeros(len(values), np.uint8)
    odd = []
    for i, raw in enumerate(values.tolist()):
        declared = plan.label_map.get(int(raw), raw) if float(raw).is_integer() else raw
        if declared in known:
            table[i] = known[declared]
        else:
            odd.append(raw)
    if odd:
        raise _undeclared(odd, values.tolist(), plan, case)
    classes: NDArray[np.uint8] = table[inverse].reshape(label.shape)
    return classes


def file_values(plan: Plan) -> tuple[int, ...]:
    """The value that each class gets in a prediction: the user's own, as it was before ``label_map``.

    Where several raw values mean one class, or two classes would get the same value, nothing can be undone
    and the declared values are used.
    """
    raw: dict[int, list[int]] = {}
    for value, declared in plan.label_map.items():
        raw.setdefault(declared, []).append(value)
    declared_values = tuple(plan.labels.values())
    back = tuple(raw[v][0] if len(raw.get(v, ())) == 1 else v for v in declared_values)
    return back if len(set(back)) == len(back) else declared_values


def smallest_unsigned(values: Iterable[int]) -> np.dtype[Any]:
    """The smallest unsigned type that holds all values."""
    return np.min_scalar_type(max(values))


def _distinct(label: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Distinct values and, per voxel, the index of its own; without a sort for the usual small integers."""
    flat = label.ravel()
    if flat.dtype.kind == "f" and flat.size and bool(np.isfinite(flat).all()):
        whole = flat.astype(np.int64)
        flat = whole if np.array_equal(whole, flat) else flat
    if flat.dtype.kind in "iu" and flat.size and int(flat.min()) >= 0 and int(flat.max()) < 2**16:
        values = np.flatnonzero(np.bincount(flat.astype(np.int64)))
        index = np.zeros(int(values.max()) + 1, np.int64)
        index[values] = np.arange(len(values))
        return values, index[flat]
    values, inverse = np.unique(flat, return_inverse=True)
    return values, inverse


def _undeclared(odd: list[Any], found: list[Any], plan: Plan, case: str) -> DataError:
    where = f"{case}: " if case else ""
    declared = sorted({*plan.labels.values(), *([] if plan.ignore_value is None else [plan.ignore_value])})
    proposal = propose_label_map(found, declared)
    hint = (
        f'if these are the same classes in order, add "label_map": {proposal} to dataset.json '
        "(`semiseg check --fix` writes it)"
        if proposal
        else "mend the label file, or declare the value under labels in dataset.json"
    )
    return DataError(
        f"{where}the label holds {_listed(odd)}, wanted only the declared values {declared}",
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


def _listed(values: list[Any], most: int = 10) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:most])
    return f"{shown} and {len(values) - most} more values" if len(values) > most else shown

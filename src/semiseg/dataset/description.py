"""``dataset.json``: what a dataset folder says of itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg.dataset.keys import FILE, FORM, IGNORE_NAME, Keys
from semiseg.dataset.problem import Problem
from semiseg.machine.files import read_json

__all__ = ["FILE", "IGNORE_NAME", "Description", "read_description"]

NO_CLASS = "no class"
"""Stands in the place of the background where ``"background": null`` says that there is none."""
UNDECLARED = -1
"""What a value becomes that a file may not hold."""


@dataclass(frozen=True)
class Description:
    """The parsed ``dataset.json``.

    Attributes:
        channel_names: one per input channel; the name chooses the normalization.
        labels: class name -> value, in the order of the values, background first, without ``ignore``. Where
            there are regions: the values that they are made of, named ``value 1`` and so on. With
            ``"background": null`` the first is :data:`NO_CLASS`, and ``label_map`` leads from files there.
        regions: name -> values, in the order of the file; empty where every class has one value.
        regions_class_order: the value that each region is painted with in a prediction.
        ignore_value: the value that masks the loss, or None.
        label_map: raw value in a label file -> declared value.
        file_ending: of images and labels, with the dot.
        num_training: the declared number of training cases, None when absent.
        mapping: case id -> files, when the folder is not to be scanned.
        colors: class name -> ``#rrggbb`` in which pictures of label maps show it.
        labeled_classes: case id -> the classes that its label is of; cases that are not named have all.
        terminology: class or region -> ``category``, ``type`` and perhaps ``color`` of DICOM results.
        free: every other key, untouched.
    """

    channel_names: tuple[str, ...]
    labels: dict[str, int]
    file_ending: str
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    regions_class_order: tuple[int, ...] = ()
    ignore_value: int | None = None
    label_map: dict[int, int] = field(default_factory=dict)
    num_training: int | None = None
    mapping: dict[str, Any] | None = None
    colors: dict[str, str] = field(default_factory=dict)
    terminology: dict[str, dict[str, Any]] = field(default_factory=dict)
    labeled_classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)


_KNOWN = (
    *("channel_names", "labels", "regions_class_order", "file_ending", "label_map", "numTraining", "dataset"),
    *("colors", "background", "terminology", "labeled_classes"),
)


def read_description(root: Path) -> tuple[Description, list[Problem]]:
    """Read ``root/dataset.json`` as far as it can be understood.

    Returns:
        the description, with empty fields where a fault left nothing usable, and all faults.
    """
    faults: list[Problem] = []
    keys = Keys({}, faults)
    try:
        raw = read_json(root / FILE)
    except FileNotFoundError:
        faults.append(_missing_file(root))
    except OSError as error:
        keys.fault(f"a file that cannot be read ({error.strerror})", "a readable file", "")
    except ValueError as error:
        keys.fault(f"text that is not JSON ({error})", "a JSON object", f"write {FORM}")
    else:
        if isinstance(raw, dict):
            return _described(Keys(raw, faults)), faults
        keys.fault(f"a JSON {type(raw).__name__}", "a JSON object", f"write {FORM}")
    return Description((), {}, ""), faults


def _described(keys: Keys) -> Description:
    labels, regions, order = keys.labels()
    foreground = [name for name, value in labels.items() if value and name != IGNORE_NAME]
    ignore = labels.pop(IGNORE_NAME, None)
    label_map = keys.label_map({*labels.values(), *([] if ignore is None else [ignore])})
    if keys.without_background(bool(regions)):
        labels, ignore, label_map = _raised(labels, ignore, label_map)
    return Description(
        channel_names=keys.channel_names(),
        labels=labels,
        regions=regions,
        regions_class_order=order,
        file_ending=keys.file_ending(),
        ignore_value=ignore,
        label_map=label_map,
        num_training=keys.num_training(),
        mapping=keys.mapping(),
        colors=keys.colors(labels),
        terminology=keys.terminology(regions or labels),
        labeled_classes=keys.labeled_classes(regions or foreground),
        free={key: value for key, value in keys.raw.items() if key not in _KNOWN},
    )


def _raised(
    labels: Mapping[str, int], ignore: int | None, label_map: Mapping[int, int]
) -> tuple[dict[str, int], int | None, dict[int, int]]:
    """Every class one value higher, below them one that no file holds, and the map that leads there.

    So the class of value 0 is trained, predicted and scored like the others, and all that is said of the
    background is said of nothing. The values in files stay: predictions hold them, too.
    """
    if not labels:
        return {}, ignore, dict(label_map)
    declared = [*labels.values(), *([ignore] if ignore is not None else [])]
    raised = {value: value + 1 for value in declared} | {max(declared) + 1: UNDECLARED}
    raised |= {raw: value + 1 for raw, value in label_map.items()}
    shifted = {NO_CLASS: 0} | {name: value + 1 for name, value in labels.items()}
    return shifted, None if ignore is None else ignore + 1, raised


def _missing_file(root: Path) -> Problem:
    inside = sorted(p.parent.name for p in root.glob(f"*/{FILE}"))[:5]
    fix = f"run `semiseg init {shlex.quote(str(root))}` to make one"
    if inside:
        fix = f"give one of the datasets inside: {', '.join(inside)}"
    elif (root.resolve().parent / FILE).is_file():
        fix = f"give the dataset folder, which is the one above: {root.parent}"
    wanted = f"a {FILE} that names channels and labels"
    return Problem("DATASET_JSON", "nothing", wanted, fix, file=FILE, text=f"{FILE} is missing in {root}")

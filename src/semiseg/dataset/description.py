"""``dataset.json``: what a dataset folder says of itself. Every fault is found before any is reported."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semiseg.dataset.problem import Problem
from semiseg.dataset.terminology import EXAMPLE, read_terms
from semiseg.images import ENDINGS
from semiseg.machine.files import read_json

FILE = "dataset.json"
IGNORE_NAME = "ignore"
NO_CLASS = "no class"
"""Stands in the place of the background where ``"background": null`` says that there is none."""
UNDECLARED = -1
"""What a value becomes that a file may not hold."""
_EXAMPLE = (
    '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "tumor": 1}, "numTraining": 20, '
    '"file_ending": ".nii.gz"}'
)


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
    empty = Description((), {}, "")
    try:
        raw = read_json(root / FILE)
    except FileNotFoundError:
        return empty, [_missing_file(root)]
    except OSError as error:
        return empty, [_fault(f"a file that cannot be read ({error.strerror})", "a readable file", "")]
    except ValueError as error:
        return empty, [_fault(f"text that is not JSON ({error})", "a JSON object", f"write {_EXAMPLE}")]
    if not isinstance(raw, dict):
        return empty, [_fault(f"a JSON {type(raw).__name__}", "a JSON object", f"write {_EXAMPLE}")]
    faults: list[Problem] = []
    found = _labels(raw, faults.append)
    labels, ignore = found.labels, found.ignore
    declared = {*labels.values(), *([ignore] if ignore is not None else [])}
    label_map = _label_map(raw, declared, faults.append)
    if "background" in raw:
        if raw["background"] is not None:
            got = f"background = {raw['background']!r}"
            fix = "write null where no class is background, or take the key away"
            faults.append(_fault(got, '"background": null', fix))
        elif found.regions or raw.get("labeled_classes"):
            got = '"background": null beside regions or labeled_classes'
            fix = "voxels of no region, or of a class that nobody labeled, are background: take the key away"
            faults.append(_fault(got, "one of the two", fix))
        else:
            labels, ignore, label_map = _without_background(labels, ignore, label_map)
    description = Description(
        channel_names=_channel_names(raw, faults.append),
        labels=labels,
        regions=found.regions,
        regions_class_order=found.order,
        file_ending=_file_ending(raw, faults.append),
        ignore_value=ignore,
        label_map=label_map,
        num_training=_num_training(raw, faults.append),
        mapping=_mapping(raw, faults.append),
        colors=_colors(raw, labels, faults.append),
        terminology=_terminology(raw, found.regions or labels, faults.append),
        labeled_classes=_labeled_classes(raw, found.regions or _foreground(found.labels), faults.append),
        free={key: value for key, value in raw.items() if key not in _KNOWN},
    )
    return description, faults


def _without_background(
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


Report = Callable[[Problem], None]


def _fault(got: str, wanted: str, fix: str, code: str = "DATASET_JSON") -> Problem:
    return Problem(code, got, wanted, fix, file=FILE)


def _missing_file(root: Path) -> Problem:
    inside = sorted(p.parent.name for p in root.glob(f"*/{FILE}"))[:5]
    fix = f"run `semiseg init {shlex.quote(str(root))}` to make one"
    if inside:
        fix = f"give one of the datasets inside: {', '.join(inside)}"
    elif (root.resolve().parent / FILE).is_file():
        fix = f"give the dataset folder, which is the one above: {root.parent}"
    wanted = f"a {FILE} that names channels and labels"
    return Problem("DATASET_JSON", "nothing", wanted, fix, file=FILE, text=f"{FILE} is missing in {root}")


def _object(raw: Mapping[str, Any], key: str, wanted: str, report: Report) -> dict[str, Any] | None:
    if key not in raw:
        report(_fault(f"no key {key!r}", wanted, f"add it, as in {_EXAMPLE}"))
        return None
    if not isinstance(raw[key], dict) or not raw[key]:
        report(_fault(f"{key} = {raw[key]!r}", wanted, f"write it as in {_EXAMPLE}"))
        return None
    return dict(raw[key])


def _channel_names(raw: Mapping[str, Any], report: Report) -> tuple[str, ...]:
    wanted = 'channel_names such as {"0": "T1", "1": "FLAIR"}'
    names = _object(raw, "channel_names", wanted, report)
    if names is None:
        if "modality" in raw:
            report(_decathlon("modality"))
        return ()
    expected = [str(index) for index in range(len(names))]
    if sorted(names) != sorted(expected):
        report(_fault(f"channel_names keys {list(names)}", f"{expected}", "number the channels from 0"))
        return ()
    if not all(isinstance(name, str) and name and name.isprintable() for name in names.values()):
        report(_fault(f"channel_names {names}", "a printable text for each channel", "name each channel"))
        return ()
    return tuple(names[index] for index in expected)


def _decathlon(key: str) -> Problem:
    return _fault(
        f"{key} as the Medical Segmentation Decathlon writes it",
        "the nnU-Net form",
        "run `semiseg init` on this folder: it converts it",
    )


@dataclass(frozen=True)
class _Labels:
    """The keys ``labels`` and ``regions_class_order``; empty where a fault left nothing usable."""

    labels: dict[str, int] = field(default_factory=dict)
    ignore: int | None = None
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    order: tuple[int, ...] = ()


def _labels(raw: Mapping[str, Any], report: Report) -> _Labels:
    names = _object(raw, "labels", 'labels such as {"background": 0, "liver": 1}', report)
    if names is None:
        return _Labels()
    if all(key.isdigit() for key in names) and all(isinstance(v, str) for v in names.values()):
        report(_decathlon("labels"))
        return _Labels()
    names = {n: v[0] if isinstance(v, list) and len(v) == 1 else v for n, v in names.items()}
    hidden = [name for name in names if not name.isprintable() or not name.strip()]
    if hidden:
        report(_fault(f"the class name {hidden[0]!r}", "letters that can be seen", "rename the class"))
        return _Labels()
    wrong = [n for n, v in names.items() if not _is_value(v) and not _is_region(v)]
    for name in wrong:
        report(
            _fault(
                f"label {name!r} = {names[name]!r}",
                "a whole number, or a list of different ones for a region",
                "write numbers without quotes",
            )
        )
    regions = {n: tuple(v) if isinstance(v, list) else (v,) for n, v in names.items()} if not wrong else {}
    overlapping = any(len(members) > 1 for members in regions.values())
    values = {n: v for n, v in names.items() if _is_value(v)}
    if overlapping:
        values, regions = _values_of_regions(values, regions)
    if wrong or not _check_values(values, report):
        return _Labels()  # what the files hold cannot be compared with this
    ignore = values.pop(IGNORE_NAME, None)
    labels = _Labels(dict(sorted(values.items(), key=lambda item: item[1])), ignore)
    if not overlapping:
        return labels
    order = _painted(regions, raw.get("regions_class_order"), report)
    return _Labels() if order is None else replace(labels, regions=regions, order=order)


def _foreground(labels: Mapping[str, int]) -> list[str]:
    return [name for name, value in labels.items() if value]


def _labeled_classes(
    raw: Mapping[str, Any], known: Collection[str], report: Report
) -> dict[str, tuple[str, ...]]:
    given = raw.get("labeled_classes")
    if not given:
        return {}
    wanted = f'case -> classes of {", ".join(known)}, such as {{"case_1": ["{next(iter(known), "liver")}"]}}'
    if not isinstance(given, dict) or not all(isinstance(names, list) and names for names in given.values()):
        report(_fault(f"labeled_classes = {str(given)[:60]}", wanted, "write an object with lists of names"))
        return {}
    strange = {case: [name for name in names if name not in known] for case, names in given.items()}
    for case, names in strange.items():
        if names and known:
            report(_fault(f"labeled_classes of {case}: {names}", wanted, "name classes of `labels`"))
    return {case: tuple(names) for case, names in given.items()}


def _is_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_region(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_value, value)) and 0 < len(set(value)) == len(value)


def _values_of_regions(
    values: Mapping[str, int], regions: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """The values that regions are made of as classes of their own, and the regions alone."""
    plain = {name: value for name, value in values.items() if value == 0 or name == IGNORE_NAME}
    regions = {name: members for name, members in regions.items() if name not in plain}
    parts = sorted({value for members in regions.values() for value in members})
    return {**plain, **{f"value {value}": value for value in parts}}, regions


def _painted(regions: Mapping[str, tuple[int, ...]], given: Any, report: Report) -> tuple[int, ...] | None:
    """``regions_class_order``, where painting with it in this order gives back what was painted."""
    example = f"one value for each of {', '.join(regions)}, the larger regions first"
    fix = f'write "regions_class_order": {[members[0] for members in regions.values()]}, or what is meant'
    if not isinstance(given, list) or len(given) != len(regions) or not all(map(_is_value, given)):
        got = "no key 'regions_class_order'" if given is None else f"regions_class_order = {given!r}"
        report(_fault(got, example, fix, "REGIONS"))
        return None
    faults = [
        _fault(f"{name} = {list(members)} painted with {value}", "a value of the region", fix, "REGIONS")
        for (name, members), value in zip(regions.items(), given, strict=True)
        if value not in members
    ]
    ordered = list(zip(regions.items(), given, strict=True))
    for i, ((name, _), value) in enumerate(ordered):
        for (later, members), over in ordered[i + 1 :]:
            if value in members and not faults:
                got = f"{later} = {list(members)}, painted with {over} over all of {name} ({value})"
                put = f"put {later} before {name} in labels and in regions_class_order"
                faults.append(
                    _fault(got, "regions in the order of painting, the larger first", put, "REGIONS")
                )
    for fault in faults:
        report(fault)
    return None if faults else tuple(given)


def _check_values(values: Mapping[str, int], report: Report) -> bool:
    faults = []
    shared = {v: [n for n in values if values[n] == v] for v in values.values()}
    for value, names in shared.items():
        if len(names) > 1:
            faults.append(
                _fault(f"value {value} for {' and '.join(names)}", "one value per class", "renumber them")
            )
    if 0 not in shared:
        faults.append(
            _fault(f"no class with value 0 in {dict(values)}", '"background": 0', "add the background")
        )
    elif other := [name for name, value in values.items() if value and name.lower() == "background"]:
        got = f"{other[0]} = {values[other[0]]}"
        fix = (
            "give it 0, with a label_map for the values in the files; where no class is background, rename it"
        )
        faults.append(_fault(got, "background = 0, the class that is not segmented", fix))
    elif sorted(shared) != list(range(len(shared))):
        faults.append(
            _fault(
                f"label values {sorted(shared)}",
                f"consecutive values {list(range(len(shared)))}",
                'renumber labels from 0 and add e.g. "label_map": {"4": 3} for the values in the files',
            )
        )
    if values.get(IGNORE_NAME, max(values.values())) != max(values.values()):
        faults.append(
            _fault(
                f"ignore = {values[IGNORE_NAME]}",
                f"the highest value, {max(values.values())}",
                "give ignore the highest value",
            )
        )
    if not set(values) - {IGNORE_NAME} or len(set(shared) - {0, values.get(IGNORE_NAME)}) == 0:
        faults.append(
            _fault(f"labels {dict(values)}", "background and at least one class", "add the class to segment")
        )
    for fault in faults:
        report(fault)
    return not faults


def _file_ending(raw: Mapping[str, Any], report: Report) -> str:
    ending = raw.get("file_ending")
    if ending in ENDINGS:
        return str(ending)
    got = "no key 'file_ending'" if "file_ending" not in raw else f"file_ending = {ending!r}"
    dotted = f".{ending}" if f".{ending}" in ENDINGS else ".nii.gz"
    report(_fault(got, f"one of {', '.join(ENDINGS)}", f'write "file_ending": "{dotted}"'))
    return ""


def _label_map(raw: Mapping[str, Any], declared: set[int], report: Report) -> dict[int, int]:
    given = raw.get("label_map") or {}
    wanted = 'label_map such as {"255": 1}: value in the files -> declared value'
    try:
        pairs = {int(key): value for key, value in given.items()}
    except (AttributeError, ValueError):
        report(_fault(f"label_map = {given!r}", wanted, "write whole numbers"))
        return {}
    bad = {k: v for k, v in pairs.items() if isinstance(v, bool) or not isinstance(v, int)}
    unknown = {k: v for k, v in pairs.items() if k not in bad and declared and v not in declared}
    if bad:
        report(_fault(f"label_map {bad}", wanted, "write whole numbers"))
    if unknown:
        report(
            _fault(f"label_map {unknown}", f"targets among the labels {sorted(declared)}", "fix label_map")
        )
    return {k: v for k, v in pairs.items() if k not in bad and k not in unknown}


def _num_training(raw: Mapping[str, Any], report: Report) -> int | None:
    number = raw.get("numTraining")
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        report(_fault(f"numTraining = {number!r}", "a whole number", "write the number of training cases"))
        return None
    return number


def _colors(raw: Mapping[str, Any], labels: Mapping[str, int], report: Report) -> dict[str, str]:
    given = raw.get("colors") or {}
    wanted = 'colors such as {"tumor": "#e69f00"}: class name -> color'
    if not isinstance(given, dict):
        report(_fault(f"colors = a {type(given).__name__}", wanted, "write an object"))
        return {}
    bad = [n for n, c in given.items() if not (isinstance(c, str) and re.fullmatch("#[0-9a-fA-F]{6}", c))]
    unknown = [name for name in given if labels and name not in (*labels, IGNORE_NAME) and name not in bad]
    if bad or unknown:
        got = f"colors of {', '.join(map(str, [*bad, *unknown][:5]))}"
        report(_fault(got, wanted, "write #rrggbb for classes of labels"))
    return {name: color for name, color in given.items() if name in labels and name not in bad}


def _terminology(raw: Mapping[str, Any], names: Collection[str], report: Report) -> dict[str, dict[str, Any]]:
    if not raw.get("terminology"):
        return {}
    found, wrong = read_terms(raw["terminology"], (*names, IGNORE_NAME) if names else ())
    if wrong:
        report(_fault(f"terminology: {'; '.join(wrong[:5])}", EXAMPLE, "write it so, or take the key away"))
    return found


def _mapping(raw: Mapping[str, Any], report: Report) -> dict[str, Any] | None:
    given = raw.get("dataset")
    if given is None:
        return None
    wanted = 'dataset such as {"case_1": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}'
    if not isinstance(given, dict):
        report(_fault(f"dataset = a {type(given).__name__}", wanted, "write an object"))
        return None
    wrong = [name for name, files in given.items() if not _is_entry(files)]
    if wrong:
        report(
            _fault(f"unusable entries for {', '.join(wrong[:5])}", wanted, "give images, and a label if any")
        )
    return {name: files for name, files in given.items() if name not in wrong}


def _is_entry(files: Any) -> bool:
    if not isinstance(files, dict) or not isinstance(files.get("images"), list) or not files["images"]:
        return False
    texts = [*files["images"], *([files["label"]] if files.get("label") is not None else [])]
    return all(isinstance(text, str) for text in texts)

"""The keys of ``dataset.json``, one by one: every fault is found before any is reported."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from semiseg.dataset.problem import Problem
from semiseg.dataset.terminology import EXAMPLE, is_color, read_terms
from semiseg.images import ENDINGS

FILE = "dataset.json"
IGNORE_NAME = "ignore"
FORM = (
    '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "tumor": 1}, "numTraining": 20, '
    '"file_ending": ".nii.gz"}'
)
"""The smallest content that can be used."""


class Keys:
    """The content of a ``dataset.json``; what a key holds is empty where it has a fault.

    Args:
        raw: the content.
        faults: gets what is wrong.
    """

    def __init__(self, raw: Mapping[str, Any], faults: list[Problem]) -> None:
        self.raw, self.faults = raw, faults

    def fault(self, got: str, wanted: str, fix: str, code: str = "DATASET_JSON") -> None:
        """Note what is wrong with a key."""
        self.faults.append(Problem(code, got, wanted, fix, file=FILE))

    def object(self, key: str, wanted: str) -> dict[str, Any] | None:
        """A key that must hold an object; None where it does not."""
        if key not in self.raw:
            self.fault(f"no key {key!r}", wanted, f"add it, as in {FORM}")
            return None
        if not isinstance(self.raw[key], dict) or not self.raw[key]:
            self.fault(f"{key} = {self.raw[key]!r}", wanted, f"write it as in {FORM}")
            return None
        return dict(self.raw[key])

    def decathlon_fault(self, key: str) -> None:
        """Note a key as the Decathlon has it."""
        got = f"{key} as the Medical Segmentation Decathlon writes it"
        self.fault(got, "the nnU-Net form", "run `semiseg init` on this folder: it converts it")

    def channel_names(self) -> tuple[str, ...]:
        """One per input channel, in their order."""
        names = self.object("channel_names", 'channel_names such as {"0": "T1", "1": "FLAIR"}')
        if names is None:
            if "modality" in self.raw:
                self.decathlon_fault("modality")
            return ()
        expected = [str(index) for index in range(len(names))]
        if sorted(names) != sorted(expected):
            self.fault(f"channel_names keys {list(names)}", f"{expected}", "number the channels from 0")
            return ()
        if not all(isinstance(name, str) and name and name.isprintable() for name in names.values()):
            self.fault(f"channel_names {names}", "a printable text for each channel", "name each channel")
            return ()
        return tuple(names[index] for index in expected)

    def labels(self) -> tuple[dict[str, int], dict[str, tuple[int, ...]], tuple[int, ...]]:
        """Classes (with ``ignore``) by value; and where they overlap, regions and ``regions_class_order``."""
        names = self.object("labels", 'labels such as {"background": 0, "liver": 1}')
        if names is None:
            return {}, {}, ()
        if all(key.isdigit() for key in names) and all(isinstance(v, str) for v in names.values()):
            self.decathlon_fault("labels")
            return {}, {}, ()
        names = {n: v[0] if isinstance(v, list) and len(v) == 1 else v for n, v in names.items()}
        hidden = [name for name in names if not name.isprintable() or not name.strip()]
        if hidden:
            self.fault(f"the class name {hidden[0]!r}", "letters that can be seen", "rename the class")
            return {}, {}, ()
        wrong = [n for n, v in names.items() if not _is_value(v) and not _is_region(v)]
        for name in wrong:
            wanted = "a whole number, or a list of different ones for a region"
            self.fault(f"label {name!r} = {names[name]!r}", wanted, "write numbers without quotes")
        values = {n: v for n, v in names.items() if _is_value(v)}
        regions: dict[str, tuple[int, ...]] = {}
        if not wrong and len(values) < len(names):
            values, regions = _values_of_regions(names)
        if wrong or not self.check_values(values):
            return {}, {}, ()  # what the files hold cannot be compared with this
        values = dict(sorted(values.items(), key=lambda item: item[1]))
        order = self.painted(regions) if regions else ()
        return ({}, {}, ()) if order is None else (values, regions, order)

    def painted(self, regions: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
        """``regions_class_order``, where painting with it in this order gives back what was painted."""
        given = self.raw.get("regions_class_order")
        fix = f'write "regions_class_order": {[m[0] for m in regions.values()]}, or what is meant'
        if not isinstance(given, list) or len(given) != len(regions) or not all(map(_is_value, given)):
            got = "no key 'regions_class_order'" if given is None else f"regions_class_order = {given!r}"
            example = f"one value for each of {', '.join(regions)}, the larger regions first"
            self.fault(got, example, fix, "REGIONS")
            return None
        before = len(self.faults)
        ordered = list(zip(regions.items(), given, strict=True))
        for (name, members), value in ordered:
            if value not in members:
                got = f"{name} = {list(members)} painted with {value}"
                self.fault(got, "a value of the region", fix, "REGIONS")
        for i, ((name, _), value) in enumerate(ordered):
            for (later, members), over in ordered[i + 1 :]:
                if value in members and len(self.faults) == before:
                    got = f"{later} = {list(members)}, painted with {over} over all of {name} ({value})"
                    put = f"put {later} before {name} in labels and in regions_class_order"
                    self.fault(got, "regions in the order of painting, the larger first", put, "REGIONS")
        return tuple(given) if len(self.faults) == before else None

    def check_values(self, values: Mapping[str, int]) -> bool:
        """Whether the values of the classes can be used."""
        before = len(self.faults)
        shared = {v: [n for n in values if values[n] == v] for v in values.values()}
        for value, names in shared.items():
            if len(names) > 1:
                self.fault(f"value {value} for {' and '.join(names)}", "one value per class", "renumber them")
        if 0 not in shared:
            self.fault(f"no class with value 0 in {dict(values)}", '"background": 0', "add the background")
        elif other := [name for name, value in values.items() if value and name.lower() == "background"]:
            self.fault(
                f"{other[0]} = {values[other[0]]}",
                "background = 0, the class that is not segmented",
                "give it 0, with a label_map for the values in the files; where no class is background, "
                "rename it",
            )
        elif sorted(shared) != list(range(len(shared))):
            self.fault(
                f"label values {sorted(shared)}",
                f"consecutive values {list(range(len(shared)))}",
                'renumber labels from 0 and add e.g. "label_map": {"4": 3} for the values in the files',
            )
        highest = max(values.values())
        if values.get(IGNORE_NAME, highest) != highest:
            got = f"ignore = {values[IGNORE_NAME]}"
            self.fault(got, f"the highest value, {highest}", "give ignore the highest value")
        if not set(shared) - {0, values.get(IGNORE_NAME)}:
            wanted = "background and at least one class"
            self.fault(f"labels {dict(values)}", wanted, "add the class to segment")
        return len(self.faults) == before

    def without_background(self, regions: bool) -> bool:
        """Whether the file says that no class is background."""
        if "background" not in self.raw:
            return False
        if self.raw["background"] is not None:
            got = f"background = {self.raw['background']!r}"
            fix = "write null where no class is background, or take the key away"
            self.fault(got, '"background": null', fix)
            return False
        if regions or self.raw.get("labeled_classes"):
            got = '"background": null beside regions or labeled_classes'
            fix = "voxels of no region, or of a class that nobody labeled, are background: take the key away"
            self.fault(got, "one of the two", fix)
            return False
        return True

    def file_ending(self) -> str:
        """Of images and labels, with the dot."""
        ending = self.raw.get("file_ending")
        if ending in ENDINGS:
            return str(ending)
        got = "no key 'file_ending'" if "file_ending" not in self.raw else f"file_ending = {ending!r}"
        dotted = f".{ending}" if f".{ending}" in ENDINGS else ".nii.gz"
        self.fault(got, f"one of {', '.join(ENDINGS)}", f'write "file_ending": "{dotted}"')
        return ""

    def label_map(self, declared: set[int]) -> dict[int, int]:
        """Raw value in a label file -> declared value."""
        given = self.raw.get("label_map") or {}
        wanted = 'label_map such as {"255": 1}: value in the files -> declared value'
        try:
            pairs = {int(key): value for key, value in given.items()}
        except (AttributeError, ValueError):
            self.fault(f"label_map = {given!r}", wanted, "write whole numbers")
            return {}
        bad = {k: v for k, v in pairs.items() if not _is_value(v)}
        unknown = {k: v for k, v in pairs.items() if k not in bad and declared and v not in declared}
        if bad:
            self.fault(f"label_map {bad}", wanted, "write whole numbers")
        if unknown:
            targets = f"targets among the labels {sorted(declared)}"
            self.fault(f"label_map {unknown}", targets, "fix label_map")
        return {k: v for k, v in pairs.items() if k not in bad and k not in unknown}

    def num_training(self) -> int | None:
        """The declared number of training cases, None when absent."""
        number = self.raw.get("numTraining")
        if number is None:
            return None
        if _is_value(number) and number >= 0:
            return int(number)
        self.fault(f"numTraining = {number!r}", "a whole number", "write the number of training cases")
        return None

    def colors(self, labels: Mapping[str, int]) -> dict[str, str]:
        """Class name -> ``#rrggbb``."""
        given = self.raw.get("colors") or {}
        wanted = 'colors such as {"tumor": "#e69f00"}: class name -> color'
        if not isinstance(given, dict):
            self.fault(f"colors = a {type(given).__name__}", wanted, "write an object")
            return {}
        bad = [name for name, color in given.items() if not is_color(color)]
        unknown = [name for name in given if labels and name not in (*labels, IGNORE_NAME, *bad)]
        if bad or unknown:
            got = f"colors of {', '.join(map(str, [*bad, *unknown][:5]))}"
            self.fault(got, wanted, "write #rrggbb for classes of labels")
        return {name: color for name, color in given.items() if name in labels and name not in bad}

    def terminology(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """Class or region -> its codes in DICOM results."""
        if not self.raw.get("terminology"):
            return {}
        found, wrong = read_terms(self.raw["terminology"], (*names, IGNORE_NAME) if names else ())
        if wrong:
            self.fault(f"terminology: {'; '.join(wrong[:5])}", EXAMPLE, "write it so, or take the key away")
        return found

    def labeled_classes(self, known: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Case id -> the classes that its label is of."""
        given = self.raw.get("labeled_classes")
        if not given:
            return {}
        example = f'{{"case_1": ["{next(iter(known), "liver")}"]}}'
        wanted = f"case -> classes of {', '.join(known)}, such as {example}"
        if not isinstance(given, dict) or not all(isinstance(n, list) and n for n in given.values()):
            self.fault(f"labeled_classes = {str(given)[:60]}", wanted, "write an object with lists of names")
            return {}
        for case, names in given.items():
            strange = [name for name in names if name not in known]
            if strange and known:
                self.fault(f"labeled_classes of {case}: {strange}", wanted, "name classes of `labels`")
        return {case: tuple(names) for case, names in given.items()}

    def mapping(self) -> dict[str, Any] | None:
        """Case id -> files, None when the folder is to be scanned."""
        given = self.raw.get("dataset")
        if given is None:
            return None
        wanted = 'dataset such as {"case_1": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}'
        if not isinstance(given, dict):
            self.fault(f"dataset = a {type(given).__name__}", wanted, "write an object")
            return None
        wrong = [name for name, files in given.items() if not _is_entry(files)]
        if wrong:
            got = f"unusable entries for {', '.join(wrong[:5])}"
            self.fault(got, wanted, "give images, and a label if any")
        return {name: files for name, files in given.items() if name not in wrong}


def _is_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_region(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_value, value)) and 0 < len(set(value)) == len(value)


def _values_of_regions(names: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """The values that regions are made of as classes of their own, and the regions alone."""
    plain = {
        name: value
        for name, value in names.items()
        if _is_value(value) and (value == 0 or name == IGNORE_NAME)
    }
    regions = {
        name: tuple(members) if isinstance(members, list) else (members,)
        for name, members in names.items()
        if name not in plain
    }
    parts = sorted({value for members in regions.values() for value in members})
    return {**plain, **{f"value {value}": value for value in parts}}, regions


def _is_entry(files: Any) -> bool:
    if not isinstance(files, dict) or not isinstance(files.get("images"), list) or not files["images"]:
        return False
    texts = [*files["images"], *([files["label"]] if files.get("label") is not None else [])]
    return all(isinstance(text, str) for text in texts)

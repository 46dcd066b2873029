"""BraTS 2019, brain tumors in four MRI sequences: NIfTI as distributed, or h5 of FLAIR as SSL4MIS has it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from semiseg.dataset.adopt.draft import Draft, Item
from semiseg.dataset.adopt.grids import Reordered, Sized
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, missing_files, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.errors import UsageError

ABOUT = About(
    name="brats2019",
    title="BraTS 2019",
    license="see med.upenn.edu/cbica/brats2019; register there, and cite the references",
    reference="Menze et al., IEEE TMI 2015; Bakas et al., Scientific Data 2017 and arXiv:1811.02629",
    download="MICCAI_BraTS_2019_Data_Training (HGG, LGG); or BraTS2019 (h5) of SSL4MIS",
    size="335 cases",
    split="ssl4mis",
    channels=("T1", "T1c", "T2", "FLAIR"),
    tasks={
        "whole": "the whole tumor (usual with FLAIR alone)",
        "labels": "necrotic core, edema, enhancing tumor (usual with several channels)",
        "regions": "whole tumor, tumor core, enhancing tumor, which overlap",
    },
)
_WORDS = {"t1": "T1", "t1ce": "T1c", "t2": "T2", "flair": "FLAIR"}
_NII = r"\.nii(?:\.gz)?"
_FILE = rf"(BraTS19_[^/]+?)_(flair|t1ce|t1|t2|seg){_NII}(?:/[^/]+{_NII})?"
_ODD = rf"(BraTS19_[^/]+)/[^/]*()Segm{_NII}"
"""One mirror of another year has a mask under its own name; such a file is a mask here, too."""
_TASKS: dict[str, dict[str, Any]] = {
    "whole": {"labels": {"background": 0, "whole tumor": 1}, "label_map": {2: 1, 4: 1}},
    "labels": {
        "labels": {"background": 0, "necrotic core": 1, "edema": 2, "enhancing tumor": 3},
        "label_map": {4: 3},
    },
    "regions": {
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": 3},
        "label_map": {4: 3},
        "regions_class_order": [2, 1, 3],
    },
}


def matches(tree: Tree) -> bool:
    """``BraTS19_x_1/BraTS19_x_1_flair.nii.gz`` or ``BraTS19_x_1.h5``."""
    return tree.has(rf"BraTS19_[^/]+_flair{_NII}") or tree.has(r"BraTS19_[^/]+\.h5")


def draft(tree: Tree, options: Options) -> Draft:
    """FLAIR and the whole tumor, as the published protocol has it, unless other channels are asked for."""
    channels = options.channels or ("FLAIR",)
    task = options.task or ("whole" if channels == ("FLAIR",) else "labels")
    items, form = _raw(tree, channels), "raw"
    if items:
        made = drafted(ABOUT, items, channels, form=form, **_TASKS[task])
        grades = [str(item.info.get("grade")) for item in items]
        made.decisions.append(f"{grades.count('HGG')} high-grade and {grades.count('LGG')} low-grade cases")
        made.notices.append("low-grade cases may have no enhancing tumor (label 4), which is not a mistake")
        if tree.has(r"name_mapping\.csv"):
            made.notices.append(
                "name_mapping.csv leads to the same patients in BraTS 2017 and 2018: do not test there"
            )
    else:
        items = _h5(tree)
        if not items:
            raise nothing_of(ABOUT, tree, ("BraTS19_..._flair.nii.gz", "BraTS19_....h5"))
        if channels != ("FLAIR",) or task != "whole":
            raise UsageError(
                "the h5 files hold FLAIR and the whole tumor alone",
                hint="take the raw data set",
                code="CHANNELS",
            )
        labels = {"background": 0, "whole tumor": 1}
        made = drafted(ABOUT, items, ["noNorm"], labels, form="h5-ssl4mis", geometry="published")
        made.decisions.append("voxels are 1 mm: published, not in the files; axes are turned from z, y, x")
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _raw(tree: Tree, channels: tuple[str, ...]) -> list[Item]:
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for match, path in [*tree.once(_FILE), *tree.once(_ODD)]:
        files[match[1]].setdefault(match[2].lower() or "seg", path)
    words = {name: word for word, name in _WORDS.items()}
    lacking = [f"{name} ({c})" for name, found in files.items() for c in channels if words[c] not in found]
    if lacking:
        raise missing_files(ABOUT, "scans without a channel", lacking)
    return [
        Item(
            name,
            "train" if "seg" in found else "unlabeled",
            tuple(tree.source(found[words[channel]]) for channel in channels),
            tree.source(found["seg"]) if "seg" in found else None,
            info={"grade": grade} if (grade := _grade(next(iter(found.values())))) else {},
        )
        for name, found in sorted(files.items())
    ]


def _grade(path: str) -> str:
    return next((part.upper() for part in path.split("/") if part.upper() in ("HGG", "LGG")), "")


def _h5(tree: Tree) -> list[Item]:
    steps = (Reordered((2, 1, 0)), Sized((1.0, 1.0, 1.0)))
    return [tree.case(match[1], path, path, *steps) for match, path in tree.once(r"(BraTS19_[^/]+)\.h5")]

"""Left atrium, LGE-MRI (Atrial Segmentation Challenge 2018): NRRD as distributed, or h5 as UA-MT has it."""

from __future__ import annotations

from dataclasses import replace

from semiseg.dataset.adopt.draft import Draft, Item
from semiseg.dataset.adopt.grids import Painted, Sized
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.errors import plural

ABOUT = About(
    name="la",
    title="LA 2018",
    license="see cardiacatlas.org/atriaseg2018-challenge; cite the reference",
    reference="Xiong et al., Medical Image Analysis 2021 (global benchmark of LGE-CMR segmentation)",
    download="Atrial Segmentation Challenge 2018: Training Set, Testing Set; or 2018LA_Seg_Training Set (h5)",
    size="100 + 54 scans",
    split="ua-mt",
    options={"wall": "the wall of the atrium as a second class (raw form)"},
)
MILLIMETERS = (0.625, 0.625, 0.625)
TWINS = ("0RZDK210BSMWAA6467LU", "CMPXO4J23G58J53Q98SZ")
"""One acquisition twice: equal masks, images that correlate by 0.993."""
_ID = r"([0-9A-Z]{20})"


def matches(tree: Tree) -> bool:
    """``lgemri.nrrd`` or ``mri_norm2.h5`` in folders of twenty characters."""
    return tree.has(rf"{_ID}/(lgemri\.nrrd|mri_norm2\.h5)")


def draft(tree: Tree, options: Options) -> Draft:
    """LGE scans with the atrium's cavity as the one class; the wall only where it is asked for."""
    raw = _raw(tree, options)
    items, form = (raw, "raw") if raw else (_h5(tree), "h5-ua-mt")
    if not items:
        raise nothing_of(ABOUT, tree, ("lgemri.nrrd", "mri_norm2.h5"))
    labels = {"background": 0, "left atrium": 1} | ({"wall": 2} if "wall" in options.words and raw else {})
    made = drafted(
        ABOUT,
        [replace(item, group="_".join(TWINS) if item.id in TWINS else "") for item in items],
        ["LGE" if raw else "noNorm"],
        labels,
        form=form,
        geometry="published",
        label_map={255: 1} if raw else None,
    )
    made.decisions.append("voxels are 0.625 mm: published, not in the files")
    if raw:
        walls = sum(1 for _ in tree.find(r"lawall\.nrrd"))
        if walls and "wall" not in options.words:
            made.notices.append(
                f"left out {plural(walls, 'mask')} of the wall; --with wall makes them a class"
            )
    else:
        made.notices.append(
            "h5 is cropped around the ground truth and z-scored: no figure compares with the raw form"
        )
    if {item.id for item in items} >= set(TWINS):
        made.notices.append(
            f"{TWINS[0]} and {TWINS[1]} are one acquisition (equal masks): both are kept, as published"
        )
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _raw(tree: Tree, options: Options) -> list[Item]:
    wall = "wall" in options.words
    items = []
    for match, path in tree.once(rf"{_ID}/lgemri\.nrrd"):
        folder = path.rpartition("/")[0]
        label = f"{folder}/laendo.nrrd" if f"{folder}/laendo.nrrd" in tree.files else ""
        steps, walls = [Sized(MILLIMETERS)], f"{folder}/lawall.nrrd"
        over = [Painted(tree.source(walls), 2)] if wall and walls in tree.files else []
        items.append(
            Item(
                match[1].upper(),
                "train" if label else "unlabeled",
                (tree.source(path, *steps),),
                tree.source(label, *over, *steps) if label else None,
                extra="testing set" in path.lower(),
            )
        )
    return items


def _h5(tree: Tree) -> list[Item]:
    return [
        tree.case(match[1].upper(), path, path, Sized(MILLIMETERS))
        for match, path in tree.once(rf"{_ID}/mri_norm2\.h5")
    ]

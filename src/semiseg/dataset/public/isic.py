"""ISIC 2017 and 2018 (task 1), skin lesions: as distributed, or in the folders of TCSM."""

from __future__ import annotations

import re

from semiseg.dataset.adopt.draft import Draft, Part
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="isic",
    title="ISIC",
    license="see challenge.isic-archive.com/data; cite the reference",
    reference="Codella et al., ISBI 2018 (2017) and arXiv:1902.03368 (2018)",
    download="task 1 inputs and ground truth of 2017 or 2018; or the folders of TCSM",
    size="2017: 2000 + 150 + 600 pictures; 2018: 2594 + 100 + 1000",
)
_PARTS: tuple[tuple[str, Part], ...] = (("train", "train"), ("valid", "val"), ("test", "test"))


def matches(tree: Tree) -> bool:
    """``ISIC_0000000.jpg`` and ``ISIC_0000000_segmentation.png``."""
    return tree.has(r"ISIC_\d{7}\.jpg") and tree.has(r"ISIC_\d{7}_segmentation\.png")


def draft(tree: Tree, options: Options) -> Draft:
    """Parts are those of the folders; TCSM's lists say which training pictures are labeled first."""
    masks = {match[1]: path for match, path in tree.once(r"(ISIC_\d{7})_segmentation\.png")}
    items = []
    for match, path in tree.once(r"(ISIC_\d{7})\.jpg"):
        items.append(tree.case(match[1], path, masks.get(match[1])))
        if items[-1].label or _part(path) == "test":
            items[-1].part = _part(path)
    if not items:
        raise nothing_of(ABOUT, tree, ("ISIC_0000000.jpg",))
    form = "tcsm" if tree.has(r"my(Training|Valid|Test)_Data\d*/[^/]+") else "raw"
    labels = {"background": 0, "lesion": 1}
    made = drafted(ABOUT, items, ["R", "G", "B"], labels, form=form, label_map={255: 1})
    made.colors = True
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _part(path: str) -> Part:
    folders = path.rpartition("/")[0].lower()
    return next((part for word, part in _PARTS if re.search(word, folders)), "train")

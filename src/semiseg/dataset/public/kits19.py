"""KiTS19, kidneys and their tumors in CT: as distributed."""

from __future__ import annotations

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="kits19",
    title="KiTS19",
    license="CC BY-NC-SA (kits19.grand-challenge.org/data); cite the reference",
    reference="Heller et al., Medical Image Analysis 2021",
    download="github.com/neheller/kits19: data/case_00000 to case_00299",
    size="210 labeled and 90 unlabeled scans",
    split="desco",
)


def matches(tree: Tree) -> bool:
    """``case_00000/imaging.nii.gz`` and ``segmentation.nii.gz``."""
    return tree.has(r"case_\d{5}/imaging\.nii\.gz") and tree.has(r"case_\d{5}/segmentation\.nii\.gz")


def draft(tree: Tree, options: Options) -> Draft:
    """The 90 scans whose labels were never published are in no list."""
    items = []
    for match, path in tree.once(r"(case_\d{5})/imaging\.nii\.gz"):
        label = f"{path.rpartition('/')[0]}/segmentation.nii.gz"
        there = label in tree.files
        items.append(tree.case(match[1], path, label if there else None, extra=not there))
    if not items:
        raise nothing_of(ABOUT, tree, ("case_00000/imaging.nii.gz",))
    made = drafted(ABOUT, items, ["CT"], {"background": 0, "kidney": 1, "tumor": 2}, form="raw")
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made

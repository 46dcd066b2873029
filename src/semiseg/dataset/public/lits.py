"""LiTS, the liver and its tumors in CT: as distributed."""

from __future__ import annotations

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="lits",
    title="LiTS",
    license="see competitions.codalab.org/competitions/17094; cite the reference",
    reference="Bilic et al., Medical Image Analysis 2023",
    download="volume-N.nii, segmentation-N.nii, test-volume-N.nii",
    size="131 labeled and 70 unlabeled scans",
    split="desco",
)
_NII = r"\.nii(?:\.gz)?"


def matches(tree: Tree) -> bool:
    """``volume-0.nii`` and ``segmentation-0.nii``."""
    return tree.has(rf"volume-\d+{_NII}") and tree.has(rf"segmentation-\d+{_NII}")


def draft(tree: Tree, options: Options) -> Draft:
    """The 70 scans for the test have no public label and are in no list."""
    masks = {match[1]: path for match, path in tree.once(rf"segmentation-(\d+){_NII}")}
    items = []
    for match, path in tree.once(rf"((?:test-)?)volume-(\d+){_NII}"):
        label = None if match[1] else masks.get(match[2])
        name = f"{match[1].lower()}volume-{match[2]}"
        items.append(tree.case(name, path, label, extra=bool(match[1])))
    if not masks:
        raise nothing_of(ABOUT, tree, ("segmentation-0.nii",))
    made = drafted(ABOUT, items, ["CT"], {"background": 0, "liver": 1, "tumor": 2}, form="raw")
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made

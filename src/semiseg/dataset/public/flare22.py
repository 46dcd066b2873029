"""FLARE 2022, abdominal organs in CT: 50 labeled and 2000 unlabeled scans."""

from __future__ import annotations

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place
from semiseg.errors import plural

ABOUT = About(
    name="flare22",
    title="FLARE 2022",
    license="no license named; rules: flare22.grand-challenge.org/Rules; cite the reference",
    reference="Ma et al., MICCAI FLARE 2022 challenge",
    download="Training (FLARE22_LabeledCase50, FLARE22_UnlabeledCase1-1000, ...), Validation",
    size="50 labeled, 2000 unlabeled and 50 validation scans, 247 GB",
)
_ORGANS = (
    *("liver", "right kidney", "spleen", "pancreas", "aorta", "inferior vena cava", "right adrenal gland"),
    *("left adrenal gland", "gallbladder", "esophagus", "stomach", "duodenum", "left kidney"),
)
_END = r"(?:_0000)?\.nii\.gz"


def matches(tree: Tree) -> bool:
    """``FLARE22_Tr_0001_0000.nii.gz`` with its label."""
    return tree.has(rf"FLARE22_Tr_\d{{4}}{_END}")


def draft(tree: Tree, options: Options) -> Draft:
    """Validation scans, whose labels are not public, are test scans and never train unless asked for."""
    labels = {
        match[1]: path
        for match, path in tree.find(r"(FLARE22_Tr_\d{4})\.nii\.gz")
        if "label" in path.lower().rpartition("/")[0].rpartition("/")[2]
    }
    items = []
    for match, path in tree.find(rf"(FLARE22_Tr_\d{{4}}|Case_\d{{5}}|FLARETs_\d{{4}}){_END}"):
        name = match[1]
        if path == labels.get(name):
            continue
        items.append(tree.case(name, path, labels.get(name)))
        if name.startswith("FLARETs") and options.extra != "unlabeled":
            items[-1].part = "test"
    if not labels:
        raise nothing_of(ABOUT, tree, ("labels/FLARE22_Tr_0001.nii.gz",))
    names = {name: value for value, name in enumerate(("background", *_ORGANS))}
    made = drafted(ABOUT, items, ["CT"], names, form="raw")
    tests = sum(item.part == "test" for item in items)
    if tests:
        made.notices.append(
            f"{plural(tests, 'validation scan')} without public labels in imagesTs; --extra unlabeled trains "
            "on them"
        )
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made

"""PROMISE12, prostate in T2 MRI of four centers: MetaImage as distributed."""

from __future__ import annotations

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="promise12",
    title="PROMISE12",
    license="see zenodo.org/records/8026660; cite the reference",
    reference="Litjens et al., Medical Image Analysis 2014",
    download="zenodo 8026660: TrainingData_Part1 to Part3, TestData",
    size="50 labeled and 30 unlabeled scans",
    split="abd",
)
_ENDING = r"\.(?:mhd|mha|nii\.gz|nii)"
_UCL = (1, *range(26, 38))


def matches(tree: Tree) -> bool:
    """``Case00_segmentation.mhd`` beside ``Case00.mhd``."""
    return tree.has(rf"Case\d\d_segmentation{_ENDING}") and tree.has(rf"Case\d\d{_ENDING}")


def draft(tree: Tree, options: Options) -> Draft:
    """The 30 scans for the test, which have no mask and the same names again, are unlabeled scans."""
    masks = {match[1]: path for match, path in tree.once(rf"(Case\d\d)_segmentation{_ENDING}")}
    items = []
    for match, path in tree.find(rf"(Case(\d\d)){_ENDING}"):
        if "test" in path.lower().rpartition("/")[0]:
            items.append(tree.case(f"Test_{match[1]}", path, None))
            items[-1].part = "test" if options.extra == "test" else "unlabeled"
        else:
            info = {"center": _center(int(match[2]))}
            items.append(tree.case(match[1], path, masks.get(match[1]), info=info))
    if not masks:
        raise nothing_of(ABOUT, tree, ("Case00_segmentation.mhd",))
    made = drafted(ABOUT, items, ["T2"], {"background": 0, "prostate": 1}, form="raw")
    centers = sorted({str(item.info.get("center")) for item in items if item.info})
    made.decisions.append(f"centers, by case number: {', '.join(centers)}")
    made.notices.append(
        "labeled cases are the first by number, which come from one or two of the four centers"
    )
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made


def _center(number: int) -> str:
    if number in _UCL:
        return "UCL"
    return "BIDMC" if number < 13 else "RUNMC" if number < 26 else "HK"

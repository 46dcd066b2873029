"""Kvasir-SEG, polyps in endoscopy: the masks are JPEG and have to be made black and white again."""

from __future__ import annotations

from dataclasses import replace

from semiseg.dataset.adopt.draft import Draft, Recode
from semiseg.dataset.public.base import About, Options, Tree, drafted, lists_beside, nothing_of
from semiseg.dataset.public.placing import place

ABOUT = About(
    name="kvasir",
    title="Kvasir-SEG",
    license="see datasets.simula.no/kvasir-seg; cite the reference",
    reference="Jha et al., MMM 2020",
    download="Kvasir-SEG (images, masks)",
    size="1000 pictures",
)
_THRESHOLD = 128


def matches(tree: Tree) -> bool:
    """``images/cju...jpg`` and ``masks/cju...jpg``."""
    return tree.has(r"images/c[jk][0-9a-z]{22,25}\.jpg") and tree.has(r"masks/c[jk][0-9a-z]{22,25}\.jpg")


def draft(tree: Tree, options: Options) -> Draft:
    """Pixels of a mask that are brighter than the middle are polyp."""
    recode = Recode(threshold=_THRESHOLD)
    masks = {match[1]: path for match, path in tree.once(r"masks/([^/]+)\.jpg")}
    items = []
    for match, path in tree.once(r"images/([^/]+)\.jpg"):
        item = tree.case(match[1], path, masks.get(match[1]))
        items.append(replace(item, label=item.label and replace(item.label, recode=recode)))
    if not masks:
        raise nothing_of(ABOUT, tree, ("masks/....jpg",))
    made = drafted(ABOUT, items, ["R", "G", "B"], {"background": 0, "polyp": 1}, form="raw")
    made.colors, made.recode = True, recode
    made.decisions.append(f"masks are JPEG: {_THRESHOLD} and more is polyp")
    made.notices.append("the lists of PraNet (900 for training, 100 for the test) are not published as files")
    place(made, ABOUT, options, lists=lists_beside(tree))
    return made

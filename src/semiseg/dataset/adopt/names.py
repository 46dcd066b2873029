"""The words people use in the names of scans, masks, folders and sequences, and case ids made of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

_LABEL = """
    label labels lbl labeltr labelstr labelsts labelsva seg segs segm segmentation segmentations mask masks
    msk gt groundtruth truth annotation annotations annot manual contour contours dseg roi laendo
"""
_IMAGE = """
    image images im img imgs imaging scan scans volume volumes vol vols imagestr imagests imagesva imagesun
    lgemri orig original
"""

LABEL_WORDS = frozenset(_LABEL.split())
IMAGE_WORDS = frozenset(_IMAGE.split())
_PARTS = {
    "test": "test tests testing testset imagests labelsts",
    "val": "val valid validation validate imagesva labelsva",
    "unlabeled": "unlabeled unlabelled imagesun unannotated nolabel nolabels",
    "train": "train training trainset imagestr labelstr labeled labelled data database",
}
PART_WORDS = {part: frozenset(text.split()) for part, text in _PARTS.items()}
_NO_CASE = LABEL_WORDS.union(IMAGE_WORDS, *PART_WORDS.values(), ["part"])

MODALITIES = {
    "ct": "CT", "t1": "T1", "t1w": "T1", "t1n": "T1", "t1c": "T1c", "t1ce": "T1c", "t1gd": "T1c", "t2": "T2",
    "t2w": "T2", "t2f": "FLAIR", "flair": "FLAIR", "pd": "PD", "pdw": "PD", "dwi": "DWI", "adc": "ADC",
    "swi": "SWI", "pet": "PET", "pt": "PET", "suv": "PET", "mr": "MRI", "mri": "MRI",
}  # fmt: skip
"""Words that name a sequence or modality -> channel name, in the order channels get."""

_VIEW = """
    ax axial tra transversal transverse sag sagittal cor coronal tse fse se gre ge space mprage vibe 2d 3d iso
    fs fatsat dixon dark fluid
"""
_VIEWS = frozenset(_VIEW.split())
"""Words that people write beside the name of a sequence and that tell no case."""
_CONTRAST = frozenset(["post", "gd", "gad", "km", "ce", "contrast", "c"])

_LONGEST_ID = 180
"""Bytes of a case id: with channel number and ending it stays below the 255 that file systems take."""


def _in_word(character: str) -> bool:
    """Letters, the marks on them, and digits of any script."""
    return unicodedata.category(character)[0] in "LMN"


def words(text: str, *, keep_case: bool = False) -> list[str]:
    """The letters-and-digits words of a name in any script, lower case unless that is kept."""
    found = [word for _, _, word in _spans(unicodedata.normalize("NFC", text))]
    return found if keep_case else [word.lower() for word in found]


def _spans(text: str) -> list[tuple[int, int, str]]:
    """(start, end, word) of each word."""
    found, start = [], 0
    for inside, run in groupby(text, _in_word):
        word = "".join(run)
        if inside:
            found.append((start, start + len(word), word))
        start += len(word)
    return found


def plain_word(word: str) -> str:
    """A word without a number at its end, so that ``label248`` counts as ``label``."""
    return word.rstrip("0123456789") or word


@dataclass(frozen=True)
class Stem:
    """A file name taken apart.

    Attributes:
        key: what is left once role and sequence words are gone; tells the case. May be empty.
        is_label: whether a word says that this is a mask.
        modality: the last word, when it names a sequence (``t1``, ``flair``), else None.
    """

    key: str
    is_label: bool
    modality: str | None


def take_apart(stem: str) -> Stem:
    """Separate case, role and sequence in a file name without its ending."""
    stem = unicodedata.normalize("NFC", stem)
    spans = [(start, end, word.lower()) for start, end, word in _spans(stem)]
    is_label = any(plain_word(word) in LABEL_WORDS for _, _, word in spans)
    kept = [span for span in spans if span[2] not in LABEL_WORDS and span[2] not in IMAGE_WORDS]
    modality = None
    if kept and kept[-1][2] in MODALITIES:
        modality = kept.pop()[2]
    key = "".join(
        (stem[kept[i - 1][1] : start][-1:] if i else "") + stem[start:end]
        for i, (start, end, _) in enumerate(kept)
    )
    return Stem(key, is_label, modality)


def take_channel(name: str, known: Mapping[tuple[str, ...], str]) -> tuple[str, str] | None:
    """Find the words of a channel in a name: best at its end, the longest first.

    Args:
        name: of a file without its ending, or of a folder.
        known: the words of a channel -> what is returned for it.

    Returns:
        the name without these words, and the channel; None for no words, or those of several channels.
    """
    name = unicodedata.normalize("NFC", name)
    spans = _spans(name)
    said = [word.lower() for _, _, word in spans]
    found = [
        (start, len(wanted), channel)
        for wanted, channel in sorted(known.items(), key=lambda item: -len(item[0]))
        for start in range(len(said) - len(wanted), -1, -1)
        if wanted and tuple(said[start : start + len(wanted)]) == wanted
    ]
    last = next((hit for hit in found if hit[0] + hit[1] == len(said)), None)
    if last is None and len({channel for *_, channel in found}) != 1:
        return None
    start, count, channel = last or found[0]
    before, after = name[: spans[start][0]], name[spans[start + count - 1][1] :]
    return " ".join(part for part in (before.strip(" ._-"), after.strip(" ._-")) if part), channel


def take_sequence(name: str) -> tuple[str, str] | None:
    """What a name says beside its sequence, and the sequence's word: ``T1 axial`` is (``""``, ``t1``).

    Words of views are dropped, and T1 with a word for contrast is ``t1c``. None where no word, or several
    words, name a sequence.
    """
    found = take_channel(name, {(word,): word for word in MODALITIES})
    return None if found is None else beside_sequence(*found)


def beside_sequence(rest: str, channel: str) -> tuple[str, str]:
    """As :func:`take_sequence`, for a name that has lost the word ``channel`` already."""
    left = words(rest, keep_case=True)
    if MODALITIES.get(channel) == "T1" and any(word.lower() in _CONTRAST for word in left):
        channel, left = "t1c", [word for word in left if word.lower() not in _CONTRAST]
    return "_".join(word for word in left if word.lower() not in _VIEWS), channel


def without_role(key: str) -> str:
    """``img0001`` and ``label0001`` as ``0001``: a role word glued to the number of the case is dropped."""
    match = re.fullmatch(r"([A-Za-z]+)(\d+)", key)
    glued = match and match[1].lower() in LABEL_WORDS | IMAGE_WORDS
    return match[2] if match and glued else key


def folder_role(name: str) -> str | None:
    """``label`` or ``image`` when a folder's first or last word says so (``manual_masks``, ``imagesTr``)."""
    for said in (words(name), _camel_words(name)):
        ends = {plain_word(word) for word in (*said[:1], *said[-1:])}
        if ends & LABEL_WORDS:
            return "label"
        if ends & IMAGE_WORDS:
            return "image"
    return None


def _camel_words(name: str) -> list[str]:
    """``TestData_Part1`` as test, data, part1."""
    return words(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))


def folder_part(name: str) -> str | None:
    """``test``, ``val``, ``unlabeled`` or ``train`` when a word of a folder's name says so."""
    said = {*words(name), *_camel_words(name)}
    return next((part for part, known in PART_WORDS.items() if said & known), None)


def folder_case(name: str) -> str:
    """What a folder's name says of the case once role and part words are gone: ``Smith`` of ``Smith_seg``."""
    if name[-1].isdigit() or not (folder_role(name) or folder_part(name)):
        return name  # "scan07" says what it holds, but also whose it is
    return "_".join(word for word in words(name, keep_case=True) if not _says_no_case(word))


def _says_no_case(word: str) -> bool:
    pieces = [[word.lower()], _camel_words(word)]
    return any(all(plain_word(piece) in _NO_CASE for piece in said) for said in pieces)


_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))]
)
"""Names that Windows keeps for devices, with any ending."""


def clean_id(text: str) -> str:
    """A case id that is a safe file name everywhere: letters of any script (NFC), digits, ``._-``."""
    kept = "".join(c if _in_word(c) or c in "._-" else " " for c in unicodedata.normalize("NFC", text))
    name = re.sub(r" +", "_", kept).strip("._-")
    while len(name.encode()) > _LONGEST_ID:
        name = name[:-1]
    name = name.rstrip("._-")
    return f"case_{name}" if name.partition(".")[0].lower() in _DEVICES else name or "case"


def numbered(names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Each of ``names`` with the id ``given`` for it; ids that others have already get ``_2``, ``_3``, ...

    Capitals tell no ids apart, since some file systems do not.
    """
    taken: dict[str, str] = {}
    result = {}
    for name in sorted(set(names)):
        number, free = 1, given[name]
        while free.lower() in taken:
            number += 1
            free = f"{given[name]}_{number}"
        taken[free.lower()] = name
        result[name] = free
    return result

"""Which files are channels of one case, and what the channels are called."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from semiseg.dataset.adopt.draft import Draft
from semiseg.dataset.adopt.listing import FoundFile
from semiseg.dataset.adopt.looks import load
from semiseg.dataset.adopt.names import MODALITIES, beside_sequence, take_sequence, words
from semiseg.errors import UsageError, unknown_name

_NUMBER = re.compile(r"(.+)_(\d{4})")
_MOST_CHANNELS = 16
_DICOM_NAMES = {"CT": "CT", "MR": "MRI", "PT": "PET"}
_AIR = -500
"""No MRI goes this low; CT has air at -1000."""


def chosen(keep: Sequence[str], names: Sequence[str]) -> list[int]:
    """The numbers of the channels called ``keep``; all of them where none is named.

    Raises:
        UsageError: there is none of this name, or one is named twice.
    """
    spelled = {name.casefold(): number for number, name in enumerate(names)}
    numbers = []
    for name in keep:
        if name.strip().casefold() not in spelled:
            raise unknown_name("channel", name, names)
        numbers.append(spelled[name.strip().casefold()])
    if len(set(numbers)) < len(numbers):
        raise UsageError(
            f"--channels names one twice: {', '.join(keep)}", hint="name each once", code="CHANNELS"
        )
    return numbers or list(range(len(names)))


def keep_channels(
    keep: Sequence[str], images: list[FoundFile], order: list[str], draft: Draft
) -> tuple[list[FoundFile], list[str]]:
    """The images and channel words of the channels that are wanted, in that order; the others are left out.

    Raises:
        UsageError: see :func:`chosen`.
    """
    numbers = chosen(keep, draft.channel_names)
    if not keep or draft.colors or len(order) < 2:
        return images, order
    kept = [order[number] for number in numbers]
    left = [draft.channel_names[number] for number in range(len(order)) if number not in numbers]
    draft.channel_names = tuple(draft.channel_names[number] for number in numbers)
    images = [entry for entry in images if entry.channel in kept]
    if left:
        draft.decisions.append(f"left out, as asked: {', '.join(left)}")
    if len(kept) == 1:
        for entry in images:
            entry.channel = None
    return images, kept


def read_channel_numbers(images: Sequence[FoundFile], labels: Sequence[FoundFile]) -> bool:
    """Recognize nnU-Net's ``_0000`` suffixes and move them from key to channel; False when they are names.

    ``amos_0001 ... amos_0100`` are numbered cases: numbers are channels only when they start at 0 and every
    case has the same few, or when the labels are named without them.
    """
    matches = [_NUMBER.fullmatch(entry.key) for entry in images]
    if not images or not all(matches):
        return False
    groups: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for entry, match in zip(images, matches, strict=True):
        if match:
            groups[(*entry.folders, entry.part, match[1])].add(int(match[2]))
    numbers = set().union(*groups.values())
    label_keys = {entry.key for entry in labels}
    named_without = bool(label_keys & {group[-1] for group in groups})
    named_with = bool(label_keys & {entry.key for entry in images})
    consecutive = numbers == set(range(len(numbers))) and len(numbers) <= _MOST_CHANNELS
    if named_with or not consecutive or not (named_without or len(groups) > 1):
        return False
    for entry, match in zip(images, matches, strict=True):
        if match:
            entry.key, entry.channel = match[1], match[2]
    return True


def read_sequence_words(images: Sequence[FoundFile]) -> bool:
    """Recognize sequences that do not stand at the end of names (``T1 axial``, ``FLAIR_Smith``).

    They move from key or folder to channel where this makes cases of the same several channels; otherwise
    nothing changes and False is returned, since ``CT_01`` may be a name.
    """
    if not any(entry.channel is None for entry in images):
        return False
    said = [_sequence(entry) for entry in images]
    cases: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for entry, (folders, key, channel) in zip(images, said, strict=True):
        if channel is None:
            return False
        cases[folders, entry.part, key].append(channel)
    sets = Counter(frozenset(found) for found in cases.values())
    most, count = sets.most_common(1)[0]
    twice = any(len(set(found)) < len(found) for found in cases.values())
    if twice or len(most) < 2 or 2 * count <= len(cases):
        return False
    for entry, (folders, key, channel) in zip(images, said, strict=True):
        entry.folders, entry.key, entry.channel = folders, key, channel
    return True


def _sequence(entry: FoundFile) -> tuple[tuple[str, ...], str, str | None]:
    """Folders, key and channel once the words of a sequence are taken from the key, else from its folder."""
    if entry.channel is not None:
        return entry.folders, *beside_sequence(entry.key, entry.channel)
    if entry.key and (found := take_sequence(entry.key)):
        return entry.folders, *found
    if entry.folders and (found := take_sequence(entry.folders[-1])):
        rest, channel = found
        return (*entry.folders[:-1], *([rest] if rest else [])), entry.key, channel
    return entry.folders, entry.key, None


def channel_order(images: Iterable[FoundFile]) -> list[str]:
    """The channel words in use, numbers by size, sequences in their usual order."""
    used = {entry.channel for entry in images if entry.channel is not None}
    known = list(MODALITIES)
    return sorted(used, key=lambda word: (known.index(word) if word in known else len(known), word))


def settle_channels(images: Sequence[FoundFile], labels: Sequence[FoundFile]) -> list[str]:
    """Decide what the channels are; afterwards ``entry.channel`` is None where there is only one.

    Returns:
        the channel words in channel order, empty for one unnamed channel.
    """
    for entry in labels:
        entry.channel = None
    read_channel_numbers(images, labels)
    read_sequence_words(images)
    order = channel_order(images)
    per_case: dict[tuple[str, ...], set[str | None]] = defaultdict(set)
    for entry in images:
        per_case[(*entry.folders, entry.part, entry.key)].add(entry.channel)
    if all(len(channels) == 1 for channels in per_case.values()):
        everywhere = {entry.channel for entry in images} == set(order)
        for entry in images:
            entry.channel = None
        return order if everywhere and len(order) == 1 and order[0] in MODALITIES else []
    return order


def name_channels(
    order: Sequence[str], images: Sequence[FoundFile], draft: Draft, root: Path
) -> tuple[str, ...]:
    """One name per channel: from sequence words, DICOM, folder names or, last, the values."""
    if draft.colors:
        draft.decisions.append("channels R, G and B: the images are color pictures")
        return ("R", "G", "B")
    if order and all(word in MODALITIES for word in order):
        names = tuple(MODALITIES[word] for word in order)
        if len(set(names)) == len(names):
            draft.decisions.append(f"channels {', '.join(names)}: from the file names")
            return names
        return tuple(word.upper() for word in order)
    if len(order) > 1:
        draft.decisions.append(f"{len(order)} channels from the file names; rename them in dataset.json")
        return tuple(f"channel {number}" for number in range(len(order)))
    name, why = _only_channel(images, root)
    draft.decisions.append(f"one channel, {name}: {why}")
    return (name,)


def _only_channel(images: Sequence[FoundFile], root: Path) -> tuple[str, str]:
    dicom = {entry.modality for entry in images if entry.modality}
    if len(dicom) == 1:
        modality = dicom.pop() or ""
        return _DICOM_NAMES.get(modality, modality), "as DICOM says"
    said = {word for entry in images for word in words(entry.shown)} | set(words(root.name))
    if "ct" in said and not said & {"mr", "mri"}:
        return "CT", "as file or folder names say"
    if said & {"mr", "mri"} and "ct" not in said:
        return "MRI", "as file or folder names say"
    lowest = min((float(load(entry.source).array.min()) for entry in images[:3]), default=0.0)
    if lowest <= _AIR:
        return "CT", f"the lowest value is {lowest:g}, as of air in CT"
    return "image", "the modality is unknown; write CT if these are Hounsfield units"

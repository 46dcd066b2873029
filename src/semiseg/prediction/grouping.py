"""Which files of a pile are the channels of one scan, by the names of the model's channels."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.dataset.adopt.listing import FoundFile
from semiseg.dataset.adopt.names import (
    MODALITIES,
    beside_sequence,
    clean_id,
    take_apart,
    take_channel,
    words,
)
from semiseg.dataset.adopt.pairing import case_ids
from semiseg.dataset.files import PHOTO_ENDINGS
from semiseg.errors import DataError, plural
from semiseg.machine.files import printable

_log = logging.getLogger("semiseg.data")

_NUMBER = re.compile(r"(.+)_(\d{4})")
_MOST_CHANNELS = 16
_OTHER_MACHINES = ("CT", "PET")


@dataclass(frozen=True)
class Group:
    """The files of one scan in the order of the model's channels, or why it cannot be predicted."""

    name: str
    entries: tuple[FoundFile, ...]
    error: DataError | None = None


def group(
    entries: Sequence[FoundFile],
    channels: Sequence[str],
    numbers: Sequence[int] | None = None,
    home: str = "",
) -> list[Group]:
    """The scans that the entries make up, and what cannot be one."""
    one = len(channels) == 1
    flat = all(not entry.folders and entry.source.series is None for entry in entries)
    for entry in entries:
        entry.key = entry.stem if flat else entry.key
    odd = _number_single(entries, flat) if one else {}
    others = _name_single(entries, channels[0]) if one else _name_channels(entries, channels, numbers, flat)
    _tell_left_out(others, channels)
    left = {id(entry) for entry in others}
    used = [entry for entry in entries if id(entry) not in left]
    names = {e.shown: _safe(e.key or home) for e in used} if flat else case_ids(used)[0]
    cases: dict[str, list[FoundFile]] = defaultdict(list)
    for entry in used:
        cases[names[entry.shown]].append(entry)
    of_scans = {_case(entry) for entry in used}
    alone = [entry for entry in others if _case(entry) not in of_scans]
    for entry in alone:
        cases[_safe(entry.key if flat else entry.key or "_".join(entry.folders) or entry.stem)].append(entry)
    refused = {id(entry) for entry in alone}
    groups = []
    for name, found in sorted(cases.items()):
        if id(found[0]) in refused:
            groups.append(Group(name, tuple(found), _other_channels(name, found, channels)))
        elif one:
            groups += _singles(name, found, odd)
        else:
            groups.append(_several(name, found, channels))
    return groups


def _safe(stem: str) -> str:
    """The name as it is, where it can be written and shown."""
    return stem if printable(stem) == stem else clean_id(stem)


def _number_single(entries: Sequence[FoundFile], flat: bool) -> dict[int, DataError]:
    """Numbers at the ends of names, for one channel: ``_0000`` alone is its number, others number scans.

    Returns:
        id of an entry -> why it is neither: several numbers of several names look like channels.
    """
    found: dict[tuple[tuple[str, ...], str], dict[int, FoundFile]] = defaultdict(dict)
    for entry in entries:
        if match := _NUMBER.fullmatch(entry.stem):
            found[entry.folders, match[1]][int(match[2])] = entry
    odd: dict[int, DataError] = {}
    for (_, name), numbered in found.items():
        if list(numbered) == [0]:
            numbered[0].key, numbered[0].channel = _key(name, flat)
        elif 0 in numbered and len(found) > 1 and max(numbered) < _MOST_CHANNELS:
            why = f"{len(numbered)} channel files, the model wants 1"
            error = _error(name, list(numbered.values()), why, "CHANNELS")
            odd |= {id(entry): error for entry in numbered.values()}
            for entry in numbered.values():
                entry.key = _key(name, flat)[0]
        elif 0 in numbered:
            first, last = numbered[0], numbered[max(numbered)]
            text = (
                "%s to %s are taken for %d scans: the model has one channel, so the numbers are not channels"
            )
            _log.warning(text, first.shown, last.shown, len(numbered))
    return odd


def _key(name: str, flat: bool) -> tuple[str, str | None]:
    """What the name says of the case once its channel number is gone, and a sequence word."""
    taken = take_apart(name)
    return (name if flat else taken.key), taken.modality


def _name_single(entries: Sequence[FoundFile], channel: str) -> list[FoundFile]:
    """Settle keys for a model of one channel; returns the entries whose names say another one."""
    others = [e for e in entries if e.channel in MODALITIES and _contradicts(MODALITIES[e.channel], channel)]
    left = {id(entry) for entry in others}
    fitting = [entry for entry in entries if id(entry) not in left]
    count = Counter((entry.folders, entry.part, entry.key) for entry in fitting)
    twice = [e for e in fitting if e.channel and count[e.folders, e.part, e.key] > 1]
    for entry in twice:  # p1_T1 and p1_T2 for a model of MRI: two scans
        entry.key = entry.stem or str(entry.channel)
    for entry in fitting:
        entry.channel = None
    return others


def _contradicts(said: str, wanted: str) -> bool:
    """Whether a file of the sequence ``said`` cannot be the channel ``wanted``."""
    known = {name.casefold(): name for name in MODALITIES.values()}
    channel = known.get(wanted.casefold())
    if channel is None or said == channel:
        return False
    return "MRI" not in (said, channel) or bool({said, channel} & set(_OTHER_MACHINES))


def _name_channels(
    entries: Sequence[FoundFile], channels: Sequence[str], numbers: Sequence[int] | None, flat: bool
) -> list[FoundFile]:
    """Settle key and channel of each entry; returns the entries of channels that the model does not have."""
    place = {number: channels[k] for k, number in enumerate(numbers or range(len(channels)))}
    index = {number: str(list(place).index(number)) for number in place}
    known: dict[tuple[str, ...], str] = {(word,): name for word, name in MODALITIES.items()}
    known |= {tuple(words(name)): name for name in channels if len(name) > 1}  # not R, G, B
    spelled = {name.casefold(): str(k) for k, name in enumerate(channels)}
    others = []
    for entry in entries:
        match = _NUMBER.fullmatch(entry.stem)
        if match and int(match[2]) < _MOST_CHANNELS:
            entry.key = _key(match[1], flat)[0]
            entry.channel = index.get(int(match[2]), f"number {match[2]}")
            continue
        said = _said(entry, known, flat)
        entry.channel = None if said is None else spelled.get(said.casefold(), said)
        if said is not None and said.casefold() not in spelled:
            others.append(entry)
    return others


def _said(entry: FoundFile, known: Mapping[tuple[str, ...], str], flat: bool) -> str | None:
    """The channel that the names of file and folder say; its words leave key and folders."""
    if found := take_channel(entry.stem, known):
        rest, channel = _without_views(*found)
        entry.key = rest if flat else take_apart(rest).key
        return channel
    if entry.channel is not None:  # of its folder, or of its DICOM series
        return MODALITIES.get(entry.channel)
    if entry.folders and (found := take_channel(entry.folders[-1], known)):
        rest, channel = _without_views(*found)
        entry.folders = (*entry.folders[:-1], *([rest] if rest else []))
        return channel
    return None


def _without_views(rest: str, channel: str) -> tuple[str, str]:
    """What a name says beside its channel, as ``semiseg init`` reads it: no views, contrast makes T1 T1c."""
    if channel.lower() not in MODALITIES:
        return rest, channel
    left, word = beside_sequence(rest, channel.lower())
    said = channel if word == channel.lower() else MODALITIES[word]
    return (rest if left == "_".join(words(rest, keep_case=True)) else left), said


def _case(entry: FoundFile) -> tuple[tuple[str, ...], str, str]:
    return entry.folders, entry.part, take_apart(entry.stem).key


def _tell_left_out(others: Sequence[FoundFile], channels: Sequence[str]) -> None:
    if others:
        said = sorted({MODALITIES.get(e.channel or "", e.channel or "") for e in others})
        text = "left out %s of other channels (%s): the model wants %s"
        _log.warning(text, plural(len(others), "file"), ", ".join(said), ", ".join(channels))


def _singles(name: str, found: list[FoundFile], odd: Mapping[int, DataError]) -> list[Group]:
    error = odd.get(id(found[0]))
    if error is not None:
        return [Group(name, tuple(found), error)]
    return [Group(name, (entry,)) for entry in found]


def _several(name: str, found: list[FoundFile], channels: Sequence[str]) -> Group:
    by: dict[str | None, list[FoundFile]] = defaultdict(list)
    for entry in found:
        by[entry.channel].append(entry)
    wanted = [str(k) for k in range(len(channels))]
    entries = tuple(entry for word in sorted(by, key=str) for entry in by[word])
    if list(by) in ([None], ["0"]) and len(found) == 1 and _may_hold_all(found[0], by, channels):
        return Group(name, entries)
    twice = next((files for files in by.values() if len(files) > 1), None)
    if twice is not None:
        return Group(name, entries, same_names(name, len(twice), [entry.source.path for entry in twice]))
    if None in by:
        likely = ", ".join(f"{name}_{k:04d} ({channel})" for k, channel in enumerate(channels))
        why = f"one file without channel number or name, the model wants {len(channels)}: {likely}"
        return Group(name, entries, _error(name, found, why, "CHANNELS"))
    missing = [f"{k:04d} ({channel})" for k, channel in enumerate(channels) if str(k) not in by]
    if missing:
        why = f"missing channel {', '.join(missing)}"
        return Group(name, entries, _error(name, found, why, "MISSING_CHANNEL"))
    if len(by) > len(channels):
        why = f"{len(by)} channel files, the model wants {len(channels)} ({', '.join(channels)})"
        return Group(name, entries, _error(name, found, why, "CHANNELS"))
    return Group(name, tuple(by[word][0] for word in wanted))


def _may_hold_all(
    entry: FoundFile, by: Mapping[str | None, list[FoundFile]], channels: Sequence[str]
) -> bool:
    """A color picture for three channels, or a NIfTI file that may have a frame for each."""
    file = entry.source.path.name.lower()
    color = len(channels) == 3 and file.endswith(PHOTO_ENDINGS)
    frames = None in by and file.endswith((".nii", ".nii.gz")) and _is_4d(entry)
    return entry.source.series is None and (color or frames)


def _is_4d(entry: FoundFile) -> bool:
    from semiseg.dataset.adopt.looks import look

    return look(entry.source).frames > 1


def _other_channels(name: str, found: Sequence[FoundFile], channels: Sequence[str]) -> DataError:
    said = ", ".join(sorted({MODALITIES.get(e.channel or "", e.channel or "") for e in found}))
    why = f"its name says {said}, the model wants {', '.join(channels)}"
    return _error(name, found, why, "CHANNELS")


def same_names(name: str, count: int, files: Sequence[Path]) -> DataError:
    """Of scans that would overwrite each other's output."""
    return _refusal(name, files, f"{count} scans have this name", "SAME_NAME")


def _error(name: str, entries: Sequence[FoundFile], why: str, code: str) -> DataError:
    return _refusal(name, [entry.source.path for entry in entries], why, code)


def _refusal(name: str, files: Sequence[Path], why: str, code: str) -> DataError:
    return DataError(
        f"{name}: {why}",
        hint="name files CASE_0000, CASE_0001, ... in the order of the model's channels, or CASE_ and the "
        "name of the channel; one name per scan",
        code=code,
        details={"case": name, "files": [printable(str(file)) for file in files]},
    )

"""The parts of a public data set's cases: by a published split, lists on disk, chance or its folders."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semiseg.dataset.adopt.draft import Draft, Item, notice
from semiseg.dataset.adopt.name_lists import plain_id, read_list
from semiseg.dataset.public.base import About, Options
from semiseg.dataset.public.published import REST, Published, find_split, hash_of, splits
from semiseg.errors import DataError, UsageError, plural, some

SHARES = {"val": 0.1, "test": 0.2}
"""Of the groups, where a split is drawn by chance."""

CaseOf = Callable[[str], str]


def place(
    draft: Draft,
    about: About,
    options: Options,
    *,
    lists: Mapping[str, Path],
    case_of: CaseOf = str,
    withdrawn: Sequence[str] = (),
) -> None:
    """Settle the parts of all cases and ``draft.splits``.

    Args:
        draft: its items have the part that their folder says; items of no list leave it.
        about: the data set.
        options: the split that is asked for, what is done with cases in no list, and with missing ones.
        lists: ``train``, ``val``, ``test`` -> list file that lies beside the data.
        case_of: name in a published list -> case id.
        withdrawn: cases that today's release does not have: their absence is told, and no error.

    Raises:
        DataError: listed cases that are not on disk, without ``allow_missing``.
        UsageError: no such split.
    """
    ids = _Ids(draft.items, case_of)
    if options.split == "none":
        kept = [item for item in draft.items if not item.extra]
        _others(draft, kept, [item for item in draft.items if item.extra], options)
    elif options.split == "random":
        _draw(draft, options)
    elif options.split == "files":
        _apply(draft, _of_files(lists, about), ids, options, about)
    else:
        split = find_split(about.name, options.split)
        _compare(draft, split, lists, ids)
        _apply(draft, split, ids, options, about, withdrawn)
    _group(draft)


class _Ids:
    """Finds the cases that a listed name means: one case, or all cases of a patient or video."""

    def __init__(self, items: Iterable[Item], case_of: CaseOf) -> None:
        self.case_of = case_of
        self.cases = {item.id.lower(): item.id for item in items}
        short = [_without_zeros(name) for name in self.cases]
        counts = Counter(short)
        self.short = {
            name: id for name, id in zip(short, self.cases.values(), strict=True) if counts[name] == 1
        }
        self.groups: dict[str, list[str]] = defaultdict(list)
        for item in items:
            if item.group:
                self.groups[item.group.lower()].append(item.id)

    def of(self, listed: str) -> list[str]:
        """The ids, none where nothing on disk has this name."""
        for name in (listed, self.case_of(plain_id(listed)), plain_id(listed)):
            if name.lower() in self.cases:
                return [self.cases[name.lower()]]
        for name in (self.case_of(plain_id(listed)), plain_id(listed)):  # image18 for image0018
            if _without_zeros(name) in self.short:
                return [self.short[_without_zeros(name)]]
        return sorted(self.groups.get(plain_id(listed).lower(), []))

    def all(self, listed: Sequence[str]) -> tuple[list[str], list[str]]:
        """(ids, listed names that nothing on disk has)."""
        found = [(name, self.of(name)) for name in listed if name != REST]
        ids = list(dict.fromkeys(id for _, cases in found for id in cases))
        return ids, [name for name, cases in found if not cases]


def _without_zeros(name: str) -> str:
    """Small letters, numbers without the zeros before them."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.lower())


def _apply(
    draft: Draft, split: Published, ids: _Ids, options: Options, about: About, withdrawn: Sequence[str] = ()
) -> None:
    (order, gone), (val, no_val), (test, no_test) = (
        ids.all(listed) for listed in (split.order, split.val, split.test)
    )
    both = [id for id in order if id in {*val, *test}]
    order = [id for id in order if id not in both]
    if REST not in split.order:
        text = "{} of the list for training in another list, too, not trained on"
        draft.notices += notice(text, both, "case")
    if split.strangers and not options.allow_missing:
        raise DataError(
            f"{about.name} {split.name}: published as labeled and not in its list for training: "
            f"{plural(len(split.strangers), 'case')}, {some(split.strangers)}",
            hint="--allow-missing leaves them out, and writes that down",
            code="SPLIT",
        )
    order = [id for id in order if id not in {case for name in split.strangers for case in ids.of(name)}]
    missing = [*gone, *no_val, *no_test]
    unforeseen = [name for name in missing if ids.case_of(plain_id(name)) not in withdrawn]
    if unforeseen and not options.allow_missing:
        raise DataError(
            f"{plural(len(unforeseen), 'case')} of the split {split.name} "
            f"{'is' if len(unforeseen) == 1 else 'are'} not in the folder: {some(unforeseen)}",
            hint="get them, or take what is there with --allow-missing; --split none takes no list",
            code="MISSING_CASES",
            details={"missing": unforeseen},
        )
    if REST in split.order:
        named = {*order, *val, *test}
        order += sorted(i.id for i in draft.items if i.part == "train" and not i.extra and i.id not in named)
    listed = [part for part, ids in (("val", split.val), ("test", split.test)) if ids]
    _settle(draft, order, val, test, options, listed)
    val = val or sorted(item.id for item in draft.items if item.part == "val")
    draft.splits = {"order": order, **({"val": val} if val else {}), **({"test": test} if split.test else {})}
    draft.splits["published"] = split.as_dict()
    if missing:
        draft.splits["published"]["missing"] = missing
        draft.notices.append(
            f"{plural(len(missing), 'listed case is', 'listed cases are')} not in the folder, so this "
            "is not the published split "
            f"{split.name} but {len(order)}/{len(val)}/{len(test)} training, validation and test cases: "
            f"{some(missing)}"
        )
    if split.strangers:
        draft.splits["published"]["left_out"] = list(split.strangers)
    sizes = ", ".join(f"{share} = {number} {split.of}" for share, number in split.sizes.items())
    counts = f"{len(order)} training, {len(val)} validation, {plural(len(test), 'test case')}"
    draft.decisions.append(f"split {split.name}: {counts}" + (f"; labeled: {sizes}" if sizes else ""))


def _settle(
    draft: Draft,
    order: Sequence[str],
    val: Sequence[str],
    test: Sequence[str],
    options: Options,
    listed: Sequence[str] = ("val", "test"),
) -> None:
    """Give listed cases their part; others keep theirs where no list could name them, or go.

    ``listed`` are the parts besides training for which there is a list; folders tell the others.
    """
    part = dict.fromkeys(order, "train") | dict.fromkeys(val, "val") | dict.fromkeys(test, "test")
    held = {item.group for item in draft.items if item.group and part.get(item.id) in ("val", "test")}
    kept, left = [], []
    for item in draft.items:
        if item.id in part:
            kept.append(_as(item, part[item.id]))
        elif item.label is None and item.group in held:
            continue  # another scan of a patient who is kept for validation or test
        elif not item.extra and (item.label is None or item.part not in ("train", *listed)):
            kept.append(item)
        else:
            left.append(item)
    _others(draft, kept, left, options)


def _others(draft: Draft, kept: list[Item], left: list[Item], options: Options) -> None:
    if left and options.extra == "out":
        told = notice("left out {} that no list names", [item.id for item in left], "case")
        draft.notices += [f"{text}; --extra unlabeled or test takes them" for text in told]
    elif left:
        kept += [_as(item, options.extra) for item in left]
        draft.decisions.append(f"{plural(len(left), 'case')} that no list names: {options.extra}")
    draft.items = sorted(kept, key=lambda item: item.id)


def _as(item: Item, part: str) -> Item:
    """The item in another part. A training case without a label is an unlabeled one, which has no label."""
    if part in ("train", "val") and item.label is None:
        part = "unlabeled"
    return replace(item, part=part, label=None if part == "unlabeled" else item.label)  # type: ignore[arg-type]


def _draw(draft: Draft, options: Options) -> None:
    """A split of the labeled cases by chance, whole groups at a time; the same for the same seed."""
    labeled = [item for item in draft.items if item.label and not item.extra]
    groups = sorted(
        {item.group or item.id for item in labeled},
        key=lambda name: hashlib.sha256(f"{options.seed}:{name}".encode()).hexdigest(),
    )
    take = {part: max(1, round(share * len(groups))) for part, share in SHARES.items()}
    if len(groups) < 4:
        raise UsageError(
            f"{plural(len(groups), 'labeled case or group', 'labeled cases or groups')}: too few for a "
            "split by chance",
            hint="leave --split random out",
            code="SPLIT",
        )
    test, val = groups[: take["test"]], groups[take["test"] :][: take["val"]]
    rest = [name for name in groups if name not in (*test, *val)]
    by = {name: sorted(i.id for i in labeled if (i.group or i.id) == name) for name in groups}
    order, chosen, held = ([id for name in part for id in by[name]] for part in (rest, val, test))
    _settle(draft, order, chosen, held, options)
    draft.splits = {"order": order, "val": chosen, "test": held}
    draft.splits["drawn"] = {"seed": options.seed, "shares": SHARES}
    draft.decisions.append(
        f"split drawn by chance (seed {options.seed}): {len(order)} training, {len(chosen)} validation, "
        f"{plural(len(held), 'test case')}; no published one is comparable"
    )


def _of_files(lists: Mapping[str, Path], about: About) -> Published:
    if "train" not in lists:
        raise UsageError(
            f"no train.list or train.txt lies beside this copy of {about.title}",
            hint=f"published splits: {', '.join(splits(about.name)) or 'none'}",
            code="SPLIT",
        )
    names = {part: read_list(path) for part, path in lists.items()}
    if not names["train"]:
        raise DataError(
            f"{lists['train']} names no case",
            hint="--split with a published split, or a list with a name in each line",
            code="BAD_LIST",
        )
    return Published(
        "files",
        "the lists beside the data",
        names["train"],
        names.get("val", ()),
        names.get("test", ()),
        sources={part: path.name for part, path in lists.items()},
        sha256={part: hash_of(ids) for part, ids in names.items()},
    )


def _compare(draft: Draft, split: Published, lists: Mapping[str, Path], ids: _Ids) -> None:
    """Say whether the lists beside the data are the published ones."""
    published = {"train": split.order, "val": split.val, "test": split.test}
    for part, path in lists.items():
        if not published[part] or REST in published[part]:
            continue
        there = [ids.case_of(name).lower() for name in read_list(path)]
        if there == [ids.case_of(plain_id(name)).lower() for name in published[part]]:
            draft.decisions.append(f"{path.name} is the published list of {split.name}")
        else:
            draft.notices.append(
                f"{path.name} ({plural(len(there), 'name')}) is not the published list of {split.name} "
                f"({len(published[part])}), which is used; --split files takes yours"
            )


def _group(draft: Draft) -> None:
    """Say whose the cases are, where some have several.

    A list may train on one scan of a group and hold out another: it is kept, which is told, and the two are
    groups of their own, so that it can be trained on.
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in draft.items:
        if item.group:
            held_out = item.part if item.part in ("val", "test") else "train"
            groups[item.group][held_out].append(item.id)
    if draft.group_rule:
        if any(sum(map(len, parts.values())) > 1 for parts in groups.values()):
            draft.splits["group_by_patient"] = draft.group_rule
        return
    table: dict[str, Any] = {}
    cut: list[str] = []
    for name, parts in groups.items():
        if len(parts) > 1:
            cut.append("; ".join(f"{part}: {some(ids)}" for part, ids in sorted(parts.items())))
            told = draft.splits.setdefault("published", {}).setdefault("same_patient", [])
            told.append(sorted(id for ids in parts.values() for id in ids))
        for part, ids in parts.items():
            table |= {id: f"{name} ({part})" if len(parts) > 1 else name for id in ids if len(ids) > 1}
    if table:
        draft.splits["group_by_patient"] = dict(sorted(table.items()))
    for text in cut:
        draft.notices.append(
            f"the split holds out a scan of a patient whose other scan it trains on ({text}): kept as "
            "listed; scores of that case are too good"
        )

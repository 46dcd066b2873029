"""``semiseg convert``: a public data set, as it is distributed, as a dataset folder with published split."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from semiseg.dataset import public
from semiseg.dataset.adopt.draft import Draft, Item, Source, notice
from semiseg.dataset.adopt.finish import AdoptResult, finish, free_name, require_empty
from semiseg.dataset.adopt.looks import in_threads, look
from semiseg.dataset.adopt.write import Target, choose_ending, targets
from semiseg.dataset.public.base import Extra, Options, Tree
from semiseg.dataset.public.published import splits
from semiseg.errors import DataError, UsageError, plural, some, unknown_name
from semiseg.images import array_files, ending_of
from semiseg.machine.claim import held
from semiseg.machine.folders import whole_folder

_ARRAYS = array_files.ENDINGS
_OTHER_VOLUMES = (".nrrd", ".mha")
"""Endings that a data set is not left in."""


def datasets() -> list[dict[str, Any]]:
    """What is known of each public data set, for a list."""
    return [
        {
            "name": name,
            "title": module.ABOUT.title,
            "size": module.ABOUT.size,
            "license": module.ABOUT.license,
            "download": module.ABOUT.download,
            "reference": module.ABOUT.reference,
            "splits": {each.name: each.about for each in splits(name).values()},
            "split": module.ABOUT.split,
            "channels": list(module.ABOUT.channels),
            "tasks": dict(module.ABOUT.tasks),
            "options": dict(module.ABOUT.options),
        }
        for name, module in public.known().items()
    ]


def convert(
    name: str,
    source: str | Path,
    target: str | Path | None = None,
    *,
    split: str | None = None,
    channels: Sequence[str] = (),
    task: str | None = None,
    options: Mapping[str, str] | Sequence[str] = (),
    extra: Extra = "out",
    allow_missing: bool = False,
    link: bool = False,
    dry_run: bool = False,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AdoptResult:
    """Make a dataset folder of a public data set, in the form of its download or of the field's h5 files.

    Class names, channels, groups of patients and the published split come from what is known of the data set.
    A line is returned for every decision and for every trap that was met, with numbers.

    Args:
        name: one of ``semiseg convert``.
        source: the folder as it was unpacked; it is never changed.
        target: the dataset folder to make; absent or empty. By default ``DatasetNNN_Name`` beside the source.
        split: a published split by name; ``none`` keeps what folders say, ``files`` takes the lists that lie
            beside the data, ``random`` draws one. None is the data set's usual one.
        channels: the channels to take, in this order, where the data set has several; ``all`` for all.
        task: which labels to take, where the data set has several sets of them.
        options: other words of the data set, ``["wall"]`` or ``{"roi": "25"}``.
        extra: what becomes of cases that no list names: ``out``, ``unlabeled`` or ``test``.
        allow_missing: take what is there when listed cases are not, and write that down.
        link: hard-link files that need no conversion instead of copying them.
        dry_run: say what would be done, and write nothing.
        seed: random seed of ``split="random"``.
        workers: files read or written at a time.
        progress: called with (files done, files in all).

    Raises:
        UsageError: an unknown name, a target that is not empty or cannot be written.
        DataError: a folder that does not hold the data set, or listed cases that are missing; says which.
    """
    module = public.find(name)
    root = Path(source).expanduser()
    if not root.is_dir():
        what = f"{str(root)!r} is a file" if root.exists() else f"no folder {str(root)!r}"
        raise UsageError(
            what,
            hint="give the folder that it lies in; zips in there are opened"
            if root.exists()
            else "check the path",
            code="NO_SOURCE",
        )
    if extra not in get_args(Extra):
        raise unknown_name("--extra", extra, get_args(Extra))
    workers = workers or min(8, os.cpu_count() or 1)
    asked = Options(
        split or "", tuple(channels), task or "", _words(options), extra, allow_missing, seed, workers
    )
    asked = asked.settled(module.ABOUT)
    with ExitStack() as stack:
        goal = Path(target).expanduser() if target is not None else free_name(root)
        if not dry_run:
            stack.enter_context(held(goal, "-o", beside=True))
            require_empty(goal)
        tree = Tree.of(root)
        if asked.task != "all":
            draft = _complete(module.draft(tree, asked), tree, asked)
            ending = _ending(draft)
            files, how = targets(draft, ending), {"link": link, "dry_run": dry_run}
            return finish(draft, files, ending, goal, **how, workers=workers, progress=progress)
        each = {
            name: _complete(module.draft(tree, replace(asked, task=name)), tree, asked)
            for name in module.ABOUT.tasks
            if name != "all"
        }
        return _all_tasks(each, goal, link=link, dry_run=dry_run, workers=workers, progress=progress)


def _complete(draft: Draft, tree: Tree, asked: Options) -> Draft:
    """The draft with notices of what else lies in the folder, its files looked at."""
    draft.notices += tree.left_lying()
    used = {source.path for item in draft.items for source in _files(item)}
    arrays = [path for path, file in tree.files.items() if ending_of(file) in _ARRAYS and file not in used]
    if draft.said.get("source", {}).get("form") == "raw" and arrays:
        text = "left out {} beside the raw form, for the two are never mixed"
        draft.notices += notice(text, arrays, "h5 or npz file")
    return _readable(draft, asked)


def _words(given: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    if isinstance(given, Mapping):
        return dict(given)
    return {word.partition("=")[0].strip(): word.partition("=")[2].strip() for word in given}


def _readable(draft: Draft, asked: Options) -> Draft:
    """The draft, once every header has been looked at: before anything is copied, not after hours of it.

    Raises:
        DataError: files that cannot be used; all of them at once.
    """
    sources = [source for item in draft.items for source in _files(item) if source.series is None]
    seen = in_threads(look, sources, asked.workers)
    bad = {
        s.path: f"{s.shown}: {each.trouble}" for s, each in zip(sources, seen, strict=True) if each.trouble
    }
    own = {s.path for s, each in zip(sources, seen, strict=True) if each.has_label}
    for item in draft.items:  # scan and label in one file, as h5 copies have them
        label = item.label
        if label is not None and label.path == item.images[0].path and label.path not in own:
            bad.setdefault(label.path, f"{label.shown}: has no array of the scan, or none of its label")
    hurt = [item for item in draft.items if any(source.path in bad for source in _files(item))]
    if hurt and not asked.allow_missing:
        raise DataError(
            f"{plural(len(bad), 'file')} of {plural(len(hurt), 'case')} cannot be used: "
            f"{some(list(bad.values()), 3)}",
            hint="get these files again, or leave their cases out with --allow-missing",
            code="UNREADABLE",
            details={"files": [str(path) for path in bad]},
        )
    if hurt:
        names = {item.id for item in hurt}
        draft.items = [item for item in draft.items if item.id not in names]
        draft.splits = {
            key: [id for id in ids if id not in names] if isinstance(ids, list) else ids
            for key, ids in draft.splits.items()
        }
        left = plural(len(hurt), "case")
        draft.notices.append(f"left out {left} with broken files: {some(list(bad.values()), 3)}")
        if "published" in draft.splits:
            draft.splits["published"].setdefault("missing", []).extend(sorted(names))
    return draft


def _files(item: Item) -> list[Source]:
    return [*item.images, *([item.label] if item.label else [])]


def _ending(draft: Draft) -> str:
    ending = choose_ending(draft)
    return ".nii.gz" if ending in _OTHER_VOLUMES else ending


def _all_tasks(
    each: Mapping[str, Draft],
    goal: Path,
    *,
    link: bool,
    dry_run: bool,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> AdoptResult:
    """A dataset per task in one folder; their images are the same files on disk, where it has hard links."""
    made: dict[Path, Path] = {}
    results = {}
    with nullcontext(goal) if dry_run else whole_folder(goal) as work:
        for name, draft in each.items():
            ending = _ending(draft)
            files = [_from_first(file, made) for file in targets(draft, ending)]
            place = work / f"task{name}"
            results[name] = finish(
                draft,
                files,
                ending,
                place,
                link=link or bool(made),
                dry_run=dry_run,
                workers=workers,
                progress=progress,
            )
            made |= {file.source.path: place / file.place for file in files if not dry_run and not made}
    last = next(reversed(results.values()))
    decisions = [f"task{name}: {text}" for name, result in results.items() for text in result.decisions]
    notices = list(dict.fromkeys(text for result in results.values() for text in result.notices))
    decisions.append(f"one dataset for each task in {goal}: {', '.join(f'task{name}' for name in results)}")
    return replace(last, folder=goal / f"task{next(iter(results))}", decisions=decisions, notices=notices)


def _from_first(file: Target, made: Mapping[Path, Path]) -> Target:
    there = made.get(file.source.path)
    return replace(file, source=replace(file.source, path=there)) if there else file

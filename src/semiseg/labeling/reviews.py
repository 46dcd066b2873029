"""Figures of the reviews of a dataset: how good predictions were, how much was corrected, how people agree.

From ``labels.jsonl`` and the studio's ``reviews.csv``. Scans were chosen for review and corrected with the
prediction in view, so that Dice is rather too high.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from semiseg import images
from semiseg.dataset.dataset import locate
from semiseg.dataset.ledger import FILE as LEDGER
from semiseg.dataset.ledger import STUDIO, Entry, read_entries
from semiseg.errors import DataError, plural
from semiseg.evaluation.case import evaluate
from semiseg.labeling.store import Labels

JUDGMENTS = "reviews.csv"
BY_HAND = ("drawn", "corrected", "imported", "slicer")

Told = dict[str, Any]


def reviewed(dataset: str | Path | Labels) -> Told:
    """The figures of a dataset's reviews.

    Args:
        dataset: a folder, a name or number under ``SEMISEG_DATA``, or its opened labels.

    Returns:
        ``runs``: run -> ``accepted``, ``corrected``, ``share_corrected``, ``dice`` (mean of the predictions
        with what they were corrected to; None where none was), ``median_seconds`` of a correction;
        ``rejected``: scans put aside; ``median_seconds`` of drawing a label by hand, per source;
        ``annotators``: mean Dice of each two people on the scans that both labeled; ``preferences``: of each
        two runs in blinded review.

    Raises:
        DataError: nothing was reviewed yet.
    """
    labels = dataset if isinstance(dataset, Labels) else None
    root = labels.root if labels else locate(dataset)  # type: ignore[arg-type]
    ledger, judged = root / LEDGER, root / STUDIO / JUDGMENTS
    entries = list(read_entries(ledger)) if ledger.is_file() else []
    judgments = _read(judged)
    if not entries and not judgments:
        raise DataError(
            f"{root}: nothing was reviewed yet",
            hint="accept, correct or draw labels in `semiseg studio`, or with `semiseg accept`",
            code="NO_REVIEWS",
        )
    return {
        "runs": of_runs(entries),
        "rejected": sum(entry.event == "reject" for entry in entries),
        "median_seconds": _seconds(entries),
        "annotators": agreement(labels or Labels(root)),
        "preferences": preferences(judgments),
    }


def of_runs(entries: Iterable[Entry]) -> dict[str, Told]:
    """Run -> what became of its predictions."""
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.run and entry.event == "label":
            found[entry.run].append(entry)
    return {run: _of_run(made) for run, made in found.items()}


def _of_run(made: list[Entry]) -> Told:
    """Each scan counts once: as corrected where anybody corrected it, with its first correction's Dice."""
    first: dict[str, Entry] = {}
    for entry in made:
        if entry.source != "accepted":
            first.setdefault(entry.case, entry)
    accepted = {entry.case for entry in made if entry.source == "accepted"} - set(first)
    dice = [entry.agreement for entry in first.values() if entry.agreement is not None]
    seconds = [entry.seconds for entry in first.values() if entry.seconds]
    return {
        "accepted": len(accepted),
        "corrected": len(first),
        "share_corrected": round(len(first) / (len(first) + len(accepted)), 4),
        "dice": round(fmean(dice), 4) if dice else None,
        "median_seconds": median(seconds) if seconds else None,
    }


def _seconds(entries: Iterable[Entry]) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.seconds:
            found[entry.source].append(entry.seconds)
    return {source: median(several) for source, several in found.items()}


def agreement(labels: Labels) -> list[Told]:
    """Of each two people the mean Dice of their newest labels, over the scans that both made by hand."""
    scores: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for name in labels.cases:
        newest = {
            entry.by: entry
            for entry in labels.ledger.history(name)
            if entry.event in ("label", "conflict") and entry.source in BY_HAND and entry.by
        }
        for a, b in itertools.combinations(sorted(newest), 2):
            dice = _dice(labels, name, newest[a].version, newest[b].version)
            if dice is not None:
                scores[a, b][name] = dice
    return [
        {"a": a, "b": b, "cases": len(found), "dice": round(fmean(found.values()), 4), "per_case": found}
        for (a, b), found in scores.items()
    ]


def _dice(labels: Labels, name: str, one: int, other: int) -> float | None:
    """Mean Dice over the classes of two versions of a label."""
    paths = [labels.file(name, version) for version in (one, other)]
    if None in paths:
        return None
    first, second = (images.read_label(path) for path in paths if path is not None)
    dataset = labels.dataset
    values: Mapping[str, Any] = dataset.regions or {
        key: (value,) for key, value in dataset.labels.items() if value
    }
    found = evaluate(
        first.array, second.array, first.grid.spacing, values, distances=False, ignore=dataset.ignore_value
    )
    known = [metrics["Dice"] for metrics in found.values() if not math.isnan(metrics["Dice"])]
    return round(fmean(known), 4) if known else None


def preferences(judgments: Iterable[Mapping[str, str]]) -> list[Told]:
    """Of each two runs: how often each was preferred, a sign test, and how often two people agree.

    Several people's judgments of a scan count as one, by their majority; ties are left out of the test.
    """
    pairs: dict[tuple[str, str], dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for row in judgments:
        a, b = sorted((row["left"], row["right"]))
        pairs[a, b][row["case"]][row["by"]] = row["preferred"]
    return [_pair(a, b, cases) for (a, b), cases in pairs.items()]


def _pair(a: str, b: str, cases: Mapping[str, Mapping[str, str]]) -> Told:
    counts = Counter(_majority(votes.values()) for votes in cases.values())
    twice = [x == y for votes in cases.values() for x, y in itertools.combinations(votes.values(), 2)]
    return {
        "a": a,
        "b": b,
        "cases": len(cases),
        "prefer_a": counts[a],
        "prefer_b": counts[b],
        "alike": counts[""],
        "p": _sign_test(counts[a], counts[b]),
        "annotators": len({by for votes in cases.values() for by in votes}),
        "agree": round(fmean(twice), 4) if twice else None,
    }


def _majority(votes: Iterable[str]) -> str:
    ranked = Counter(votes).most_common(2)
    return "" if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _sign_test(wins: int, losses: int) -> float | None:
    """Two-sided exact p that each of two is preferred as often; None without a preference."""
    n = wins + losses
    if n == 0:
        return None
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    return float(f"{min(1.0, 2 * tail):.4g}")


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if not {"by", "preferred"} - row.keys()]
    return [row for row in rows if all(row.get(key) for key in ("case", "left", "right"))]


def lines(found: Told) -> Iterator[str]:
    """The figures for people, a line each."""
    for run, one in found["runs"].items():
        total = one["accepted"] + one["corrected"]
        dice = "" if one["dice"] is None else f", Dice with the correction {one['dice']:.3f}"
        took = "" if one["median_seconds"] is None else f", {one['median_seconds']:.0f} s each (median)"
        share = f"{one['corrected']} corrected ({one['share_corrected']:.0%})"
        yield f"{run}: {plural(total, 'prediction')} reviewed, {share}{dice}{took}"
    if found["rejected"]:
        yield f"{plural(found['rejected'], 'scan')} put aside"
    for source, seconds in found["median_seconds"].items():
        yield f"a label {source}: {seconds:.0f} s (median)"
    for one in found["annotators"]:
        yield (
            f"{one['a']} and {one['b']}: Dice {one['dice']:.3f} on {plural(one['cases'], 'scan')} "
            "that both labeled"
        )
    for one in found["preferences"]:
        p = "" if one["p"] is None else f", sign test p {one['p']:.3g}"
        yield (
            f"blinded: {one['a']} preferred {plural(one['prefer_a'], 'time')}, {one['b']} {one['prefer_b']}, "
            f"alike {one['alike']}, of {plural(one['cases'], 'scan')}{p}"
        )
        if one["agree"] is not None:
            yield (
                f"  {plural(one['annotators'], 'person', 'people')} judged, two of them agree on "
                f"{one['agree']:.0%}"
            )

"""How often prediction tells of a scan that is unlike the training scans: `python benchmarks/unlike.py DATA`.

    python benchmarks/unlike.py DATA                  # held-out training scans, few of them, test scans
    python benchmarks/unlike.py DATA --training-only  # the figures that limits are chosen by

DATA holds the dataset folders. Nothing is trained. Limits were settled on training scans alone: each fifth of
them against the other four, as they are and with a fault made. Test scans are read by the first command only,
their labels by none.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._machine import store  # noqa: E402

from semiseg.dataset.case import Case, load_case  # noqa: E402
from semiseg.dataset.dataset import Dataset  # noqa: E402
from semiseg.images.grid import Grid  # noqa: E402
from semiseg.preparation.fingerprint import fingerprint  # noqa: E402
from semiseg.preparation.look import Look  # noqa: E402
from semiseg.preparation.seen import Seen  # noqa: E402
from semiseg.preparation.unlike import looks, turned  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
COMMAND = "python benchmarks/unlike.py DATA"
DATASETS = ("Dataset101_LeftAtrium", "Dataset104_Hippocampus", "Dataset102_ACDC", "Dataset103_ACDC90")
OTHER = dict(zip(DATASETS, ("Dataset103_ACDC90", "Dataset101_LeftAtrium", *[DATASETS[1]] * 2), strict=True))
"""Whose scans stand for another channel's; none of the datasets has two."""

Scan = tuple[NDArray[Any], Grid]
Facts = tuple[tuple[int, ...], tuple[float, ...], list[Look]]
"""Size, spacing and looks, as :meth:`Seen.unlike` wants them."""


def few_slices(scan: Scan, _: Scan) -> Scan:
    """The middle tenth of the slices, at least one."""
    image, grid = scan
    count = image.shape[-1]
    kept = max(1, round(count / 10))
    first = (count - kept) // 2
    return image[..., first : first + kept], replace(grid, shape=(*grid.shape[:-1], kept))


def other_channel(scan: Scan, other: Scan) -> Scan:
    """Gray values of another kind of scan, drawn on the grid of this one."""
    grid = scan[1]
    found = other[0][0]
    for axis, n in enumerate(grid.shape):
        found = found.take(np.linspace(0, found.shape[axis] - 1, n).round().astype(int), axis)
    return found[None], grid


def other_channel_alike(scan: Scan, other: Scan) -> Scan:
    """The same, brought to this scan's mean and standard deviation: only the pattern is another."""
    image, grid = other_channel(scan, other)
    values = (image - image.mean()) / (image.std() or 1)
    return values * scan[0].std() + scan[0].mean(), grid


def doubled_spacing(scan: Scan, _: Scan) -> Scan:
    """Every voxel twice as far from the next."""
    image, grid = scan
    return image, replace(grid, affine=grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))


def inverted(scan: Scan, _: Scan) -> Scan:
    """Light for dark, within the same minimum and maximum."""
    image, grid = scan
    return image.max() + image.min() - image, grid


def upside_down(scan: Scan, _: Scan) -> Scan:
    """The last axis the other way round, the header unchanged."""
    return scan[0][..., ::-1], scan[1]


FAULTS: dict[str, Callable[[Scan, Scan], Scan]] = {
    "as it is": lambda scan, _: scan,
    "a tenth of the slices": few_slices,
    "another channel's scan": other_channel,
    "spacing x 2": doubled_spacing,
    "gray values inverted": inverted,
    "another channel's, same mean and SD": other_channel_alike,
    "upside down": upside_down,
}
PROMISED = tuple(FAULTS)[1:5]


def plain(cases: Iterable[Case]) -> list[Case]:
    """Without their labels, sorted by name."""
    return sorted((Case(case.id, case.images) for case in cases), key=lambda case: case.id)


def read(case: Case) -> Scan:
    """A scan in float64."""
    image, grid, _ = load_case(case, 1)
    return image.astype(np.float64), grid


def facts(scan: Scan) -> Facts:
    """What is compared."""
    image, grid = scan
    return turned(grid.shape, grid), turned(grid.spacing, grid), looks(image, grid)


def measured(cases: Sequence[Case], others: Sequence[Case]) -> list[dict[str, Facts]]:
    """The facts of each scan, as it is and with each fault."""
    found = []
    for number, case in enumerate(cases):
        scan, other = read(case), read(others[number % len(others)])
        found.append({name: facts(make(scan, other)) for name, make in FAULTS.items()})
    return found


def seen_of(scans: Iterable[dict[str, Facts]]) -> Seen:
    """What a plan keeps of them."""
    plain = [scan["as it is"] for scan in scans]
    return Seen.of([(shape, mm) for shape, mm, _ in plain], [found for _, _, found in plain])


def told(seen: Seen, scans: Iterable[dict[str, Facts]]) -> dict[str, Counter[str]]:
    """Fault -> how many scans there are (``scans``), are told of (``told``), and are told of by kind."""
    counts = {name: Counter({"scans": 0, "told": 0}) for name in FAULTS}
    for scan in scans:
        for name, (shape, mm, found) in scan.items():
            kinds = {one.kind for one in seen.unlike(shape, mm, found, [("image", False)])}
            counts[name].update(["scans", *(["told"] if kinds else []), *kinds])
    return counts


def held_out(scans: Sequence[dict[str, Facts]], folds: int = 5) -> dict[str, Counter[str]]:
    """Each fold against the others; scans of one patient have neighboring names, and stay together."""
    total = {name: Counter[str]() for name in FAULTS}
    for fold in np.array_split(np.arange(len(scans)), folds):
        seen = seen_of(scan for i, scan in enumerate(scans) if i not in fold)
        for name, counts in told(seen, [scans[i] for i in fold]).items():
            total[name].update(counts)
    return total


def few(scans: Sequence[dict[str, Facts]], count: int, draws: int = 10) -> dict[str, Counter[str]]:
    """Random ``count`` training scans against all others."""
    rng, total = np.random.default_rng(0), {name: Counter[str]() for name in FAULTS}
    for _ in range(draws):
        order = rng.permutation(len(scans))
        seen = seen_of(scans[i] for i in order[:count])
        for name, counts in told(seen, [scans[i] for i in order[count:]]).items():
            total[name].update(counts)
    return total


def table(rows: dict[str, dict[str, Counter[str]]]) -> str:
    """Markdown: a row per dataset, a column per fault."""
    lines = [f"| data | {' | '.join(FAULTS)} |", "|" + "---|" * (1 + len(FAULTS))]
    for name, counts in rows.items():
        cells = (
            f"{c['told']} of {c['scans']} ({c['told'] / max(1, c['scans']):.1%})" for c in counts.values()
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def kinds(rows: dict[str, dict[str, Counter[str]]]) -> str:
    """Markdown: which kinds told of it, all datasets together."""
    names = ("slices", "size", "spacing", "gray values", "appearance")
    lines = [f"| scans | {' | '.join(names)} |", "|" + "---|" * (1 + len(names))]
    for fault in FAULTS:
        all_of_them = sum((counts[fault] for counts in rows.values()), Counter[str]())
        shares = (f"{all_of_them[kind] / max(1, all_of_them['scans']):.0%}" for kind in names)
        lines.append(f"| {fault} | {' | '.join(shares)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--training-only", action="store_true", help="print; read no test scan, write nothing"
    )
    arguments = parser.parse_args()
    splits = {name: Dataset.open(arguments.data / name).split() for name in DATASETS}
    training = {name: plain([*s.labeled, *s.unlabeled, *s.val]) for name, s in splits.items()}
    scans = {name: measured(training[name], training[OTHER[name]]) for name in DATASETS}
    held = {name: held_out(found) for name, found in scans.items()}
    parts = ["**Held-out training scans**, each fifth against the other four; notices given", table(held)]
    for count in (4, 8, 16):
        rows = {name: few(found, count) for name, found in scans.items()}
        parts += [f"**{count} training scans**, drawn 10 times, against all others of them", table(rows)]
    parts += ["**What told of it**, held-out training scans of all datasets", kinds(held)]
    if arguments.training_only:
        print("\n\n".join(parts))
        return
    tests = {
        name: told(
            fingerprint(training[name], ["image"]).seen(),  # as a plan has it, from 50 of the scans
            measured(splits[name].test, splits[OTHER[name]].test),
        )
        for name in DATASETS
    }
    parts = ["**Test scans** against all training scans; notices given", table(tests), *parts]
    parts += ["**What told of it**: test scans of all datasets", kinds(tests)]
    store(RESULTS, "unlike", "Scans unlike the training scans", COMMAND, "\n\n".join(parts), {"test": tests})


if __name__ == "__main__":
    main()

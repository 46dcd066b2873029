"""Which scans to label next: one function each, with its source.

A strategy takes a pool and a number and returns so many choices, the best first. Where a source queries
patches, as the nnActive framework does, whole scans are queried here, because whole scans are labeled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import unknown_name
from semiseg.labeling.facts import Facts
from semiseg.labeling.planes import PlaneToLabel

COLD = "typiclust"
"""Without a model."""
DEFAULT = "mixed"
"""With a model; ``benchmarks/active_learning.py`` compares it with random choices."""

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A scan to label."""

    id: str
    score: float
    """Larger is more worth labeling; comparable within a strategy."""
    reason: str
    slices: tuple[PlaneToLabel, ...] = ()
    """Its planes that are most worth a label, where they were asked for."""


@dataclass
class Pool:
    """What there is to choose from."""

    unlabeled: list[str]
    labeled: list[str]
    facts: Facts
    rng: np.random.Generator

    def vectors(self, names: Sequence[str]) -> tuple[list[str], Vectors]:
        """The names with features, and those (N, D), each dimension scaled to the spread of the pool."""
        found = {name: vector for name in names if (vector := self.facts.features(name)) is not None}
        if not found:
            return [], np.zeros((0, 1))
        stacked = np.stack(list(found.values()))
        spread = stacked.std(0)
        return list(found), stacked / np.where(spread > 1e-9, spread, 1.0) / math.sqrt(stacked.shape[1])

    def doubts(self) -> dict[str, dict[str, Any]]:
        """Id -> doubt of the unlabeled scans that could be predicted."""
        return {name: found for name in self.unlabeled if (found := self.facts.doubt(name))}


Strategy = Callable[[Pool, int], list[Choice]]


def random(pool: Pool, n: int) -> list[Choice]:
    """Any of them, each as likely: the baseline that is hard to beat."""
    chosen = pool.rng.permutation(pool.unlabeled)[:n]
    return [Choice(str(name), 0.0, "drawn at random") for name in chosen]


def foreground_random(pool: Pool, n: int) -> list[Choice]:
    """At random among scans in which the model sees something, each class in turn.

    After the foreground-aware random sampling of nnActive (Lüth et al. 2025, arXiv 2511.19183), which no
    other strategy there beats reliably.
    """
    doubts = pool.doubts()
    seen = {name: _classes(found) for name, found in doubts.items()}
    kinds = sorted({kind for found in seen.values() for kind in found})
    left, chosen = list(pool.rng.permutation(pool.unlabeled)), []
    for turn in range(n):
        kind = kinds[turn % len(kinds)] if kinds else None
        fitting = [str(name) for name in left if kind in seen.get(str(name), ())] or [str(x) for x in left]
        if not fitting:
            break
        why = f"at random among scans with {kind}" if kind else "at random: nothing is seen in any scan"
        chosen.append(Choice(fitting[0], 0.0, why))
        left.remove(fitting[0])
    return chosen


def entropy(pool: Pool, n: int) -> list[Choice]:
    """The most predictive entropy for the predicted volume, so that large organs do not win by size."""
    scores = {name: float(found["entropy"]) for name, found in pool.doubts().items()}
    return _highest(
        scores, n, "the prediction doubts itself: entropy {score:.3g} per predicted voxel, {place}"
    )


def clasp_pe(pool: Pool, n: int, *, share: float = 0.66, power: float = 1.0) -> list[Choice]:
    """Two thirds stratified by predicted class, the rest over all, by noisy predictive entropy.

    ClaSP PE (Lüth et al. 2026, arXiv 2601.13677): of the share, each class in turn queries by the entropy of
    the voxels that were predicted as it; Gumbel noise on the logarithm of the score keeps a query diverse
    (PowerBALD; Kirsch et al. 2023, arXiv 2106.12059). Their schedule of the noise over rounds is left out: a
    call does not know its round.

    Args:
        pool: to choose from.
        n: how many.
        share: of the budget that is stratified.
        power: of the score; the larger, the less noise.
    """
    doubts = pool.doubts()
    kinds = sorted({kind for found in doubts.values() for kind in _classes(found)})
    left, chosen = set(doubts), []
    for turn in range(min(n, len(doubts))):
        kind = kinds[turn % len(kinds)] if kinds and turn < round(share * n) else None
        scores = {name: _score(doubts[name], kind) for name in sorted(left)}
        noisy = {
            name: power * math.log(max(score, 1e-12)) + float(pool.rng.gumbel())
            for name, score in scores.items()
            if score is not None
        }
        if not noisy:
            noisy = dict.fromkeys(sorted(left), 0.0)
        best = max(noisy, key=lambda name: noisy[name])
        of = f"{kind} is unsure" if kind else "the prediction is unsure"
        chosen.append(Choice(best, noisy[best], f"{of} (entropy {scores[best] or 0:.3g}, with noise)"))
        left.remove(best)
    return chosen


def disagreement(pool: Pool, n: int) -> list[Choice]:
    """The least mean Dice between members of an ensemble, or between the scan as it is and mirrored.

    Query by committee (Seung et al. 1992, doi:10.1145/130385.130417) with Dice as the measure, which Zenk et
    al. (2025, arXiv 2406.03323) found the strongest predictor of quality in 3D.
    """
    scores = {name: pool.facts.disagreement(name) for name in pool.unlabeled if name not in pool.facts.failed}
    return _highest(scores, n, "predictions disagree: mean Dice 1 - {score:.3g}, {place}")


def coreset(pool: Pool, n: int) -> list[Choice]:
    """The farthest from all that is labeled, one after the other, in the space of pooled features.

    k-center greedy (Sener and Savarese 2018, arXiv 1708.00489).
    """
    names, vectors = pool.vectors([*pool.labeled, *pool.unlabeled])
    wanted = set(pool.unlabeled)
    candidates = [i for i, name in enumerate(names) if name in wanted]
    centers = [i for i, name in enumerate(names) if name not in wanted]
    if not candidates:
        return []
    nearest = np.full(len(names), np.inf)
    for center in centers:
        nearest = np.minimum(nearest, _distances(vectors, center))
    chosen = []
    for _ in range(min(n, len(candidates))):
        if not np.isfinite(nearest[candidates]).any():  # nothing is labeled: begin at the middle
            middle = np.linalg.norm(vectors - vectors[candidates].mean(0), axis=1)
            best, distance, why = min(candidates, key=lambda i: middle[i]), 0.0, "typical of all scans"
        else:
            best = max(candidates, key=lambda i: nearest[i])
            distance = float(nearest[best])
            why = f"unlike all labeled ones (distance {distance:.2g})"
        chosen.append(Choice(names[best], distance, why))
        nearest = np.minimum(nearest, _distances(vectors, best))
        candidates.remove(best)
    return chosen


def typiclust(pool: Pool, n: int, *, neighbors: int = 20) -> list[Choice]:
    """The most typical scan of each of the largest groups that have no label yet; made for the cold start.

    TypiClust (Hacohen et al. 2022, arXiv 2202.02794): k-means with as many groups as labels there will be,
    typicality is the inverse mean distance to the nearest neighbors in the group.
    """
    from scipy.cluster.vq import kmeans2

    names, vectors = pool.vectors([*pool.labeled, *pool.unlabeled])
    labeled = set(pool.labeled)
    free = [name for name in names if name not in labeled]
    if not free:
        return []
    groups = min(len(labeled & set(names)) + n, len(names))
    seed = int(pool.rng.integers(2**31))
    _, of = (
        kmeans2(vectors, groups, minit="++", seed=seed, missing="warn")
        if groups > 1
        else (None, np.zeros(len(names)))
    )
    chosen: list[Choice] = []
    taken = set(labeled)
    while len(chosen) < min(n, len(free)):
        group = _next_group(names, np.asarray(of), taken)
        members = [i for i, name in enumerate(names) if of[i] == group]
        open_ones = [i for i in members if names[i] not in taken]
        typical = {i: _typicality(vectors, i, members, neighbors) for i in open_ones}
        best = max(typical, key=lambda i: typical[i])
        many = f"typical of {len(members)} scans that look alike"
        why = many if len(members) > 1 else "unlike every other scan"
        chosen.append(Choice(names[best], typical[best], why))
        taken.add(names[best])
    return chosen


def mixed(pool: Pool, n: int) -> list[Choice]:
    """The farthest from all that is labeled (:func:`coreset`), among the most uncertain third."""
    scores = {name: float(found["score"]) for name, found in pool.doubts().items()}
    third = max(n, math.ceil(len(scores) / 3))
    unsure = sorted(scores, key=lambda name: -scores[name])[:third]
    picked = coreset(Pool(unsure, pool.labeled, pool.facts, pool.rng), n)
    why = "and unsure (Soft Dice Confidence {:.3g})".format
    return [replace(one, reason=f"{one.reason}, {why(1 - scores[one.id])}") for one in picked]


STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "foreground_random": foreground_random,
    "clasp_pe": clasp_pe,
    "entropy": entropy,
    "disagreement": disagreement,
    "coreset": coreset,
    "typiclust": typiclust,
    "mixed": mixed,
}
NEED_MODEL = ("foreground_random", "clasp_pe", "entropy", "disagreement", "mixed")


def find(name: str, *, model: bool) -> tuple[str, Strategy]:
    """A strategy by its name; ``default`` is what suits whether there is a model.

    Raises:
        UsageError: no such strategy; names the nearest.
    """
    name = (DEFAULT if model else COLD) if name == "default" else name
    if name not in STRATEGIES:
        raise unknown_name("strategy", name, ["default", *STRATEGIES])
    return name, STRATEGIES[name]


def describe() -> list[dict[str, Any]]:
    """Every strategy for people: name, first line, source, whether it needs a model."""
    told = []
    for name, function in STRATEGIES.items():
        text = (function.__doc__ or "").strip()
        source = next((word.strip("(),.;") for word in text.replace(")", " ").split("arXiv ")[1:]), "")
        told.append(
            {
                "name": name,
                "description": text.splitlines()[0],
                "needs_model": name in NEED_MODEL,
                "default": name in (DEFAULT, COLD),
                "source": f"arXiv {source.split()[0].rstrip('),.;:')}" if source else "",
            }
        )
    return told


def _highest(scores: dict[str, float], n: int, reason: str) -> list[Choice]:
    ranked = sorted(scores, key=lambda name: (-scores[name], name))[:n]
    places = ["the most", *(f"number {place}" for place in range(2, len(ranked) + 1))]
    return [
        Choice(name, scores[name], reason.format(score=scores[name], place=f"{place} of {len(scores)}"))
        for place, name in zip(places, ranked, strict=False)
    ]


def _classes(doubt: dict[str, Any]) -> list[str]:
    return [name for name, size in (doubt.get("sizes") or {}).items() if size > 0]


def _score(doubt: dict[str, Any], kind: str | None) -> float | None:
    if kind is None:
        return float(doubt["score"])
    found = (doubt.get("class_entropy") or {}).get(kind)
    return None if found is None else float(found)


def _distances(vectors: Vectors, center: int) -> Vectors:
    return np.asarray(np.linalg.norm(vectors - vectors[center], axis=1))


def _typicality(vectors: Vectors, i: int, members: list[int], neighbors: int) -> float:
    others = [j for j in members if j != i]
    if not others:
        return 0.0
    near = np.sort(np.linalg.norm(vectors[others] - vectors[i], axis=1))[:neighbors]
    return 1 / (float(near.mean()) + 1e-9)


def _next_group(names: list[str], of: NDArray[Any], taken: set[str]) -> int:
    """The group with the fewest labels, and of those the largest, that has a scan left."""
    groups: list[int] = of.tolist()
    sizes = Counter(groups)
    covered = Counter(group for name, group in zip(names, groups, strict=True) if name in taken)
    left = [group for group in sizes if covered[group] < sizes[group]]
    return min(left, key=lambda group: (covered[group], -sizes[group], group))

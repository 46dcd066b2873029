"""The selection guide: which method suits which data, one rule after the other, to be read and disputed.

Points are points of Dice, guessed: they are added to what figures promise (``rank.py``). A rule says on
which evidence it stands; where that is a paper or our reading, nobody has measured it here yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from semiseg.advice.situation import Situation

SHORTEST = 600
"""Iterations below which unlabeled scans hurt: with 500 on the left atrium a mean teacher lost 10 points, and
on the hippocampus nothing gained; with 600 they helped on cardiac MRI."""

SHAPE = ("dtc", "sassnet")
"""Methods that learn signed distances, and so the shape of whole structures."""
AVERAGED = ("mean_teacher", "ua_mt", "ict", "upc", "tcsm")
"""Methods whose consistency is a mean over (nearly) all voxels."""
UNSURE = ("ac_mt", "low_confidence")
"""Methods whose consistency is a mean over the uncertain voxels only."""


@dataclass(frozen=True)
class Rule:
    """``points`` for ``methods`` (empty: all but supervised) where ``when`` holds."""

    when: Callable[[Situation], bool]
    methods: tuple[str, ...]
    points: float
    why: str
    evidence: str

    def applies(self, method: str, situation: Situation) -> bool:
        """Whether the rule speaks of this method here."""
        named = method in self.methods if self.methods else method != "supervised"
        return named and self.when(situation)


# fmt: off
RULES = (
    # How many scans
    Rule(lambda s: s.unlabeled == 0, (), -100, "there is no unlabeled scan to learn from", "by definition"),
    Rule(lambda s: 0 < s.unlabeled < s.labeled, (), -0.5,
         "fewer unlabeled scans than labeled ones: little to gain",
         "measured: on the hippocampus 160 labels give 2.7 Dice more than 8"),
    Rule(lambda s: s.labeled == 1, ("sassnet",), -1.0,
         "one labeled scan is too few for a critic to know the shape",
         "our reading; published with 8 labeled scans and more"),
    Rule(lambda s: s.labeled == 1, ("low_confidence", "dycon"), -0.5,
         "features of a class are learned from a single labeled scan", "our reading"),
    Rule(lambda s: s.labeled == 1, ("unimatch",), -0.3,
         "with one labeled scan its runs are unstable",
         "users of the authors' code: 15 Dice instead of 85 in another run"),
    Rule(lambda s: s.labeled == 1, ("bcp", "sdcl", "abd_bcp"), -0.3,
         "one labeled scan: all that is pasted into labeled images is of itself", "by construction"),
    Rule(lambda s: s.labeled <= 8, ("traco_co",), -0.3,
         "with few labels both networks may agree on nothing: try weight=0.3", "the released code"),
    Rule(lambda s: s.labeled >= 20 and s.unlabeled >= 10 * s.labeled, ("self_training",), +0.5,
         "very many unlabeled scans and a teacher that knows enough",
         "FLARE22: 50 labeled and 2000 unlabeled scans"),
    Rule(lambda s: s.labeled <= 2, ("self_training",), -0.5,
         "so few labels teach a teacher whose mistakes are learned again", "our reading"),
    # What is in the scans
    Rule(lambda s: s.dim == 3 and s.classes == 2 and 0 < s.labels.pieces <= 1.5, SHAPE, +0.3,
         "one compact structure in 3D, for which it was made", "papers: left atrium, pancreas"),
    Rule(lambda s: s.labels.pieces > 3, SHAPE, -1.0,
         "distances suit one compact structure, not many pieces", "our reading; published on organs only"),
    Rule(lambda s: s.labels.absent > 0.2, SHAPE, -0.5,
         "some class is missing in many scans: its distance says nothing",
         "papers' codes: a missing class is the known weak spot"),
    Rule(lambda s: s.classes > 2, SHAPE, -0.3,
         "published for one structure; for several it is our reading", "papers and codes"),
    Rule(lambda s: s.labels.rarest_share < 0.002, AVERAGED, -0.3,
         "the rarest class is tiny: a mean over all voxels is background", "our reading"),
    Rule(lambda s: s.labels.rarest_share < 0.002, UNSURE, +0.3,
         "the rarest class is tiny: it counts uncertain voxels only",
         "our reading; published on organs only"),
    Rule(lambda s: s.labels.rarest_share < 0.002, ("dycon",), -0.3,
         "tiny structures may vanish: its entropy term makes sure of them", "the released code; our reading"),
    Rule(lambda s: s.classes > 5 and s.labels.rarest_share < 0.002, ("dhc",), +0.3,
         "many classes and a tiny one: its weights favor the rare and the hard",
         "paper: 13 and 15 organs; two runs on phantoms of 13 classes disagree"),
    Rule(lambda s: s.classes == 2, ("dhc",), -0.5,
         "made for many classes; with one structure its weights say little", "our reading"),
    Rule(lambda s: s.labels.rarest_share < 0.002, ("unimatch", "crossmatch"), -0.5,
         "the rarest class is tiny: of it the network is never sure", "the authors' code; our reading"),
    Rule(lambda s: s.labels.rarest_share < 0.002, ("ad_mt", "traco_co"), -0.3,
         "the rarest class is tiny: only sure voxels are taught, and it has few", "our reading"),
    # Dimension
    Rule(lambda s: s.dim == 2, SHAPE, -0.3, "published in 3D only", "papers"),
    Rule(lambda s: s.dim == 2, ("ict",), +0.3, "its paper on segmentation is on 2D slices", "paper"),
    Rule(lambda s: s.dim == 2, ("tcsm",), +0.3, "made for turned and flipped 2D images", "paper"),
    Rule(lambda s: s.dim == 3, ("tcsm", "unimatch", "abd", "abd_bcp"), -0.3,
         "published in 2D only", "papers and codes"),
    Rule(lambda s: s.dim == 2 or s.classes > 2, ("tcseg",), -0.3,
         "published for one structure in 3D; anything else is our reading", "paper and code"),
    # The batch and the network
    Rule(lambda s: s.batch < 4, ("ict",), -0.5,
         "one unlabeled patch per step: nothing to mix it with", "by construction"),
    Rule(lambda s: s.batch < 4, ("ad_mt",), -0.3,
         "one unlabeled patch per step: half its turns mix nothing", "by construction"),
    # The method itself
    Rule(lambda s: True, ("dycon",), -0.3,
         "its released training reads labels of unlabeled scans; ours not",
         "the released code, confirmed by its authors"),
    Rule(lambda s: True, ("sdcl",), -0.3,
         "published above full supervision, of weights chosen on test scans", "the released code"),
    Rule(lambda s: True, ("low_confidence",), -0.3,
         "our reading of an abstract, without a published figure", "no code and no figures exist"),
)
# fmt: on

"""Watches what the exported network predicts on unlabeled scans: a class that vanishes or doubles there.

A consistency term is smallest where all predictions agree, and they agree best on nothing. Training losses
do not show it: that of the labeled patches stays good, and that of the unlabeled ones becomes better. So, now
and then, the exported network predicts random crops of labeled and of unlabeled scans, all drawn alike
(training itself draws labeled crops around foreground more often), and the share of each class among their
voxels is compared with its share in the labels.

No random number is drawn from torch's generators, no weight and no mode of a layer is left changed, and what
the judgement remembers is part of the training state: a resumed run sees and says what an undisturbed one
does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from semiseg.core import Batch, Head
from semiseg.inference.predictor import evaluating
from semiseg.runs.events import SHARE_PREFIX
from semiseg.training.trained import eager

VANISHED = 4.0
"""A share this many times smaller than in the labels is a vanished class, after what chance may do."""
DOUBLED = 2.0
HEALTHY = 0.5
"""Of the way (in logarithms) from equal shares to an alarm: up to there weights are kept as healthy ones."""
CHECKS = 20
"""Of a run, at most."""
BUDGET = 0.02
"""Crops per trained patch. A pass without gradient takes a third of a trained patch, its making comes on top:
about 1 % of the time."""
FEWEST, MOST = 6, 48
"""Crops of one check, a third of them labeled."""
POOLED = 32
"""Unlabeled crops that are judged together; where one check has fewer, the last ones are pooled."""
EXPECTED = 6.0
"""Unlabeled crops that should show a class, by how often labeled ones do; with fewer it is not judged."""
LEARNED = 0.5
"""Dice on the labeled crops from which on a class counts as learned; before, its shares are chance."""
KNOWN = 0.9
"""Of the voxels of labeled crops; with fewer (scribbles) the labels' shares say nothing about whole crops,
and the predictions on labeled crops take their place."""

KINDS = ("labels", "labeled", "unlabeled")


class Cadence(NamedTuple):
    """How often to look, and at how much."""

    every: int
    """Iterations."""
    labeled: int
    """Crops of one probe; there are twice as many unlabeled ones."""
    probes: int
    """Of one check."""

    @property
    def pooled(self) -> int:
        """Checks that are judged together."""
        return math.ceil(POOLED / (2 * self.labeled * self.probes))


def cadence(total: int, patches: int, log_every: int) -> Cadence:
    """Checks that take about 1 % of a run's time."""
    labeled = max(patches // 3, 1)
    every = max(total // CHECKS, math.ceil(max(FEWEST, 3 * labeled) / (BUDGET * patches)), 1)
    every = math.ceil(every / log_every) * log_every
    crops = min(max(int(BUDGET * patches * every), FEWEST), max(MOST, 3 * labeled))
    return Cadence(every, labeled, max(crops // (3 * labeled), 1))


class Shares(NamedTuple):
    """What one check saw; a row per crop, a column per class without background, in [0, 1]."""

    labels: Tensor
    labeled: Tensor
    """Predicted."""
    unlabeled: Tensor
    """Predicted."""
    overlap: Tensor
    """Predicted where the label says so, of labeled crops."""
    known: float
    """Share of labeled voxels that have a label."""


@dataclass(frozen=True)
class Finding:
    """A class that vanished or doubled on unlabeled scans; shares of all voxels, in [0, 1]."""

    name: str
    kind: str
    """``vanished`` or ``doubled``."""
    step: int
    labels: float
    """In the labels of labeled crops."""
    labeled: float
    """Predicted on labeled crops."""
    unlabeled: float
    """Predicted on unlabeled crops."""
    was_healthy: bool
    """Whether it was there in a sound share before."""

    @property
    def text(self) -> str:
        """One line for people."""
        return (
            f"{self.name} has {self.kind} on unlabeled scans: {_percent(self.unlabeled)} of their voxels "
            f"(labeled scans: {_percent(self.labeled)}, in their labels {_percent(self.labels)}); "
            f"a collapse{'' if self.was_healthy else ', unless the scans differ so much'}"
        )


@dataclass
class Judge:
    """What the checks so far say of each class. Plain numbers, so that a checkpoint holds them."""

    names: Sequence[str]
    spread: Sequence[float]
    pooled: int
    settled: int
    last: int
    stage: str = ""
    window: deque[dict[str, list[float]]] = field(init=False)

    def __post_init__(self) -> None:
        self.window = deque(maxlen=self.pooled)
        self.crops = 0  # labeled ones, of the whole run: labels do not change
        self.label_sums = [0.0] * len(self.names)
        self.with_class = [0.0] * len(self.names)
        self._forget()
        self.findings: list[Finding] = []
        self.healthy = False

    def _forget(self) -> None:
        """A stage may begin with fresh weights: nothing is known of them."""
        self.window.clear()
        self.learned = [False] * len(self.names)
        self.was_healthy = [False] * len(self.names)
        self.alarms = [0] * len(self.names)

    def add(self, shares: Shares, step: int, stage: str) -> list[Finding]:
        """Judge after one more check; what is found for the first time."""
        if stage != self.stage:
            self.stage = stage
            self._forget()
        self._remember(shares)
        ratios = [self._ratio(k) for k in range(len(self.names))]
        bad = [self._judge(k, step) for k in range(len(self.names))]
        self.healthy = any(self.was_healthy) and not any(
            self.was_healthy[k] and self._distance(k, ratio[0], latest) > HEALTHY
            for k, (ratio, latest) in enumerate(zip(ratios, self._latest(), strict=True))
            if ratio is not None
        )
        new = [found for found in bad if found and all(found.name != f.name for f in self.findings)]
        self.findings += new
        return new

    @property
    def collapsed(self) -> bool:
        """Whether a class that was there in a sound share has vanished or doubled."""
        return any(found.was_healthy for found in self.findings)

    def values(self) -> dict[str, float]:
        """``share/KIND/CLASS`` of the last checks; kinds are :data:`KINDS`."""
        return {
            f"{SHARE_PREFIX}{kind}/{name}": self._mean(kind, k)
            for k, name in enumerate(self.names)
            for kind in KINDS
        }

    def _remember(self, shares: Shares) -> None:
        self.crops += len(shares.labels)
        here = shares.labels if shares.known >= KNOWN else shares.labeled
        self.label_sums = _plus(self.label_sums, here.sum(0))
        self.with_class = _plus(self.with_class, (shares.labels > 0).sum(0))
        self.window.append(
            {
                **{name: getattr(shares, name).mean(0).tolist() for name in KINDS},
                "overlap": shares.overlap.mean(0).tolist(),
                "squares": shares.unlabeled.square().mean(0).tolist(),
                "crops": [float(len(shares.unlabeled))],
            }
        )

    def _mean(self, kind: str, k: int, last: int | None = None) -> float:
        checks = list(self.window)[-(last or self.pooled) :]
        return sum(check[kind][k] for check in checks) / max(len(checks), 1)

    def _ratio(self, k: int, last: int | None = None) -> tuple[float, float] | None:
        """Share on unlabeled crops of the last checks / share in all labels seen, and its standard error.

        None where too little is known: no label, or too few crops that should show the class.
        """
        crops = sum(check["crops"][0] for check in list(self.window)[-(last or self.pooled) :])
        if self.label_sums[k] <= 0 or crops * self.with_class[k] / self.crops < EXPECTED:
            return None
        mean, square = self._mean("unlabeled", k, last), self._mean("squares", k, last)
        error = math.sqrt(max(square - mean * mean, 0.0) / max(crops - 1, 1))
        expected = self.label_sums[k] / self.crops
        return mean / expected, error / expected

    def _latest(self) -> list[float]:
        means = [max(total, 1e-12) / max(self.crops, 1) for total in self.label_sums]
        return [share / mean for share, mean in zip(self.window[-1]["unlabeled"], means, strict=True)]

    def _judge(self, k: int, step: int) -> Finding | None:
        found = self._ratio(k)
        if found is None:
            return None
        size = self._mean("labeled", k) + self._mean("labels", k)
        self.learned[k] = self.learned[k] or 2 * self._mean("overlap", k) > LEARNED * size
        if not self.learned[k] and step < self.last:
            return None
        ratio, error = found
        if self.learned[k] and self._distance(k, ratio) <= HEALTHY:
            self.was_healthy[k] = True
        vanished, doubled = self._vanished(k), ratio - error > DOUBLED * self._slack(k)
        self.alarms[k] = self.alarms[k] + 1 if vanished or doubled else 0
        sure = self.alarms[k] >= 2 or (self.alarms[k] and step >= self.last)
        if not sure or not (self.was_healthy[k] or step >= self.settled):
            return None
        means = (self.label_sums[k] / self.crops, self._mean("labeled", k), self._mean("unlabeled", k))
        kind = "vanished" if vanished else "doubled"
        return Finding(self.names[k], kind, step, *means, was_healthy=self.was_healthy[k])

    def _vanished(self, k: int) -> bool:
        """In all pooled checks, or in the last of them: nothing at all is soon beyond doubt."""
        ratios = (self._ratio(k, last) for last in range(1, len(self.window) + 1))
        return any(sum(found) < 1 / (VANISHED * self._slack(k)) for found in ratios if found)

    def _slack(self, k: int) -> float:
        return 1 + 2 * self.spread[k]

    def _distance(self, k: int, *ratios: float) -> float:
        """How far the worst of the ratios is from 1, as a part of the way to an alarm."""
        slack = self._slack(k)
        ways = [math.log(max(ratio, 1e-9)) for ratio in ratios]
        return max(
            way / math.log(DOUBLED * slack) if way > 0 else -way / math.log(VANISHED * slack) for way in ways
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the next judgement depends on."""
        kept = ("stage", "crops", "label_sums", "with_class", "learned", "was_healthy", "alarms", "healthy")
        return {
            **{name: getattr(self, name) for name in kept},
            "window": list(self.window),
            "findings": [asdict(found) for found in self.findings],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        for name, value in state.items():
            if name not in ("window", "findings"):
                setattr(self, name, value)
        self.window = deque(state["window"], maxlen=self.pooled)
        self.findings = [Finding(**found) for found in state["findings"]]


class CollapseMonitor:
    """Looks at crops with the exported network, and keeps a :class:`Judge`."""

    def __init__(
        self,
        probe: Callable[[int], Batch],
        names: Sequence[str],
        spread: Sequence[float],
        plan: Cadence,
        total: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        head: Head | None = None,
    ) -> None:
        self.head = head or Head(len(names) + 1)
        self.probe, self.plan, self.autocast = probe, plan, autocast
        self.judge = Judge(names, spread, plan.pooled, settled=total // 2, last=total)

    def due(self, step: int, *, ends: bool) -> bool:
        """Whether to look after this iteration; ``ends``: it is the last one of a stage."""
        return ends or step % self.plan.every == 0

    def check(self, fabric: Fabric, network: nn.Module, step: int, stage: str) -> list[Finding]:
        """Look and judge; rank 0 looks, all ranks judge. What is found for the first time."""
        mine = self._look(network, step) if fabric.global_rank == 0 else None
        shares: Any = fabric.broadcast(mine)
        return self.judge.add(shares, step, stage)

    def _look(self, network: nn.Module, step: int) -> Shares:
        first = step * self.plan.probes  # other crops each time, and the same ones after a resume
        head, found = self.head, []
        with evaluating([network]), torch.no_grad(), eager():
            for number in range(first, first + self.plan.probes):
                batch = self.probe(number)
                with self.autocast():
                    logits = [network(x).logits for x in (batch.x_l, batch.x_u["weak"])]
                labeled, unlabeled = (head.targets(head.decide(z, 1, over=0.0)) for z in logits)
                found.append(_shares_of(batch.y_l, labeled, unlabeled, head))
        y, p, q, overlap, known = (torch.cat(each).cpu() for each in zip(*found, strict=True))
        return Shares(y, p, q, overlap, float(known.mean()))

    def report(self) -> dict[str, Any]:
        """For the manifest: the shares of each class at the last check, and every finding."""
        values = self.judge.values()
        return {
            "class_shares": {
                name: {kind: round(values[f"{SHARE_PREFIX}{kind}/{name}"], 6) for kind in KINDS}
                for name in (self.judge.names if self.judge.window else ())
            },
            "collapse": [asdict(found) for found in self.judge.findings],
        }


def share_spread(labels: Sequence[Tensor], head: Head) -> list[float]:
    """Relative standard error of each structure's mean share among labeled scans; 0.5 with one scan.

    Args:
        labels: (*S) classes of each labeled scan, or a part of its voxels.
        head: what the structures are.
    """
    targets = [head.targets(label[None]) for label in labels]
    shares = torch.cat([_shares(head.structures(y), head.known(y)) for y in targets]).double()
    if len(shares) < 2:
        return [0.5] * shares.shape[1]
    error = shares.std(0) / math.sqrt(len(shares))
    return [float(value) for value in error / shares.mean(0).clamp_min(1e-12)]


def _shares_of(y: Tensor, labeled: Tensor, unlabeled: Tensor, head: Head) -> tuple[Tensor, ...]:
    known, everywhere = head.known(y), head.known(unlabeled)
    whole = bool(known.float().mean() >= KNOWN)
    both = (ours & truth for ours, truth in zip(head.structures(labeled), head.structures(y), strict=True))
    return (
        _shares(head.structures(y), known),
        _shares(head.structures(labeled), known if whole else torch.ones_like(known)),
        _shares(head.structures(unlabeled), everywhere),
        _shares(both, known),
        known.float().mean().reshape(1),
    )


def _shares(masks: Iterable[Tensor], known: Tensor) -> Tensor:
    """(N, structures): share of each mask among the known voxels of each crop (N, *S)."""
    voxels = known.flatten(1).sum(1).clamp_min(1)
    return torch.stack([(mask & known).flatten(1).sum(1) / voxels for mask in masks], 1)


def _plus(sums: Sequence[float], more: Tensor) -> list[float]:
    return [a + float(b) for a, b in zip(sums, more, strict=True)]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"

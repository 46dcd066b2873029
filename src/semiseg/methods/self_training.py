"""Self-training: whole scans predicted, the reliable ones learned from, and all of it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from semiseg.core import Batch, Clock, Method, NetFactory, PseudoLabels, Stage, Update
from semiseg.errors import UsageError
from semiseg.losses import dice_ce
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Amount, Count, Length, Share


class SelfTraining(Method):
    """Label the unlabeled scans, train again, repeat.

    ``L = 0.5 (CE + Dice)(net([x_l, x_u]), [y_l, q])`` over known voxels, q what the network of the round
    before says of the whole scan: nothing where it is unsure, and only scans of which it is sure on the
    whole.

    The recipe that won FLARE22 (Huang et al. 2022, doi:10.1007/978-3-031-23911-3_16), with the fine-tuning on
    labels of Naive-Student (Chen et al. 2020, arXiv:2005.10266) and AbdomenCT-1K: no release is followed line
    by line. The run is divided into equal parts: ``teacher``, which is supervised training, then ``round1``,
    ``round2`` and so on. Give it so many times the iterations of supervised training.

    Before a round every unlabeled scan is predicted with the run's sliding window, post-processing included,
    in eval mode, by the network as it stands: the best of all parts so far where there is a validation list.
    Run folders keep what was predicted (``pseudo_labels``) as label maps to look at, and why a scan was left
    out. A round begins with new weights and augmentation is its noise; its last part sees labels alone, at
    the learning rate that the schedule has left: with ``poly``, an eighth of the first one or less. What is
    exported is the best network of all parts on the validation list, else the last.

    With ``student`` the last round trains another network, for example a small and fast one. The run reports
    Dice and seconds per scan of both. With ``folds`` the first part is divided into that many, each of which
    trains a network without its share of the labeled scans; the first round learns from the mean of their
    probabilities, as FLARE22's winner did with five, and later ones from a single network. Each of the equal
    parts then needs the iterations of supervised training: ``folds`` + ``rounds`` times. Soft labels are
    left out.

    Args:
        rounds: after the supervised one; 0 is supervised training, bit for bit.
        folds: networks that teach the first round together, each without its share of the labels; 1 is one
            network of all labels.
        start: of a round: ``scratch``, or ``continue`` with the weights of the round before, which is cheaper
            and holds on to its mistakes.
        scans: by which value scans are left out: ``mean_confidence`` of the predicted foreground;
            ``round_change`` of the labels (from the second round on; FLARE22); ``fold_disagreement`` between
            the ``folds`` (in the first round; it predicts twice); ``volume_prior``, the class whose volume
            is furthest from the median of the labeled scans; mean ``entropy`` in the box around the
            foreground; ``entropy_sum``, which leaves out the most certain scans (nnFilterMatch); or ``none``.
            Where one says nothing, ``mean_confidence`` stands in.
        keep: share of the scans that stay, at least four.
        voxels: by which threshold voxels are left out: one for each class, the ``quantile`` of its
            confidences; one for all (``fixed``); or ``none``.
        quantile: share of a class that is left out at most.
        threshold: confidence from which a voxel stays; of ``quantile`` the largest threshold.
        weight: of a voxel of an unlabeled scan, beside 1 of a labeled one.
        weight_by: ``confidence`` multiplies it by the confidence that the voxel's class had; ``none``.
        finetune: last part of each round, which sees labels alone.
        student: another network, by name, for the last round.
        student_options: its options.
        student_view: view of the unlabeled scans; ``strong`` is more noise.
        include_background: count class 0 in the Dice term.
    """

    facts = Facts(
        title="Self training",
        family="Baselines",
        papers=(Paper("Noisy Student", "Xie, Luong, Hovy & Le", "CVPR", 2020, "arXiv:1911.04252"),),
        networks=1,
        trained=1,
        work=1.0,
    )

    regions = True
    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        rounds: Count = 2,
        folds: Length = 1,
        start: Literal["scratch", "continue"] = "scratch",
        scans: Literal[
            "mean_confidence",
            "round_change",
            "fold_disagreement",
            "volume_prior",
            "entropy",
            "entropy_sum",
            "none",
        ] = "mean_confidence",
        keep: Share = 0.9,
        voxels: Literal["quantile", "fixed", "none"] = "quantile",
        quantile: Share = 0.2,
        threshold: Share = 0.9,
        weight: Amount = 1.0,
        weight_by: Literal["none", "confidence"] = "none",
        finetune: Share = 0.1,
        student: str | None = None,
        student_options: Mapping[str, Any] | None = None,
        student_view: Literal["weak", "strong"] = "weak",
        include_background: bool = True,
    ) -> None:
        super().__init__()
        require_folds(folds, rounds, scans)
        self.make_net = make_net
        self.net = make_net()
        self.start, self.finetune, self.student_view = start, finetune, student_view
        self.include_background = include_background
        self.weight, self.weighted = weight, weight != 1.0 or weight_by != "none"
        self.views = (student_view,) if rounds else ()
        if student is not None and rounds:
            self.student = make_net(network=student, **(student_options or {}))
            self.trainable, self.predictor = ("net", "student"), "student"
            self.compared = ("net", "student")
        labels = PseudoLabels(scans, keep, voxels, quantile, threshold, confidence=weight_by == "confidence")
        self.stages = (*self._first(rounds, folds), *self._later(rounds, folds, labels))

    def _first(self, rounds: int, folds: int) -> list[Stage]:
        """Supervised training: of one network, or of one after the other for each fold."""
        if not rounds:
            return [Stage()]
        part = Stage("teacher", 1.0 / (rounds + folds), unlabeled=False, network="net")
        if folds == 1:
            return [part]
        names = [f"fold{k}" for k in range(1, folds + 1)]
        for name in names:
            setattr(self, name, self.make_net().requires_grad_(False))
        return [
            part._replace(name=name, fold=(place, folds), keep_as=name, start_from="best")
            for place, name in enumerate(names)
        ]

    def _later(self, rounds: int, folds: int, labels: PseudoLabels) -> list[Stage]:
        """The rounds; what several networks say together is no rival of the first one's."""
        share = 1.0 / (rounds + folds)
        stages = [
            Stage(f"round{k}", share, start_from="best", pseudo=labels, rival=True, network="net")
            for k in range(1, rounds + 1)
        ]
        if rounds and folds > 1:
            teachers = tuple(f"fold{k}" for k in range(1, folds + 1))
            stages[0] = stages[0]._replace(teachers=teachers, rival=False)
        if self.compared:
            stages[-1] = stages[-1]._replace(network="student", rival=False)
        return stages

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """One pass of labeled and pseudo-labeled scans, one update."""
        x, y = batch.x_l, batch.y_l
        voxels: Tensor | None = None
        taught = batch.pseudo is not None and t.stage.startswith("round") and t.fraction < 1.0 - self.finetune
        if taught and batch.pseudo is not None:
            x_u = batch.x_u[self.student_view]
            if self.weighted:
                sure = torch.ones_like(x_u[:, 0]) if batch.confidence is None else batch.confidence
                voxels = torch.cat([torch.ones_like(x[:, 0]), self.weight * sure])
            x, y = torch.cat([x, x_u]), torch.cat([y, batch.pseudo])
        on = self.trainable[-1] if t.stage == self.stages[-1].name else "net"
        net: nn.Module = getattr(self, on)
        loss = dice_ce(net(x).logits, y, include_background=self.include_background, voxels=voxels)
        yield Update(loss, on=on)

    def on_stage_start(self, name: str) -> None:
        """New weights for a round that is to begin with some."""
        again = name.startswith("fold") or (name.startswith("round") and self.start == "scratch")
        if again and name != self.stages[0].name and not (self.compared and name == self.stages[-1].name):
            self.net.load_state_dict(self.make_net().state_dict())


def require_folds(folds: int, rounds: int, scans: str) -> None:
    """Compare options that need one another.

    Raises:
        UsageError: folds without a round that learns from them, or their disagreement without folds.
    """
    if folds > 1 and not rounds:
        raise UsageError(f"folds={folds} teach nobody: rounds=0", hint="use one round at least, or folds=1")
    if scans == "fold_disagreement" and folds == 1:
        raise UsageError(
            "scans=fold_disagreement needs several networks, and folds=1",
            hint="use --set method.options.folds=5, or another value of scans",
        )

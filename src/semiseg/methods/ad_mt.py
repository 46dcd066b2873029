"""AD-MT: two teachers, averages of one student in turns, vote on the classes that it learns."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal, Unpack

import torch
from torch import Tensor, nn

from semiseg.core import Batch, Clock, NetFactory, Update
from semiseg.losses import cross_entropy, dice_loss
from semiseg.methods._bases import CommonOptions, Ramped
from semiseg.methods._facts import Facts, Paper
from semiseg.methods.parts.cutmix import Taught, draw_beta_boxes, paste
from semiseg.methods.parts.prototypes import has_batch_norm
from semiseg.schedules import ema_update
from semiseg.settings.options import Amount, Count, Length, Share


class ADMT(Ramped):
    """One student with two teachers that take turns at random.

    ``L = 0.5 (CE + Dice)(p(x_l), y_l) + w(k) CE(p(v), q; c >= tau)`` with q and c class and confidence of
    ``m = o p1 + (1 - o) p2``, ``o = e^(-H(p1)) / (e^(-H(p1)) + e^(-H(p2)))``, p1, p2 the teachers on the weak
    view and H their entropy in bits; v is the strong view in turns of the first teacher, the cut-mixed weak
    view in those of the second.

    Two teachers of one student: in turns of random length one is averaged, and says how the student sees.

    Where the teachers disagree, the student's class wins if it is another one and the student is surer. The
    teacher whose turn it is answers in train mode, the other in eval mode; it alone follows the student,
    buffers included, as a copy for the first ``ema_warmup`` iterations. All three begin with their own random
    weights.

    The released code mixes the vote's classes but not the student's. Inside of a pasted box the student's
    class of another image may then win. Here it votes before anything is mixed; ``student_vote="unmixed"``
    is the released form. Where no voxel is sure the released cross-entropy is NaN, ours 0. Its checkpoints
    for the left atrium and the pancreas are chosen on test scans; ours are not. Without batch norm the
    student's own answer has a pass without a gradient, and the work is 1.5.

    Args:
        make_net: returns a fresh network, with other first weights each time.
        tau: confidence from which a voxel counts (0.95 on ACDC).
        unlabeled_loss: ``ce``, the mean over sure voxels; or ``dice`` of these, as on ACDC.
        longest_turn: iterations; published are those of half a pass over the unlabeled scans: 19 on the left
            atrium, 14 on the pancreas, 50 on ACDC.
        decay: EMA decay.
        ema_warmup: iterations in which the teacher whose turn it is becomes a copy (100 on ACDC).
        teachers: their first weights: ``random``, or the ``student``'s.
        student_vote: ``aligned``, or ``unmixed`` as released, see above.
        predict_with: the exported network: the student, or the first teacher.
    """

    facts = Facts(
        title="AD-MT",
        family="Mean teachers",
        papers=(Paper("AD-MT", "Zhao, Wang, Wang, Yu, Yuan & Zhou", "ECCV", 2024, "arXiv:2311.17325"),),
        networks=3,
        trained=1,
        views=("weak", "strong"),
        work=1.8,
    )

    partial = True

    def __init__(
        self,
        make_net: NetFactory,
        *,
        weight: Amount = 2.0,
        tau: Share = 0.8,
        unlabeled_loss: Literal["ce", "dice"] = "ce",
        longest_turn: Length = 19,
        decay: Share = 0.99,
        ema_warmup: Count = 80,
        teachers: Literal["random", "student"] = "random",
        student_vote: Literal["aligned", "unmixed"] = "aligned",
        predict_with: Literal["student", "teacher"] = "student",
        ramp: Length | None = None,
        **ramped: Unpack[CommonOptions],
    ) -> None:
        super().__init__(weight=weight, ramp=ramp, **ramped)
        self.net = make_net()
        self.teacher = make_net().requires_grad_(False)
        self.teacher2 = make_net().requires_grad_(False)
        if teachers == "student":
            for teacher in self.teachers:
                teacher.load_state_dict(self.net.state_dict())
        self.turns = Turns(longest_turn)
        self.tau, self.unlabeled_loss = tau, unlabeled_loss
        self.decay, self.ema_warmup, self.student_vote = decay, ema_warmup, student_vote
        self.predictor = "net" if predict_with == "student" else "teacher"
        self.views = ("weak", "strong")
        if student_vote == "unmixed":
            self.deviates(
                "ad_mt: the student votes on voxels of another image inside of pasted boxes, as released",
                as_published=True,
            )

    @property
    def teachers(self) -> tuple[nn.Module, nn.Module]:
        """Both."""
        return self.teacher, self.teacher2

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """Both teachers on the weak view, the student on [x_l, weak, v], one update."""
        weak, count = batch.x_u["weak"], len(batch.x_u["weak"])
        turn = self.turns.at(t.step)
        vote, conflict = agree(*self.ask(weak, turn))
        seen, mix = batch.x_u["strong"], None
        if turn == 1:
            boxes = draw_beta_boxes(count, weak.shape[2:], device=weak.device)
            order = torch.randperm(count).to(weak.device, non_blocking=True)
            seen, mix = paste(weak, weak[order], boxes), (boxes, order)

        z_l, z_w, z_v = self.answers(batch.x_l, weak, seen)
        target = self.fought(vote, conflict, Taught.of(z_w), mix)
        supervised = self.supervised(z_l, batch.y_l)
        sure = target.sure(self.tau)
        if self.unlabeled_loss == "ce":
            consistency = cross_entropy(z_v, sure)
        else:
            consistency = dice_loss(z_v.float().softmax(1), sure)
        disputed, kept = conflict.float().mean(), (target.confidence >= self.tau).float().mean()
        yield self.total(supervised, consistency, t, conflict=disputed, sure=kept)

    @torch.no_grad()
    def ask(self, x: Tensor, turn: int) -> list[Tensor]:
        """Logits (B, K, *S) of both teachers."""
        answers = []
        for place, teacher in enumerate(self.teachers):
            teacher.train(self.training and place == turn)
            answers.append(teacher(x).logits)
        return answers

    def answers(self, x_l: Tensor, weak: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The student's logits of all three, in one pass; the weak view apart where that is the same."""
        sizes = [len(x_l), len(weak), len(seen)]
        if has_batch_norm(self.net):
            z_l, z_w, z_v = torch.split(self.net(torch.cat([x_l, weak, seen])).logits, sizes)
            return z_l, z_w, z_v
        with torch.no_grad():
            z_w = self.net(weak).logits
        z_l, z_v = torch.split(self.net(torch.cat([x_l, seen])).logits, sizes[::2])
        return z_l, z_w, z_v

    def fought(
        self, vote: Taught, conflict: Tensor, student: Taught, mix: tuple[Tensor, Tensor] | None
    ) -> Taught:
        """The classes of the vote, with the student's where it overrules them, mixed like the images."""
        if mix is None:
            return overruled(vote, conflict, student)
        boxes, order = mix
        if self.student_vote == "aligned":
            vote = overruled(vote, conflict, student)
            return vote.pasted(vote.rows(order), boxes)
        mixed = vote.pasted(vote.rows(order), boxes)
        return overruled(mixed, torch.where(boxes, conflict[order], conflict), student)

    def after_step(self, t: Clock) -> None:
        """The teacher whose turn it is follows the student."""
        later = t.step - self.ema_warmup
        decay = 0.0 if later < 0 else min(1.0 - 1.0 / (later // 2 + 1), self.decay)
        ema_update(self.teachers[self.turns.at(t.step)], self.net, decay, buffers=True)


def agree(first: Tensor, second: Tensor) -> tuple[Taught, Tensor]:
    """The vote of two logits (B, K, *S), the surer one counting more, and where they disagree (B, *S)."""
    p1, p2 = (z.float().softmax(1) for z in (first, second))
    h1, h2 = (-(p * (p + 1e-10).log2()).sum(1, keepdim=True) for p in (p1, p2))
    share = torch.sigmoid(h2 - h1)
    confidence, classes = (share * p1 + (1.0 - share) * p2).max(1)
    return Taught(classes, confidence), p1.argmax(1) != p2.argmax(1)


def overruled(vote: Taught, conflict: Tensor, student: Taught) -> Taught:
    """The student's class where the teachers disagree, it has another one, and it is surer."""
    wins = conflict & (vote.classes != student.classes) & (student.confidence > vote.confidence)
    return vote.pasted(student, wins)


class Turns:
    """Whose turn it is, 0 or 1: each lasts for a number of iterations drawn uniformly from 1 to ``longest``.

    Args:
        longest: both ends of the interval can be drawn.
        seed: of the draws; None takes one from torch's generator, which a run seeds alike on all ranks and
            when it is resumed.
    """

    def __init__(self, longest: int, seed: int | None = None) -> None:
        self._longest = longest
        drawn = int(torch.randint(2**62, (), device="cpu")) if seed is None else seed
        self._generator = torch.Generator("cpu").manual_seed(drawn)
        self._ends: list[int] = []

    def at(self, step: int) -> int:
        """Whose turn an iteration is; the first one begins."""
        while not self._ends or self._ends[-1] <= step:
            self._ends.append((self._ends[-1] if self._ends else 0) + self._draw())
        return bisect_right(self._ends, step) % 2

    def _draw(self) -> int:
        return int(torch.randint(1, self._longest + 1, (), generator=self._generator, device="cpu"))

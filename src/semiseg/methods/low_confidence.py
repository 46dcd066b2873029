"""Low-Confidence Consistency: consistency on voxels of which the student is unsure, and class prototypes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semiseg.core import IGNORE, Batch, Clock, NetFactory, Update
from semiseg.errors import UsageError
from semiseg.losses import masked_mean, softmax_mse
from semiseg.methods._bases import Teacher, TeacherOptions, sum_over_ranks
from semiseg.methods._facts import Facts, Paper
from semiseg.settings.options import Amount, Count, Positive, Share


class LowConfidence(Teacher):
    """Mean Teacher on unsure voxels, with class prototypes.

    ``L = 0.5 (CE + Dice)(student(x_l), y_l) + w(k) [mean_A (p - q)^2 + eta mean_A separation(f, mu)]`` with
    p and q the softmax of student and teacher on x_u, ``A = [max p < tau]``, f the features of the student,
    mu the prototypes: moving averages of the teacher's features of labeled voxels, by class.

    The opposite choice of UA-MT, which learns where the teacher is sure. There is no public code, and the
    abstract fixes four things only: confidence is the largest probability, sure voxels are left out, a mean
    teacher gives the target of the outputs, features are drawn to prototypes. Everything else, every number
    included, is our reading, and the other readings are options; so its figures say nothing of the paper's.
    A voxel's class is the teacher's, so a class not yet seen among labels takes no part in the separation.

    Args:
        make_net: returns a fresh network; its features are the last map before the classifier.
        weight: w_max, the weight of both terms at the end of the ramp.
        separation_weight: eta.
        tau: confidence below which a voxel counts: more do with more classes, and none with 1 / K.
        confidence_from: ``student``, ``teacher``, or the smaller of ``either``.
        separation: ``contrastive`` (against the prototypes of the other classes), or ``pull`` alone.
        temperature: of ``contrastive``.
        momentum: of the prototypes.
        max_voxels: voxels per scan in the separation, drawn at random; 0 is no limit.
        noise: of the teacher's unlabeled input, clipped at twice its size.
    """

    facts = Facts(
        title="Low confidence",
        family="Mean teachers",
        papers=(Paper("LCC", "Gao & Yu", "ISBP", 2023, "doi:10.1109/ISBP57705.2023.10061306"),),
        networks=2,
        trained=1,
        views_if="strong, if ``student_view`` says so",
        work=1.3,
    )

    def __init__(
        self,
        make_net: NetFactory,
        *,
        separation_weight: Amount = 0.1,
        tau: Amount = 0.8,
        confidence_from: Literal["student", "teacher", "either"] = "student",
        separation: Literal["contrastive", "pull"] = "contrastive",
        temperature: Positive = 0.1,
        momentum: Share = 0.99,
        max_voxels: Count = 4096,
        **teacher: Unpack[TeacherOptions],
    ) -> None:
        super().__init__(make_net, **teacher)
        self.separation_weight, self.separation, self.temperature = separation_weight, separation, temperature
        self.tau, self.confidence_from, self.max_voxels = tau, confidence_from, max_voxels
        self.prototypes = Prototypes(momentum)

    def step(self, batch: Batch, t: Clock) -> Iterator[Update]:
        """The teacher on [x_l, x_u + noise], prototypes, the student on [x_l, x_u], one update."""
        n = len(batch.x_l)
        taught, memory = self.ask_with_features(torch.cat([batch.x_l, self.perturb(batch.x_u["weak"])]))
        classes = taught.argmax(1)
        self.prototypes.update(memory[:n], batch.y_l, classes[:n], taught.shape[1])

        student = self.net(torch.cat([batch.x_l, batch.x_u[self.student_view]]))
        logits, features = student.logits, student.features
        unsure = self.unsure(logits[n:].detach(), taught[n:])
        supervised = self.supervised(logits[:n], batch.y_l)
        difference = softmax_mse(logits[n:], taught[n:], reduction="none").mean(1, keepdim=True)
        consistency = masked_mean(difference, unsure, eps=1e-6)
        separation = self.separate(features[n:], classes[n:], unsure)
        consistency = consistency + self.separation_weight * separation
        yield self.total(supervised, consistency, t, separation=separation, unsure=unsure.float().mean())

    def unsure(self, logits: Tensor, taught: Tensor) -> Tensor:
        """A, (B, 1, *S): where the largest probability is below tau."""
        sources = {"student": [logits], "teacher": [taught], "either": [logits, taught]}[self.confidence_from]
        sure = torch.stack([z.float().softmax(1).amax(1, keepdim=True) for z in sources]).amin(0)
        return sure < self.tau

    def separate(self, features: Tensor, classes: Tensor, unsure: Tensor) -> Tensor:
        """The separation loss of at most ``max_voxels`` unsure voxels per scan."""
        features, classes, counts = features.flatten(2), classes.flatten(1), unsure.flatten(1)
        if 0 < self.max_voxels < classes.shape[1]:
            drawn = (torch.rand(counts.shape, device=counts.device) * counts).topk(self.max_voxels).indices
            features = features.gather(2, drawn[:, None].expand(-1, features.shape[1], -1))
            classes, counts = classes.gather(1, drawn), counts.gather(1, drawn)
        return class_separation(
            features,
            classes,
            counts,
            self.prototypes.mean,
            self.prototypes.seen,
            temperature=self.temperature,
            form=self.separation,
        )

    def ask_with_features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, *S) and last feature map (B, D, *S) of the teacher."""
        answer = self.answer(x)
        if answer.features is None:
            raise UsageError(
                "low_confidence needs the last feature map of the network, and this one gives none",
                hint="choose another network (`semiseg networks`), or return SegOutput(logits, features)",
            )
        return answer.logits, answer.features


class Prototypes(nn.Module):
    """One direction per class: the moving average of its voxels' features, each scaled to length 1.

    Sized by the first batch. A class keeps its prototype while it is absent; ``seen`` says which have one.

    Args:
        momentum: share of the old prototype in the new one.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(0, 0))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, target: Tensor, guess: Tensor, classes: int) -> None:
        """Learn from the voxels of each class that are guessed right, or from all of it if none is.

        Over all ranks: of features (B, D, *S), the labels and the predicted classes (B, *S).
        """
        if not self.mean.numel():
            self.mean = features.new_zeros((classes, features.shape[1]), dtype=torch.float32)
            self.seen = torch.zeros(classes, dtype=torch.bool, device=features.device)
        with torch.autocast(features.device.type, enabled=False):
            direction = F.normalize(features.float(), dim=1, eps=1e-12).movedim(1, -1).flatten(0, -2)
            right = _sums(direction, target.where(target == guess, IGNORE).flatten(), classes)
            every = _sums(direction, target.flatten(), classes)
        sums = sum_over_ranks(torch.stack([right, every]))
        chosen = torch.where(sums[0, :, -1:] > 0, sums[0], sums[1])
        new = F.normalize(chosen[:, :-1] / chosen[:, -1:].clamp_min(1.0), dim=1, eps=1e-12)
        present = (chosen[:, -1] > 0) & new.isfinite().all(1)  # a bad batch must not spoil the memory
        moved = F.normalize(self.momentum * self.mean + (1.0 - self.momentum) * new, dim=1, eps=1e-12)
        moved = torch.where(self.seen[:, None], moved, new)
        self.mean.copy_(torch.where(present[:, None], moved, self.mean))
        self.seen |= present

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("mean", "seen"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.zeros_like(saved, device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _sums(direction: Tensor, target: Tensor, classes: int) -> Tensor:
    """(K, D + 1): the sum of the directions of each class, and how many they are."""
    onehot = (target[:, None] == torch.arange(classes, device=target.device)).to(direction.dtype)
    return torch.cat([onehot.T @ direction, onehot.sum(0)[:, None]], dim=1)


FAR = -1e4
"""A similarity that no softmax counts, and that stays finite where it is the only one."""


def class_separation(
    features: Tensor,
    classes: Tensor,
    counts: Tensor,
    prototypes: Tensor,
    seen: Tensor,
    *,
    temperature: float = 0.1,
    form: Literal["contrastive", "pull"] = "contrastive",
    eps: float = 1e-6,
) -> Tensor:
    """How far voxels are from the prototype of their class, by the cosine of the angle, in float32.

    ``contrastive``: ``-log softmax_k(f . mu_k / T)`` at the voxel's class, over the classes seen so far;
    ``pull``: ``1 - f . mu``, in [0, 2]. Averaged over the voxels that count, 0 if none does.

    Args:
        features: (B, D, N), of any length each.
        classes: (B, N) int64 in [0, K).
        counts: (B, N), True where a voxel takes part; one of an unseen class does not.
        prototypes: (K, D) of length 1; get no gradient.
        seen: (K,) bool, which prototypes exist.
        temperature: T.
        form: see above.
        eps: added to the number of voxels.
    """
    with torch.autocast(features.device.type, enabled=False):
        direction = F.normalize(features.float(), dim=1, eps=1e-12)
        cosine = torch.einsum("bdn,kd->bkn", direction, prototypes.detach().float())
    if form == "pull":
        loss = 1.0 - cosine.gather(1, classes.unsqueeze(1)).squeeze(1)
    else:
        loss = F.cross_entropy(
            (cosine / temperature).masked_fill(~seen[:, None], FAR), classes, reduction="none"
        )
    weight = (counts & seen[classes]).to(loss.dtype)
    return (loss * weight).sum() / (weight.sum() + eps)

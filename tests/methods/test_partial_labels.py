"""Labels of some classes: a voxel that may be of several classes, in the losses and in the methods."""

from __future__ import annotations

import pytest
import torch

from semiseg import methods
from semiseg.core import IGNORE, Batch, Clock, Head
from semiseg.errors import UsageError
from semiseg.losses import cross_entropy, dice_ce, dice_loss_per_class
from tests.methods.tiny import batches, make

HEAD = Head(3)


def opened(labels: torch.Tensor, open_classes: list[int]) -> torch.Tensor:
    """Candidates of labels that say nothing of some classes."""
    candidates = HEAD.candidates(labels)
    either = [0, *open_classes]
    candidates[:, either] |= candidates[:, either].any(1, keepdim=True)
    return candidates


@pytest.fixture
def scored() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (2, 6, 6), generator=generator)
    labels[0, 0] = IGNORE
    return torch.randn(2, 3, 6, 6, generator=generator, requires_grad=True), labels


def test_a_class_that_nobody_labeled_counts_as_background(scored):
    """All that is known of such a voxel is that it is not of class 1."""
    logits, labels = scored
    candidates, p = opened(labels, [2]), logits.softmax(1)
    where, elsewhere = labels == 1, labels == 0
    entropy = -(p[:, 1][where].log().sum() + (1 - p[:, 1][elsewhere]).log().sum()) / (where | elsewhere).sum()
    torch.testing.assert_close(cross_entropy(logits, candidates), entropy)
    zero = torch.zeros(())
    maps = [p[:, 0].where(where, 1 - p[:, 1]), p[:, 1], p[:, 2].where(where, zero)]
    truths = [elsewhere, where, torch.zeros_like(where)]
    known = where | elsewhere
    wanted = [
        1 - (2 * (m * y).sum() + 1e-5) / (m[known].square().sum() + y.sum() + 1e-5)
        for m, y in zip(maps, truths, strict=True)
    ]
    per_class = dice_loss_per_class(p, candidates)
    torch.testing.assert_close(per_class, torch.stack(wanted))
    torch.testing.assert_close(dice_ce(logits, candidates), 0.5 * (entropy + per_class.mean()))


def test_where_nothing_is_known_nothing_is_learned(scored):
    logits, labels = scored
    loss = dice_ce(logits, HEAD.candidates(torch.full_like(labels, IGNORE)))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()


def losses(name: str, batch: Batch) -> list[torch.Tensor]:
    method = make(name, 2, 3)
    torch.manual_seed(1)
    found = []
    for update in method.step(batch, Clock(3, 10)):
        update.loss.backward()
        found.append(update.loss.detach())
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
    return found


@pytest.mark.parametrize("name", methods.names("partial"))
def test_methods_that_take_labels_of_some_classes(name):
    batch = batches(2, 3)(3)
    same = batch._replace(y_l=HEAD.candidates(batch.y_l), pseudo=HEAD.candidates(batch.pseudo))
    torch.testing.assert_close(losses(name, same), losses(name, batch))
    y = same.y_l.clone()
    y[:1] = opened(batch.y_l[:1], [1])
    fewer = losses(name, same._replace(y_l=y))
    assert all(loss.isfinite() for loss in fewer)
    assert fewer != losses(name, batch)


@pytest.mark.parametrize("name", sorted({*methods.names()} - {*methods.names("partial")}))
def test_other_methods_refuse(name):
    with pytest.raises(UsageError, match=f"'{name}' cannot train on labels of some classes"):
        methods.require_form(name, "partial")

"""What CrossMatch must do for every input."""

from __future__ import annotations

import pytest
import torch

from semiseg import methods
from semiseg.core import Clock
from semiseg.errors import UsageError
from semiseg.methods.crossmatch import CrossMatch
from semiseg.methods.parts import branches
from semiseg.methods.parts.branches import channel_dropout
from semiseg.methods.parts.cutmix import Taught
from semiseg.methods.unimatch import UniMatch
from tests.methods.tiny import TinyNet, batches


class Still(TinyNet):
    """Without dropout of its own; without batch norm if asked."""

    def __init__(self, dim, classes, *, norm=True):
        super().__init__(dim, classes)
        self.body[3] = torch.nn.Identity()
        if not norm:
            self.body[1] = self.deep[1] = torch.nn.Identity()


def method_of(dim=2, classes=3, *, norm=True, **options):
    torch.manual_seed(0)
    return CrossMatch(lambda: Still(dim, classes, norm=norm), **{"tau": 0.4, **options})


def step(method, batch, seed=0, k=1):
    torch.manual_seed(seed)
    (update,) = method.step(batch, Clock(k, 10))
    return update


@pytest.mark.parametrize("dim", [2, 3])
def test_nothing_dropped_makes_all_streams_the_clean_answer(dim):
    method = method_of(dim, cutmix=0.0)
    method.rates = (0.0, 0.0)
    batch = batches(dim, 3, edge=8, unlabeled=4)(0)
    _, z_w, weak, strong = method.answers(batch.x_l, batch.x_u["weak"][:2])
    assert torch.equal(weak, strong)
    torch.testing.assert_close(weak, z_w)
    sure = [Taught.of(z).sure(0.4) for z in (z_w, weak, strong)]
    assert torch.equal(sure[0], sure[1])
    assert torch.equal(sure[0], sure[2])


def test_of_the_weak_view_alone_the_streams_learn_what_unimatch_s_does():
    z, clean = (2 * torch.randn((2, 3, 6, 6), generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    taught = Taught.of(clean)
    method, other = method_of(), UniMatch(lambda: Still(2, 3), tau=0.4)
    torch.testing.assert_close(method.dice(z, taught.sure(0.4)), other.lesson(z, taught))


@pytest.mark.parametrize("include_background", [True, False])
def test_unsure_voxels_get_exactly_no_gradient(include_background):
    z, clean = (2 * torch.randn((2, 3, 6, 6), generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    taught = Taught.of(clean)
    tau = float(taught.confidence.median())
    z.requires_grad_()
    method_of(include_background=include_background).dice(z, taught.sure(tau)).backward()
    assert not z.grad[(taught.confidence < tau)[:, None].expand_as(z)].any()
    assert z.grad.any()


@pytest.mark.parametrize("norm", [True, False])
def test_the_clean_weak_view_has_no_gradient(norm, monkeypatch):
    method = method_of(norm=norm)
    seen = []
    classify = method.main.classify

    def note(features):
        logits = classify(features)
        if logits.requires_grad:
            logits.retain_grad()
            seen.append(logits)
        return logits

    monkeypatch.setattr(method.main, "classify", note)
    batch = batches(2, 3, unlabeled=4)(0)
    step(method, batch).loss.backward()
    own, strong = seen
    assert [len(own), len(strong)] == [2 + 2 + 4, 2 + 2 + 4]
    assert not own.grad[2:4].any()
    assert own.grad[:2].any()
    assert own.grad[4:].any()
    assert strong.grad.flatten(1).any(1).all()


def test_the_two_streams_may_be_exchanged(monkeypatch):
    monkeypatch.setattr(branches, "channel_dropout", lambda x, *, rate: x * (1 - rate / 2))
    method, batch = method_of(), batches(2, 3, unlabeled=4)(0)
    one = step(method, batch).loss
    method.rates = method.rates[::-1]
    torch.testing.assert_close(one, step(method, batch).loss)


def test_a_partner_without_batch_norm_has_one_pass():
    for norm, sizes in ((True, [2, 4, 4, 4]), (False, [2, 4, 4])):
        method, seen = method_of(norm=norm), []
        method.net.register_forward_hook(lambda net, x, y, seen=seen: seen.append(len(x[0])))
        step(method, batches(2, 3, unlabeled=4)(0))
        assert seen == sizes


def test_channels_are_scaled_so_that_their_mean_stays():
    x = torch.ones(1, 20000, 2, 2)
    for rate in (0.25, 0.75):
        torch.manual_seed(0)
        assert channel_dropout(x, rate=rate).mean().item() == pytest.approx(1.0, abs=0.05)


def test_nothing_sure_leaves_half_of_the_supervised_loss():
    update = step(method_of(tau=1.0), batches(2, 3, unlabeled=4)(0))
    assert update.loss.item() == pytest.approx(update.logs["supervised"].item() / 2, rel=1e-5)


def test_the_released_forms_are_named_and_differ():
    method = method_of(3, threshold="released", boxes="released", tau=0.75)
    assert len(method.deviations) == 2
    assert method.tau_at(Clock(0, 10)) == 0.75
    assert 0.52 < method.tau_at(Clock(1, 10)) < method.tau_at(Clock(17000, 17000)) < 0.7
    torch.manual_seed(0)
    assert method.draw(torch.zeros(8, 1, 8, 8, 8)).any()
    assert not method_of().deviations


@pytest.mark.parametrize("options", [{"eta": 1.5}, {"gap": -0.1}, {"boxes": "swapped"}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("crossmatch"), options)

"""What both forms of FixMatch must do for every input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods
from semiseg.core import Batch, Clock
from semiseg.errors import UsageError
from semiseg.losses import dice_ce
from semiseg.methods.fixmatch import FixMatch, complementary, concentration, released_pseudo_label
from tests.golden.replay import Answers
from tests.methods.tiny import TinyNet, batches

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 3)
forms = st.sampled_from(["masked", "released"])


def draw(seed: int, n: int, k: int, dim: int) -> torch.Tensor:
    return 2 * torch.randn((n, k, *[4] * dim), generator=torch.Generator().manual_seed(seed))


def answering(seed: int, k: int, dim: int, form: str, **options: object) -> tuple[FixMatch, Batch]:
    """A method whose network gives fixed logits to the weak and then to the strong view."""
    weak, strong = draw(seed, 3 if form == "masked" else 5, k, dim), draw(seed + 1, 5, k, dim)
    method = FixMatch(lambda: Answers(weak.numpy(), strong.numpy()), form=form, **options)
    return method, batches(dim, k, edge=4)(seed)


@few
@given(seeds, classes, dims, forms)
def test_pseudo_labels_have_no_gradient(seed, k, dim, form):
    method, batch = answering(seed, k, dim, form, weight=1.0, tau=0.3)
    (update,) = method.step(batch, Clock(10, 10))
    update.loss.backward()
    weak, strong = method.net.logits
    assert strong.grad[2:].abs().sum() > 0
    if form == "masked":
        assert weak.grad is None
        return
    z = weak.detach().clone().requires_grad_()
    (2 * dice_ce(z[:2], batch.y_l)).backward()
    torch.testing.assert_close(weak.grad, z.grad)


@few
@given(seeds, classes, dims)
def test_a_threshold_of_zero_takes_every_voxel(seed, k, dim):
    z = draw(seed, 2, k, dim)
    assert torch.equal(released_pseudo_label(z, 0.0), z.argmax(1))
    method, batch = answering(seed, k, dim, "masked", tau=0.0)
    (update,) = method.step(batch, Clock(10, 10))
    weak, strong = method.net.logits
    expected = torch.nn.functional.cross_entropy(strong[2:], weak.argmax(1))
    torch.testing.assert_close(update.logs["consistency"], expected.detach())
    assert update.logs["sure"].item() == 1


@few
@given(seeds, classes, dims)
def test_with_nothing_sure_the_default_is_supervised_and_the_released_form_teaches_background(seed, k, dim):
    assert not released_pseudo_label(draw(seed, 2, k, dim) * 1e-3, 0.8).any()
    method, batch = answering(seed, k, dim, "masked", tau=1.0, weight=1.0)
    (update,) = method.step(batch, Clock(10, 10))
    update.loss.backward()
    assert update.loss.item() == pytest.approx(update.logs["supervised"].item())
    assert not method.net.logits[1].grad[2:].any()


@few
@given(seeds, classes, dims)
def test_concentration_is_a_share(seed, k, dim):
    p = draw(seed, 2, k, dim).softmax(1)
    assert -1e-5 <= concentration(p).item() <= 1
    assert concentration(torch.full_like(p, 1 / k)).item() == pytest.approx(0, abs=1e-5)
    one = torch.full_like(p, 1e-12)
    one.flatten(2)[..., 0] = 1
    assert concentration(one).item() == pytest.approx(1, abs=1e-5)


@few
@given(seeds, classes, dims)
def test_the_complementary_term_lowers_the_least_likely_class(seed, k, dim):
    z, target = draw(seed, 2, k, dim).requires_grad_(), draw(seed + 1, 2, k, dim).requires_grad_()
    complementary(z, target).backward()
    assert target.grad is None
    assert (z.grad.gather(1, target.argmin(1, keepdim=True)) >= 0).all()


@pytest.mark.parametrize(("form", "sizes"), [("masked", [3, 5]), ("released", [5, 5])])
def test_each_view_has_its_own_pass(form, sizes):
    torch.manual_seed(0)
    method = FixMatch(lambda: TinyNet(2, 3), form=form)
    batch, seen = batches(2, 3)(0), []
    method.net.register_forward_hook(lambda _, x, __: seen.append(x[0]))
    list(method.step(batch, Clock(0, 10)))
    assert [len(x) for x in seen] == sizes
    assert torch.equal(seen[0][-3:], batch.x_u["weak"])
    assert torch.equal(seen[1][-3:], batch.x_u["strong"])


@pytest.mark.parametrize("options", [{"tau": 1.5}, {"weight": -1.0}, {"form": "ssl4mis"}, {"decay": 0.9}])
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(methods.find("fixmatch"), options)


@few
@given(seeds, st.integers(1, 3), dims)
def test_regions_are_taught_one_by_one(seed, k, dim):
    weak, strong = draw(seed, 3, k, dim), draw(seed + 1, 5, k, dim)
    method = FixMatch(lambda: Answers(weak.numpy(), strong.numpy()), tau=0.7, weight=1.0)
    method.activation = "sigmoid"
    batch = batches(dim, 2, edge=4)(seed)
    batch = batch._replace(y_l=batch.y_l[:, None].expand(-1, k, *batch.y_l.shape[1:]).to(torch.uint8))
    (update,) = method.step(batch, Clock(10, 10))
    p, z = weak.sigmoid(), strong[2:]
    sure = (p >= 0.7) | (p <= 0.3)
    entropy = -torch.where(p > 0.5, z.sigmoid().log(), (-z).sigmoid().log())
    torch.testing.assert_close(update.logs["consistency"], (entropy * sure).mean())
    torch.testing.assert_close(update.logs["sure"], sure.float().mean())


def test_the_released_form_refuses_regions():
    method = FixMatch(lambda: TinyNet(2, 3), form="released")
    method.activation = "sigmoid"
    with pytest.raises(UsageError, match="cannot train regions"):
        list(method.step(batches(2, 3)(0), Clock(0, 10)))

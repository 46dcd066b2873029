"""FeCL and UnCL for every input, not only those of the vectors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semiseg.core import IGNORE
from semiseg.losses import entropy_map
from semiseg.methods.dycon import contrast, uncl
from semiseg.methods.dycon.contrast import fecl, fecl_paper

few = settings(max_examples=20, deadline=None)


def unit(shape: tuple[int, ...], seed: int, spread: float = 1.0) -> Tensor:
    """Directions (B, D, N), closer to one another the smaller the spread."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(1.0 - spread + spread * torch.randn(shape, generator=generator), dim=1)


@st.composite
def scans(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of student and teacher (B, D, N), and labels (B, N)."""
    b, d, n = draw(st.integers(1, 3)), draw(st.integers(2, 5)), draw(st.integers(2, 9))
    seed, classes = draw(st.integers(0, 999)), draw(st.integers(1, 4))
    labels = torch.randint(0, classes, (b, n), generator=torch.Generator().manual_seed(seed))
    return unit((b, d, n), seed), unit((b, d, n), seed + 1), labels


def logits(seed: int, classes: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn((2, classes, 4, 3), generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 999), st.integers(2, 5), st.floats(0, 8))
@few
def test_uncl_1(seed: int, classes: int, beta: float) -> None:
    z, target = logits(seed, classes), logits(seed + 1, classes)
    value = uncl(z, target, beta=beta)
    assert uncl(z, z, beta=0.0) == 0
    assert uncl(target, z, beta=beta).item() == pytest.approx(value.item(), rel=1e-5)
    assert value >= -1e-5 * beta
    assert uncl(100 * z, 100 * z, beta=beta) >= -1e-5 * beta
    shift = logits(seed + 2, 1)
    assert uncl(z + shift, target - shift, beta=beta).item() == pytest.approx(value.item(), rel=1e-4)
    z.requires_grad_(), target.requires_grad_()
    uncl(z, target, beta=beta).backward()
    assert target.grad is None
    assert z.grad.isfinite().all()


def test_uncl_is_half_the_squared_difference_or_mostly_entropy() -> None:
    z, target = logits(0, 3), logits(1, 3)
    p, q = z.softmax(1), target.softmax(1)
    assert uncl(z, target, beta=0.0).item() == pytest.approx(0.5 * (p - q).square().sum(1).mean().item())
    entropy = sum(entropy_map(x, normalized=False).mean().item() for x in (p, q))
    assert uncl(z, target, beta=50.0).item() == pytest.approx(50 * entropy, rel=1e-3)
    assert uncl(z.bfloat16(), target.bfloat16(), beta=1.0).dtype == torch.float32


@given(scans(), st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from(["released", "paper"]))
@few
def test_fecl_2_not_negative_and_blind_to_order_and_rotation(scan, gamma: float, form: str) -> None:
    z, taught, labels = scan

    def value(z: Tensor, taught: Tensor, labels: Tensor) -> float:
        if form == "paper":
            return fecl_paper(z, labels, taught=taught, gamma=gamma).item()
        return fecl(z, labels, taught=taught, gamma=gamma, threshold=0.3).item()

    whole = value(z, taught, labels)
    assert whole >= 0
    assert value(z, taught, torch.ones_like(labels)) == pytest.approx(0.0, abs=1e-6)
    order = torch.randperm(z.shape[2])
    shuffled = value(z[:, :, order], taught[:, :, order], labels[:, order])
    assert shuffled == pytest.approx(whole, rel=1e-4, abs=1e-6)
    rotation = torch.linalg.qr(torch.randn(z.shape[1], z.shape[1])).Q
    assert value(rotation @ z, rotation @ taught, labels) == pytest.approx(whole, rel=1e-3, abs=1e-5)
    renamed = value(z, taught, 7 - labels)
    assert renamed == pytest.approx(whole, rel=1e-5, abs=1e-7)


def plain(s: Tensor, labels: Tensor, gamma: float, shift: Tensor) -> float:
    """L_pos from exponentials, similarities (N, N) shifted before."""
    total = 0.0
    for i, row in enumerate((s - shift).exp()):
        other = labels != labels[i]
        same = ~other
        same[i] = False
        share = row / (row + row[other].sum())
        total += (((1 - share) ** gamma * -share.log())[same].sum() / max(int(same.sum()), 1)).item()
    return total / len(s)


@given(scans(), st.floats(-3, 3), st.sampled_from([0.0, 2.0]))
@few
def test_fecl_2_any_shift_of_a_row_gives_the_same(scan, shift: float, gamma: float) -> None:
    z, _, labels = scan
    s = z[0].mT.double() @ z[0].double() / 0.6
    ours = fecl(z[:1], labels[:1], gamma=gamma).item()
    rows = shift * torch.arange(len(s)).double()[:, None] / len(s)
    for shifts in (torch.zeros(()), s.amax(1, keepdim=True), rows):
        assert plain(s, labels[0], gamma, shifts) == pytest.approx(ours, rel=1e-4, abs=1e-6)


@given(scans(), st.floats(0, 4))
@few
def test_fecl_3_focal_weights_only_lower(scan, gamma: float) -> None:
    z, taught, labels = scan
    assert fecl(z, labels, gamma=gamma) <= fecl(z, labels, gamma=0.0) + 1e-6
    different = labels[:, :, None] != labels[:, None, :]
    largest = (z.mT @ taught).where(different, -1.0).amax().item()
    without = fecl(z, labels, gamma=gamma)
    assert fecl(z, labels, gamma=gamma, taught=taught, threshold=largest + 1e-6) == without
    assert fecl(z, labels, gamma=gamma, taught=taught, cross_weight=0.0, threshold=-1.0) == without


def test_fecl_3_the_teachers_pairs_above_the_threshold_are_averaged() -> None:
    z, taught = unit((2, 3, 6), 0), unit((2, 3, 6), 1)
    labels = torch.tensor([[0, 0, 0, 1, 1, 2], [1, 1, 1, 1, 1, 0]])
    cosine = z.mT @ taught
    hard = (labels[:, :, None] != labels[:, None, :]) & (cosine > 0.2)
    expected = fecl(z, labels) + 0.7 * -(1 - cosine)[hard].log().mean()
    assert hard[0].sum() != hard[1].sum()  # averaged over the batch at once
    ours = fecl(z, labels, taught=taught, threshold=0.2, cross_weight=0.7)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("form", [fecl, fecl_paper])
def test_equal_embeddings_of_other_classes_stay_finite(form) -> None:
    """Rounding takes some cosines above 1."""
    z = unit((1, 7, 1), 3).expand(1, 7, 40).clone().requires_grad_()
    loss = form(z, torch.arange(40)[None] % 2, taught=z.detach() * (1 + 1e-6))
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("form", [fecl, fecl_paper])
@pytest.mark.parametrize("temperature", [0.6, 1e-3])
def test_one_class_or_one_patch_of_it_gives_no_gradient_and_no_nan(form, temperature: float) -> None:
    z, taught = unit((2, 3, 4), 5), unit((2, 3, 4), 6)
    for labels in (torch.zeros(2, 4), torch.arange(4).expand(2, 4), torch.full((2, 4), IGNORE)):
        leaf = z.clone().requires_grad_()
        loss = form(leaf, labels.long(), taught=taught, temperature=temperature, **NO_CROSS.get(form, {}))
        loss.backward()
        assert loss == 0
        assert leaf.grad.abs().max() == 0


NO_CROSS = {fecl: {"cross_weight": 0.0}}


@given(scans(), st.integers(0, 99))
@few
def test_ignored_patches_are_as_if_left_out(scan, seed: int) -> None:
    z, taught, labels = (x[:1] for x in scan)
    keep = torch.rand(labels.shape[1], generator=torch.Generator().manual_seed(seed)) < 0.6
    hidden = labels.where(keep, IGNORE)
    if keep.any():
        for form in (fecl, fecl_paper):
            left = form(z[:, :, keep], labels[:, keep], taught=taught[:, :, keep])
            assert form(z, hidden, taught=taught).item() == pytest.approx(left.item(), rel=1e-4, abs=1e-6)


@given(scans(), st.sampled_from([1, 3, 7, 1000]), st.booleans())
@few
def test_some_rows_at_a_time_are_as_good_as_all(scan, pairs: int, column_max: bool) -> None:
    z, taught, labels = scan
    found = []
    for at_once in (pairs, 2**18):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contrast, "CPU_PAIRS", at_once)
            leaf = z.clone().requires_grad_()
            loss = fecl(leaf, labels, taught=taught, column_max=column_max, threshold=0.1)
            (3.0 * loss).backward()
            found += [(loss.detach(), leaf.grad)]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", [fecl, fecl_paper])
def test_the_gradient_is_that_of_the_value(form) -> None:
    z, labels = 0.7 * unit((2, 3, 5), 1), torch.tensor([[0, 1, 1, 0, 2], [1, 1, 0, 0, 0]])
    options = {"taught": unit((2, 3, 5), 2), "gamma": 0.0}  # the paper's focal weights are constants
    if form is fecl:
        options |= {"gamma": 2.0, "threshold": -2.0}
    leaf = z.clone().requires_grad_()
    form(leaf, labels, **options).backward()
    step, direction = 1e-2, leaf.grad / leaf.grad.norm() + 0.2 * unit((2, 3, 5), 3)
    up, down = (form(z + sign * step * direction, labels, **options).item() for sign in (1, -1))
    assert (leaf.grad * direction).sum().item() == pytest.approx((up - down) / (2 * step), rel=2e-3)
    with torch.no_grad():
        value = form(leaf, labels, **options)
    assert not value.requires_grad


def test_the_papers_form_written_out() -> None:
    z, taught, labels = unit((1, 3, 6), 7), unit((1, 3, 6), 8), torch.tensor([[0, 0, 0, 1, 1, 2]])
    s, c = (z[0].mT @ z[0] / 0.5).double(), (z[0].mT @ taught[0] / 0.5).double()
    total = 0.0
    for i in range(6):
        other = labels[0] != labels[0, i]
        same = ~other
        same[i] = False
        negatives = s[i][other].exp()
        share = s[i].exp() / (s[i].exp() + negatives.sum())
        rest = (share[other] ** 2 * negatives).sum() + c[i][other].topk(2).values.exp().sum()
        pairs = -((1 - share) ** 2) * (s[i] - (s[i].exp() + rest).log())
        total += pairs[same].mean().item() if same.any() else 0.0
    ours = fecl_paper(z, labels, taught=taught, temperature=0.5, top_k=2)
    assert ours.item() == pytest.approx(total / 6, rel=1e-5)


def test_learning_gathers_the_classes() -> None:
    torch.manual_seed(0)
    raw, labels = torch.randn(1, 4, 12, requires_grad=True), torch.arange(12)[None] % 3
    optimizer = torch.optim.SGD([raw], lr=5.0)
    for _ in range(100):
        optimizer.zero_grad()
        z = F.normalize(raw, dim=1)
        fecl(z, labels, taught=z.detach()).backward()
        optimizer.step()
    cosine = (z[0].mT @ z[0]).detach()
    same = labels.mT == labels
    assert cosine[same].mean() > 0.9
    assert cosine[~same].mean() < 0.0
    assert math.isfinite(cosine.sum())

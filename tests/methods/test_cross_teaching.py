"""What cross teaching must do for every input; what two networks share is in test_two_networks."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg import methods, networks
from semiseg.core import Batch, Clock
from semiseg.errors import UsageError
from semiseg.methods.cross_teaching import CrossTeaching
from semiseg.prediction.model import Model
from semiseg.settings.resolve import resolve
from semiseg.training import train
from tests.factories import make_dataset
from tests.methods import tiny
from tests.methods.answers import Pointwise
from tests.methods.tiny import TinyNet

few = settings(max_examples=10, deadline=None)
seeds, classes, dims = st.integers(0, 10**6), st.integers(2, 5), st.integers(2, 3)
SMALL = tiny.SMALL["cross_teaching"]["partner_options"]


def built(dim: int, k: int, **options) -> CrossTeaching:
    return CrossTeaching(lambda **choice: Pointwise(dim, k), **options)


@few
@given(seeds, classes, dims)
def test_agreement_with_confidence_costs_nothing_and_disagreement_does(seed, k, dim):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(k, (2, *[4] * dim), generator=generator)
    sure = 50 * torch.nn.functional.one_hot(chosen, k).movedim(-1, 1).float()
    method = built(dim, k)
    assert method.lesson(sure, 3 * sure).item() < 1e-5
    assert method.lesson(sure, sure.roll(1, 1)).item() > 0.9


@few
@given(seeds, classes, dims)
def test_a_class_that_the_other_never_predicts_is_pushed_to_0(seed, k, dim):
    generator = torch.Generator().manual_seed(seed)
    z = 0.1 * torch.randn((2, k, *[4] * dim), generator=generator)
    other = torch.randn(z.shape, generator=generator)
    other[:, k - 1] = -9.0
    less = z.clone()
    less[:, k - 1] = -20.0  # what is left to the others keeps its proportions
    method = built(dim, k)
    assert method.lesson(less, other) < method.lesson(z, other)
    z.requires_grad_()
    method.lesson(z, other).backward()
    assert z.grad[:, k - 1].sum() > 0


def test_the_partner_is_another_network_with_its_own_options():
    asked = []

    def make_net(**choice):
        asked.append(choice)
        return TinyNet(2, 3)

    method = CrossTeaching(make_net)
    CrossTeaching(make_net, partner="monai:UNETR", partner_options=SMALL)
    assert asked == [{}, {"network": "monai:SwinUNETR"}, {}, {"network": "monai:UNETR", **SMALL}]
    assert (method.predictor, len(method.deviations)) == ("net", 1)


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(
    ("partner", "options", "edge"),
    [("monai:SwinUNETR", {"feature_size": 12}, 64), ("monai:UNETR", SMALL, 32)],
)
def test_transformers_of_monai_are_partners(partner, options, edge, dim):
    torch.manual_seed(0)
    patch = (edge, *[32] * (dim - 1))
    make_net = networks.Factory(
        "unet", dim=dim, in_channels=1, classes=3, options={"features": (2, 4)}, patch=patch
    )
    method = CrossTeaching(make_net, partner=partner, partner_options=options, weight=1.0)
    x, y = torch.randn(2, 1, *patch), torch.randint(3, (1, *patch))
    batch = Batch(x[:1], y, {"weak": x[1:]})
    for update in method.step(batch, Clock(1, 1)):
        update.loss.backward()
    assert all(p.grad is not None for p in method.net.parameters())
    moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in method.net2.parameters()]
    assert sum(moved) > 0.8 * len(moved)  # MONAI keeps norms that it does not use


def trained(tmp_path, patch, **options):
    config = resolve(
        environment={},
        flags={
            "method.name": "cross_teaching",
            "method.options": options,
            "data.labeled": 2,
            "train.iterations": 1,
            "plan.patch": patch,
            "plan.features": (4, 8),
            "train.precision": "32",
        },
    )
    data = make_dataset(tmp_path, labeled=4, unlabeled=2, test=2)
    return train.train(data, config, runs=tmp_path / "runs", device="cpu", workers=0)


@pytest.mark.usefixtures("monai")
@pytest.mark.parametrize(
    ("partner", "options", "patch", "nearest"),
    [
        ("monai:SwinUNETR", {"feature_size": 12}, (16, 16, 16), "[32, 32, 32]"),
        ("monai:UNETR", SMALL, (24, 16, 16), "[32, 16, 16]"),
        ("monai:SwinUNETR", {"feature_size": 12}, (32, 32, 32), "larger patch"),
    ],
)
def test_a_patch_that_does_not_fit_the_partner_is_refused(tmp_path, partner, options, patch, nearest):
    with pytest.raises(UsageError) as caught:
        trained(tmp_path, patch, partner=partner, partner_options=options)
    assert nearest in (caught.value.hint or "")


@pytest.mark.usefixtures("monai")
def test_a_transformer_of_the_patch_s_size_can_be_exported(tmp_path):
    options = {"partner": "monai:UNETR", "partner_options": SMALL, "predict_with": "second"}
    run = trained(tmp_path, (16, 16, 16), **options)
    (network,) = Model.load(run.folder, "cpu", precision="32").networks
    assert type(network.net).__name__ == "UNETR"
    assert network.divisor == (16, 16, 16)


def test_without_monai_it_says_what_to_install_before_a_scan_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "monai", None)
    monkeypatch.setattr("semiseg.training.single.prepare", None)
    with pytest.raises(UsageError, match="'monai:UNETR' needs MONAI, which is not installed") as caught:
        trained(tmp_path, (16, 16, 16))
    assert caught.value.hint == 'pip install "semiseg[monai]"'


@pytest.mark.parametrize(
    "options", [{"weight": -1.0}, {"ramp": 0}, {"partner": None}, {"predict_with": "both"}]
)
def test_wrong_options(options):
    with pytest.raises(UsageError):
        methods.check_options(CrossTeaching, options)

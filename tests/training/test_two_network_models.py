"""A run whose exported network is the average of two, from training to prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.factories import make_dataset

from semiseg.core import Average
from semiseg.images.grid import Grid
from semiseg.networks import checkpoint
from semiseg.prediction.model import Model
from semiseg.settings.resolve import resolve
from semiseg.training import train


@pytest.mark.parametrize(("name", "ema"), [("cps", 0.0), ("cps", 0.5), ("mcf", 0.0), ("tcseg", 0.0)])
def test_the_saved_model_predicts_with_the_mean_of_both(tmp_path, name, ema):
    partner = {"partner": "resvnet", "partner_options": {"filters": 2}} if name == "mcf" else {}
    flags = {
        "method.name": name,
        "data.labeled": 2,
        "train.iterations": 2,
        "train.ema": ema,
        "plan.patch": (16, 16, 16),
        "plan.features": (4, 8),
        "train.precision": "32",
        "method.options": {"predict_with": "both" if name == "tcseg" else "average", **partner},
    }
    config = resolve(flags=flags, environment={})
    data = make_dataset(tmp_path, labeled=4, unlabeled=2, test=2)
    run = train.train(data, config, runs=tmp_path / "runs", device="cpu", workers=0)

    model = Model.load(run.folder, "cpu", precision="32")
    (network,) = model.networks
    assert isinstance(network, Average)
    assert (type(network[0]) is type(network[1])) == (name != "mcf")
    if not ema and name != "tcseg":
        state = checkpoint.load(run.folder / "checkpoints" / "last.ckpt", checkpoint.STATE)["method"]
        for number, name in enumerate(("net", "net2")):
            for key, value in network[number].state_dict().items():
                assert torch.equal(value, state[f"{name}.{key}"])

    image = np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32)
    grid = Grid((16, 16, 16), np.eye(4))
    found = model.segment(image, grid, probabilities=True).probabilities
    single = [
        Model.of(model.plan, [n], model.settings).segment(image, grid, probabilities=True).probabilities
        for n in network
    ]
    assert not np.allclose(single[0], single[1], atol=1e-3)
    np.testing.assert_allclose(found, (single[0] + single[1]) / 2, atol=1e-5)

"""The filters of scans against the notebook of the FLARE22 winner and the statements of nnFilterMatch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg.training.reliable_scans import entropy_map, least_certain, most_reliable, round_change


def test_change_between_rounds(golden):
    v = golden("self_training__filters")
    rounds = zip(v["round1"], v["round2"], v["round3"], strict=True)
    changes = [round_change(*labels) for labels in rounds]
    np.testing.assert_allclose(changes, v["u"], rtol=1e-12)
    worst = v["order_worst_first"].tolist()
    for kept in range(1, len(worst)):
        assert most_reliable(changes, kept / len(worst), least=1) == sorted(worst[len(worst) - kept :])


def test_entropies_and_the_scans_that_stay(golden):
    v = golden("self_training__filters")
    entropy = entropy_map(torch.from_numpy(v["logits"]).softmax(1))
    np.testing.assert_allclose(entropy, v["entropy_map"], rtol=1e-4, atol=1e-6)
    sums = entropy.double().flatten(1).sum(1).tolist()
    assert sums == pytest.approx(v["entropy_sum"].tolist(), rel=1e-5)
    assert np.percentile(sums, int(v["percentile"])) == pytest.approx(float(v["threshold"]), rel=1e-5)
    assert least_certain(sums, float(v["percentile"])) == np.flatnonzero(v["kept"]).tolist()

"""The published scores of the UA-MT evaluation code, reproduced by the ``uamt`` convention."""

from __future__ import annotations

import pytest

from semiseg.evaluation.case import evaluate


@pytest.mark.parametrize("kind", ["noisy", "clean"])
def test_uamt_scores(golden, kind):
    arrays = golden("vnet__metrics")
    prediction, reference = arrays[f"pred_{kind}"], arrays["gt"]
    found = evaluate(
        prediction.astype("uint8"), reference.astype("int64"), (0.6, 0.6, 2.0), {"atrium": 1}, "uamt"
    )["atrium"]
    got = [found[m] for m in ("Dice", "Jaccard", "HD95", "ASD")]
    assert got == pytest.approx(arrays[f"metrics_{kind}"].tolist(), rel=1e-12)

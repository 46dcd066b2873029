"""The way back in pieces: the same voxels as in one go, bit for bit, whatever the pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semiseg.images.grid import Grid
from semiseg.preparation.back import LabelRestorer, MapRestorer, RowResampler, restore_labels, restore_map
from semiseg.preparation.geometry import lay_out
from semiseg.preparation.plan import ChannelPlan, Plan
from semiseg.preparation.resample import resample

LINEAR = ("linear", "linear", "linear")


def plan(spacing: tuple[float | None, float | None, float | None]) -> Plan:
    return Plan(
        dim=3,
        spacing=spacing,
        channels=(ChannelPlan(name="MRI", scheme="none"),),
        labels={"background": 0, "a": 1, "b": 300},
        patch=(8, 8, 8),
    )


def pieces(rows: int, heights: list[int]) -> list[slice]:
    found, start = [], 0
    for height in [*heights, rows]:
        stop = min(start + height, rows)
        if stop > start:
            found.append(slice(start, stop))
        start = stop
    return found


@settings(max_examples=60, deadline=None)
@given(
    before=st.tuples(st.integers(1, 25), st.integers(1, 6), st.integers(1, 6)),
    after=st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)),
    heights=st.lists(st.integers(1, 9), max_size=12),
)
def test_rows_come_out_as_if_the_volume_had_come_whole(before, after, heights) -> None:
    maps = np.random.default_rng(0).normal(size=(2, *before)).astype(np.float32)
    wanted = np.stack([resample(values, after, LINEAR) for values in maps])
    resampler, done = RowResampler(before, after), 0
    for rows in pieces(before[0], heights):
        start, height, made = resampler.push(maps[:, rows])
        found = np.stack(list(made))
        assert start == done
        assert found.shape[1] == height
        np.testing.assert_array_equal(found, wanted[:, start : start + height])
        done += height
    assert done == after[0]


@pytest.mark.parametrize("spacing", [(None, None, None), (1.0, 1.0, 1.0), (0.5, 3.0, None)])
def test_label_maps_and_maps_of_pieces_are_those_of_the_whole(spacing) -> None:
    chosen = plan(spacing)
    geometry = lay_out(Grid((21, 15, 12), np.diag([-0.7, 0.9, 2.0, 1.0])), chosen)
    scores = np.random.default_rng(1).random((3, *geometry.shape)).astype(np.float32)
    labels, doubt = LabelRestorer(geometry, chosen), MapRestorer(geometry, 7)
    for rows in pieces(geometry.shape[0], [1, 4, 2]):
        labels.add(scores[:, rows])
        doubt.add(scores[0, rows])
    assert labels.result().dtype == np.uint16
    np.testing.assert_array_equal(labels.result(), restore_labels(scores, geometry, chosen))
    np.testing.assert_array_equal(doubt.result(), restore_map(scores[0], geometry, fill=7))


def test_winners_say_as_much_as_scores_where_nothing_is_resampled() -> None:
    chosen = plan((None, None, None))
    geometry = lay_out(Grid((11, 5, 4), np.diag([-1.0, 1.0, 1.0, 1.0])), chosen)
    scores = np.random.default_rng(1).random((3, *geometry.shape)).astype(np.float32)
    labels = LabelRestorer(geometry, chosen)
    assert labels.direct
    for rows in pieces(11, [3, 5]):
        labels.add_classes(scores[:, rows].argmax(0).astype(np.uint8))
    np.testing.assert_array_equal(labels.result(), restore_labels(scores, geometry, chosen))
    assert not LabelRestorer(lay_out(geometry.source, plan((2.0, None, None))), chosen).direct

"""The published figures are such that pages and comparisons can rely on them."""

from __future__ import annotations

import pytest

from semiseg import methods
from semiseg.methods._catalog import METRICS, typed, words

ROWS = methods.published()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['method']}-{row['dataset']}-{row['labeled']}")
def test_a_row_is_complete(row):
    assert row["dataset"]
    assert row["source"]
    assert row["why"]
    assert row["comparable"] in ("yes", "no")
    assert row["kind"] in ("", "rerun")
    assert (row["kind"], row["comparable"]) != ("rerun", "yes")
    assert row["unit"] in ("scans", "patients", "percent")
    assert int(row["labeled"]) > 0
    assert int(row["unlabeled"] or 0) >= 0
    given = [metric for metric in METRICS if row[metric]]
    assert given
    assert set(row["unchecked"].split()) <= set(given)
    for metric in given:
        assert 0 < float(row[metric]) < 100
    if row["dice"] and row["jaccard"]:  # of a case J = D / (2 - D), which is convex: the mean is not below
        dice, jaccard = float(row["dice"]) / 100, float(row["jaccard"]) / 100
        assert dice / (2 - dice) - 0.001 <= jaccard <= dice


def test_no_row_is_there_twice():
    keys = [
        tuple(row[k] for k in ("method", "dataset", "labeled", "unit", "setting", "source")) for row in ROWS
    ]
    assert len(set(keys)) == len(keys)


def test_the_figures_that_are_asked_for_most() -> None:
    """ACDC with 3 and 7 patients: which loss, whose run, and what plain nnU-Net reaches."""

    def found(method: str, labeled: str, **wanted: str) -> list[dict[str, str]]:
        rows = [r for r in methods.published(method) if (r["dataset"], r["labeled"]) == ("ACDC", labeled)]
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    for labeled, dice in (("3", "87.59"), ("7", "88.84")):
        assert [row["dice"] for row in found("bcp", labeled, setting="dice=acdc_legacy")] == [dice]
    (mc_net,) = found("mc_net", "7", kind="")
    assert (mc_net["dice"], mc_net["setting"]) == ("87.10", "decoders=3, dice=acdc_released")
    for labeled, dice, again in (("3", "82.96", "62.85"), ("7", "86.31", "86.44")):
        assert found("supervised", labeled, setting="plain nnU-Net, 2D", dice=dice)
        assert [row["dice"] for row in found("mc_net", labeled, kind="rerun")] == [again]


def test_rows_of_one_method():
    assert {row["method"] for row in methods.published("ua_mt")} == {"ua_mt"}
    assert methods.published("no_such_method") == []


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("Share", "number from 0 to 1"),
        ("Length | None", "whole number, 1 or more, or ``null``"),
        ("Literal['a', 'b', 'c']", "``a``, ``b`` or ``c``"),
        ("Literal['a']", "``a``"),
        ("tuple[Amount, Amount]", "[number, 0 or more, number, 0 or more]"),
        ("Mapping[str, int]", "{name: value, …}"),
        ("", ""),
    ],
)
def test_types_in_words(annotation, text):
    assert words(annotation) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (0, "0"), (1, "1"), (0.5, "0.5"), ("a", "a"), ((0, "b"), "[0,b]")],
)
def test_a_default_is_shown_as_it_is_typed(value, text):
    assert typed(value) == text

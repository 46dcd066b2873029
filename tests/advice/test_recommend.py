"""What is recommended when: properties of the ranking, and that no label is opened that must not be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories import make_dataset

import semiseg
from semiseg import methods
from semiseg.advice import format as formatted
from semiseg.advice.advise import Advice
from semiseg.advice.rank import PAPER_SHARE, Choice, claimed, gain, kept_share, rank, usual_points
from semiseg.advice.rules import RULES, SHORTEST
from semiseg.advice.situation import LabelFacts, Situation
from semiseg.errors import UsageError

NAMES = methods.names()
WHOLE = LabelFacts(cases=8, rarest="organ", rarest_share=0.05, absent=0.0, pieces=1.0)
USUAL = Situation(
    dataset="Dataset001_Organ",
    dim=3,
    channels=1,
    classes=2,
    labeled=8,
    unlabeled=72,
    labels=WHOLE,
    patch=(64, 64, 64),
    batch=4,
    plan_gb=(1.0, 1.5),
    device="cpu",
    iterations=1000,
    step_seconds=0.5,
    memory_gb=16.0,
)
LABELS = st.builds(
    LabelFacts,
    cases=st.integers(1, 20),
    rarest=st.just("organ"),
    rarest_share=st.floats(0, 1),
    absent=st.floats(0, 1),
    pieces=st.floats(0, 30),
)
SITUATIONS = st.builds(
    dataclasses.replace,
    st.just(USUAL),
    dim=st.sampled_from([2, 3]),
    channels=st.integers(1, 4),
    classes=st.integers(2, 9),
    labeled=st.integers(1, 60),
    unlabeled=st.integers(0, 90),
    labels=LABELS,
    batch=st.sampled_from([2, 4, 8]),
)
few = settings(max_examples=25, deadline=None)


def like_usual(**changes: object) -> Situation:
    return dataclasses.replace(USUAL, **changes)


def first(situation: Situation) -> Choice:
    return Advice(situation, tuple(rank(situation))).first


def scores(situation: Situation) -> dict[str, float]:
    """By the rules alone: figures come and go."""
    return {choice.method: choice.score for choice in rank(situation, figures=((), ()))}


def measured(method: str, points: float, **other: str) -> dict[str, str]:
    row = {"method": method, "dataset": "organ", "labeled": "8", "iterations": "1000", "seeds": "3"}
    return row | {"batch": "", "dice": str(85 + points), "dice_gain": str(points)} | other


# --- the ranking


@few
@given(SITUATIONS, st.floats(0.3, 4), st.floats(0.1, 60))
def test_every_method_is_ranked_once_with_a_reason_and_what_does_not_fit_is_last(situation, memory, minutes):
    ranking = rank(dataclasses.replace(situation, memory_gb=memory, minutes=minutes))
    assert sorted(choice.method for choice in ranking) == NAMES
    assert all(choice.reasons and choice.reasons[0].text for choice in ranking)
    blocked = [bool(choice.obstacle) for choice in ranking]
    assert blocked == sorted(blocked)
    fitting = [round(choice.score, 2) for choice in ranking if not choice.obstacle]
    assert fitting == sorted(fitting, reverse=True)


@few
@given(SITUATIONS, st.lists(st.floats(0.3, 4), min_size=2, max_size=5))
def test_less_memory_never_recommends_a_bigger_method(situation, memories):
    chosen = [first(dataclasses.replace(situation, memory_gb=gb)) for gb in sorted(memories, reverse=True)]
    needs = [choice.memory_gb for choice in chosen]
    assert needs == sorted(needs, reverse=True)


@few
@given(SITUATIONS, st.lists(st.floats(0.1, 60), min_size=2, max_size=5))
def test_less_time_never_recommends_a_slower_method(situation, minutes):
    chosen = [first(dataclasses.replace(situation, minutes=n)) for n in sorted(minutes, reverse=True)]
    works = [choice.work for choice in chosen if choice.method != "supervised"]
    assert works == sorted(works, reverse=True)
    assert all(c.method == "supervised" or c.iterations >= SHORTEST for c in chosen)


@few
@given(SITUATIONS)
def test_without_unlabeled_scans_it_is_supervised(situation):
    assert first(dataclasses.replace(situation, unlabeled=0)).method == "supervised"


def test_nothing_fits_means_supervised_on_smaller_patches():
    situation = like_usual(memory_gb=0.5)
    advice = Advice(situation, tuple(rank(situation)), ("D",))
    assert advice.first.method == "supervised"
    assert advice.commands == ("semiseg train D --method supervised --set plan.memory_gb=0.5",)


def test_the_first_choice_and_supervised_train_equally_long():
    situation = like_usual(minutes=6.0)
    commands = Advice(situation, tuple(rank(situation)), ("D",)).commands
    assert len(commands) == 2
    assert len({command.partition("--iterations ")[2] for command in commands}) == 1
    assert "--iterations" in commands[0]


def test_unknown_speed_excludes_nothing_for_time():
    ranking = rank(like_usual(device="cuda:0", step_seconds=None, minutes=0.1, iterations=10_000))
    assert not any(choice.obstacle for choice in ranking)
    assert all(choice.minutes is None for choice in ranking)


# --- the rules


def test_one_labeled_scan_speaks_against_critics():
    one, eight = scores(like_usual(labeled=1)), scores(like_usual(labeled=8))
    for name in {"sassnet", "low_confidence", "dycon"} & set(NAMES):
        assert one[name] < eight[name]
    assert one["mean_teacher"] == eight["mean_teacher"]


def test_dimension_moves_methods_made_for_one():
    flat, solid = scores(like_usual(dim=2)), scores(like_usual(dim=3))
    assert flat["ict"] > solid["ict"]
    for name in {"dtc", "sassnet"} & set(NAMES):
        assert flat[name] < solid[name]


def test_many_pieces_speak_against_shape():
    pieces = scores(like_usual(labels=dataclasses.replace(WHOLE, pieces=9.0)))
    for name in {"dtc", "sassnet"} & set(NAMES):
        assert pieces[name] < scores(USUAL)[name]


def test_many_classes_with_a_tiny_one_speak_for_class_weights():
    organs = like_usual(classes=14, labels=dataclasses.replace(WHOLE, rarest_share=0.0002))
    assert scores(organs)["dhc"] > scores(organs)["cps"] == scores(USUAL)["cps"] > scores(USUAL)["dhc"]


@pytest.mark.parametrize(
    ("name", "worse"),
    [
        ("traco_co", {"labeled": 4}),
        ("traco_co", {"labels": dataclasses.replace(WHOLE, rarest_share=0.001)}),
        ("ad_mt", {"labels": dataclasses.replace(WHOLE, rarest_share=0.001)}),
        ("ad_mt", {"batch": 2}),
        ("sdcl", {"labeled": 1}),
        ("bcp", {"labeled": 1}),
    ],
)
def test_a_method_loses_where_its_rule_says_so(name, worse):
    usual = {"labeled": 16}
    assert scores(like_usual(**usual | worse))[name] < scores(like_usual(**usual))[name]


def test_rules_name_evidence_and_fit_a_terminal():
    assert all(rule.evidence and len(rule.why) <= 70 and rule.points for rule in RULES)


# --- figures


def test_a_measured_gain_outweighs_a_published_one():
    paper = {"dataset": "organ", "unit": "scans", "labeled": "8", "why": ""}
    papers = [
        paper | {"method": "supervised", "dice": "80"},
        paper | {"method": "ua_mt", "dice": "84"},
        paper | {"method": "ict", "dice": "84"},
    ]
    here = [measured("ict", 4.0), measured("upc", -3.0)]
    ranking = [c.method for c in rank(USUAL, figures=(here, papers))]
    assert ranking.index("ict") < ranking.index("ua_mt") < ranking.index("supervised") < ranking.index("upc")
    assert gain("ict", USUAL, here, papers).points < 4.0  # the doubter
    assert gain("ua_mt", USUAL, here, papers).points < 1.0


def test_published_gains_count_by_what_is_left_of_them_where_both_are_known():
    paper = {"dataset": "organ", "unit": "scans", "labeled": "8", "why": ""}
    gains = {"supervised": 0, "ua_mt": 4, "ict": 2, "upc": 6, "dtc": 8}
    papers = [paper | {"method": name, "dice": str(80 + more)} for name, more in gains.items()]
    two = [measured("ua_mt", 0.4), measured("ict", 0.2)]
    assert kept_share(two, papers) == PAPER_SHARE
    assert kept_share([*two, measured("upc", 0.6)], papers) == pytest.approx(0.1)
    assert kept_share([*two, measured("upc", 60.0, iterations="150")], papers) == PAPER_SHARE
    assert kept_share([*two, measured("upc", -60.0)], papers) == 0
    promise = gain("dtc", USUAL, [*two, measured("upc", 0.6)], papers)
    assert promise.points == pytest.approx(0.1 * 8 / 2)  # halved by the doubter


def test_what_holds_for_most_methods_is_told_once():
    situation = like_usual(labeled=60, unlabeled=3)
    told = formatted.text(Advice(situation, tuple(rank(situation)), ("D",)), every=True)
    plain = " ".join(told.split())
    assert plain.count("fewer unlabeled scans than labeled ones") == 1
    assert "methods: fewer unlabeled scans than labeled ones: little to gain" in plain


def test_published_gains_of_which_nothing_is_left_have_no_weight():
    paper = {"dataset": "organ", "unit": "scans", "labeled": "8", "why": ""}
    gains = {"supervised": 0, "ua_mt": 4, "ict": 2, "upc": 6}
    papers = [paper | {"method": name, "dice": str(80 + more)} for name, more in gains.items()]
    here = [measured("ua_mt", 2.0), measured("ict", 0.2), measured("upc", -60.0)]
    assert kept_share(here, papers) == 0
    assert gain("ua_mt", USUAL, here, papers).points == gain("ua_mt", USUAL, here, []).points
    told = gain("dtc", USUAL, here, [*papers, paper | {"method": "dtc", "dice": "88"}])
    assert told.points == 0
    assert "without weight" in told.text
    rerun = [row | {"kind": "rerun"} if row["method"] == "ua_mt" else row for row in papers]
    assert claimed("ua_mt", rerun) == []


def test_figures_of_the_other_dimension_rank_nothing():
    flat = {"dataset": "ACDC", "unit": "scans", "labeled": "8", "why": ""}
    papers = [flat | {"method": "supervised", "dice": "80"}, flat | {"method": "ict", "dice": "90"}]
    told = gain("ict", USUAL, [measured("ict", 4.0, dataset="acdc")], papers)
    assert (told.points, told.text) == (0, "no comparable figures yet")
    assert gain("ict", like_usual(dim=2), [measured("ict", 4.0, dataset="acdc")], papers).points > 0


def test_a_measurement_of_other_data_counts_for_less():
    near = gain("ict", USUAL, [measured("ict", 4.0)], []).points
    others = [
        {"dataset": "liver"},
        {"iterations": "5000"},
        {"labeled": "160"},
        {"seeds": "1"},
        {"batch": "2"},
    ]
    for other in others:
        assert 0 < gain("ict", USUAL, [measured("ict", 4.0, **other)], []).points < near
    solid, flat = (
        gain("ict", USUAL, [measured("ict", 4.0, dataset=d)], []).points for d in ("liver", "acdc")
    )
    assert flat < solid
    short = gain("ict", USUAL, [measured("ict", -14.0, iterations="150")], [])
    assert (short.points, short.evidence) == (0, "published.csv")


def test_a_gain_counts_by_its_share_of_what_supervised_training_lacks():
    poor, usual = (measured("ict", 3.0, dice=dice) for dice in ("43", "88"))
    assert usual_points(usual) == pytest.approx(3.0)
    assert usual_points(poor) == pytest.approx(3.0 / 4)
    promise = gain("ict", USUAL, [poor], [])
    assert 0 < promise.points < gain("ict", USUAL, [usual], []).points
    assert promise.text == "+3.0 Dice over supervised in our benchmark (organ, 8 labels: 40.0 -> 43.0)"


def test_figures_of_a_training_that_reads_labels_do_not_count():
    row = {"dataset": "organ", "unit": "scans", "labeled": "8"}
    base = row | {"method": "supervised", "dice": "80", "why": ""}
    leak = row | {"method": "dycon", "dice": "95", "why": "the loss reads labels of unlabeled scans"}
    assert claimed("dycon", [base, leak]) == []
    assert claimed("dycon", [base, leak | {"why": ""}]) == [15.0]


# --- on files


def test_only_labels_of_labeled_cases_are_opened(tmp_path):
    folder = make_dataset(tmp_path, classes=3)
    for path in (folder / "labelsTr").glob("case_0[12]*"):
        path.write_bytes(b"not to be read")
    for part in ("labelsTs", "imagesTs"):
        for path in (folder / part).iterdir():
            path.write_bytes(b"not to be read")
    advice = semiseg.recommend(folder, labeled=1, device="cpu")
    found = advice.situation
    assert (found.labeled, found.unlabeled, found.dim, found.classes) == (1, 6, 3, 3)
    assert found.labels.cases == 1
    assert found.labels.absent == 0
    assert found.labels.pieces == 1
    assert 0 < found.labels.rarest_share < 0.5
    assert advice.commands[0].startswith(f"semiseg train {folder} --labeled 1 --device cpu --method ")
    json.dumps(advice.as_dict())


def test_slices_are_two_dimensional(tmp_path):
    folder = make_dataset(tmp_path, shape=(40, 36), unlabeled=0, test=0)
    advice = semiseg.recommend(folder, device="cpu")
    assert advice.situation.dim == 2
    assert advice.first.method == "supervised"
    assert len(advice.commands) == 1


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"memory_gb": 0.0}, "above 0"),
        ({"memory_gb": float("nan")}, "above 0"),
        ({"minutes": -1.0}, "above 0"),
        ({"memory_gb": 0.01}, "smallest patch"),
    ],
)
def test_budgets_that_no_training_fits_are_refused(wrong, why, tmp_path):
    with pytest.raises(UsageError, match=why):
        semiseg.recommend(make_dataset(tmp_path), device="cpu", **wrong)


def test_sizes_that_were_asked_for_and_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"with plan\.patch as given, one network alone needs") as caught:
        semiseg.recommend(make_dataset(tmp_path), device="cpu", settings={"plan.patch": (4096, 4096, 4096)})
    assert "leave out plan.patch" in caught.value.hint


# --- words


@few
@given(SITUATIONS, st.floats(0.3, 4), st.floats(0.1, 60))
def test_the_text_fits_eighty_columns_and_always_names_supervised(situation, memory, minutes):
    situation = dataclasses.replace(situation, memory_gb=memory, minutes=minutes)
    text = formatted.text(Advice(situation, tuple(rank(situation)), ("D",)))
    lines = [line for line in text.splitlines() if "semiseg train" not in line]
    assert max(map(len, lines)) <= 80
    assert "--method supervised" in text
    assert not any(line.endswith(" ") for line in lines)


def test_paths_with_blanks_are_quoted(tmp_path: Path) -> None:
    advice = Advice(USUAL, tuple(rank(USUAL)), (str(tmp_path / "my data"),))
    assert f"'{tmp_path / 'my data'}'" in advice.commands[0]

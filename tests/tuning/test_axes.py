"""What a value may be: from its type and what it is now, or as a user writes it."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from semiseg.errors import UsageError
from semiseg.settings.config import Config
from semiseg.settings.options import Amount, Count, Length, Positive, Share
from semiseg.tuning.axes import Choice, Fixed, Range, derived, parsed
from semiseg.tuning.search import changed, make_search


@pytest.mark.parametrize(
    ("kind", "value", "axis"),
    [
        (Amount, 20.0, Range(2, 200, log=True)),
        (Positive, 0.1, Range(0.01, 1, log=True)),
        (Amount, 1, Range(0.1, 10, log=True)),
        (Share, 0.5, Range(0, 1)),
        (Share, 0.0, Range(0, 1)),
        (Share, 0.99, Range(0.9, 0.999)),
        (Share, 0.02, Range(0.002, 0.2, log=True)),
        (Share | None, 0.3, Range(0, 1)),
        (Length, 8, Range(2, 32, log=True, whole=True)),
        (Length | None, 1, Range(1, 4, log=True, whole=True)),
        (Count, 2, Range(1, 8, log=True, whole=True)),
        (bool, True, Choice((False, True))),
        (Literal["a", "b"], "a", Choice(("a", "b"))),
        (Literal[2, 3, 4], 2, Choice((2, 3, 4))),
    ],
)
def test_an_axis_follows_from_the_type_and_the_value(kind: Any, value: Any, axis: Any) -> None:
    assert derived(kind, value) == axis


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (Length | None, None, "no value"),
        (Amount, 0.0, "no size"),
        (Count, 0, "no size"),
        (str, "x", "listed"),
    ],
)
def test_what_cannot_be_searched_says_why(kind: Any, value: Any, why: str) -> None:
    assert why in derived(kind, value)


@pytest.mark.parametrize(
    ("kind", "text", "axis"),
    [
        (Amount, "0.1:10:log", Range(0.1, 10, log=True)),
        (Amount, "0 : 1e1", Range(0, 10)),
        (Length, "2:8", Range(2, 8, whole=True)),
        (Literal["a", "b", "c"], "[a, b]", Choice(("a", "b"))),
        (bool, "[true, false]", Choice((True, False))),
        (Amount, "3", Fixed(3)),
        (Literal["a", "b"], "[b]", Fixed("b")),
    ],
)
def test_an_axis_is_written_in_a_word(kind: Any, text: str, axis: Any) -> None:
    assert parsed("x", text, kind) == axis


@pytest.mark.parametrize(
    ("kind", "text"), [(Amount, "2:1"), (Amount, "0:1:log"), (Length, "1:2.5"), (bool, "0:1"), (str, "[[1]]")]
)
def test_an_axis_that_makes_no_sense_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(UsageError, match=r"--space x=") as error:
        parsed("x", text, kind)
    assert error.value.hint


def config(method: str = "mean_teacher", **options: Any) -> Config:
    return Config.model_validate({"method": {"name": method, "options": options}})


def test_all_options_are_searched_around_what_the_configuration_says() -> None:
    search = make_search(config(weight=20.0))
    assert search.axes["weight"] == Range(2, 200, log=True)
    assert search.axes["decay"] == Range(0.9, 0.999)
    assert search.axes["consistency"] == Choice(("mse", "kl"))
    assert search.start["weight"] == 20.0
    assert search.contains_start
    assert set(search.left_out) == {"ramp", "hold_off"}


def test_the_space_narrows_fixes_and_adds() -> None:
    space = ["weight=1:5", "noise=0.3", "optimizer.lr", "schedule.power=0.5:2"]
    search = make_search(config(), space, only=["weight"])
    assert list(search.axes) == ["weight", "optimizer.lr", "schedule.power"]
    assert search.axes["optimizer.lr"] == Range(2e-4, 2e-2, log=True)
    assert not search.contains_start
    tried = search.config_of({"weight": 2.5, "optimizer.lr": 0.01})
    assert tried.method.options == {"noise": 0.3, "weight": 2.5}
    assert tried.optimizer.lr == 0.01


@pytest.mark.parametrize(
    ("space", "near"),
    [
        ("wieght=1:2", "weight"),
        ("optimizer.lrr=1:2", "optimizer.lr"),
        ("decay=0.5:3", "less than or equal to 1"),
        ("consistency=[mse, ssim]", "'mse' or 'kl'"),
        ("schedule.name=[poly, linear]", "schedule.name"),
        ("train.seed=1:5", "same in all trials"),
        ("plan.batch=[2, 4]", "same in all trials"),
    ],
)
def test_a_wrong_space_is_explained(space: str, near: str) -> None:
    with pytest.raises(UsageError) as error:
        make_search(config(), [space])
    assert near in error.value.message
    assert error.value.hint


def test_a_method_without_options_has_nothing_to_search() -> None:
    with pytest.raises(UsageError, match="nothing to search") as error:
        make_search(config("tests.tuning.plain:Plain"))
    assert "optimizer.lr" in error.value.hint
    assert list(make_search(config("tests.tuning.plain:Plain"), ["optimizer.lr"]).axes) == ["optimizer.lr"]


def test_changed_drops_nothing() -> None:
    before = config(weight=3.0)
    after = changed(before, {"network.options.dropout": 0.2})
    assert after.network.options == {"dropout": 0.2}
    assert after.method == before.method

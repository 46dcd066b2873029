"""Configuration: sources, precedence, typing of values, and errors that say everything at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from semiseg import recipes
from semiseg.errors import UsageError
from semiseg.runs.run import save_config
from semiseg.settings.config import Config
from semiseg.settings.resolve import load_recipe, merge, read_yaml, resolve, validate


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """A recipe with an overlay for one method."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "method": {"name": "mean_teacher"},
                "optimizer": {"name": "sgd", "lr": 0.01},
                "train": {"iterations": 1000},
                "methods": {"mean_teacher": {"optimizer": {"lr": 0.02}, "train": {"ema": 0.5}}},
            }
        )
    )
    return str(path)


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A recipe that says nothing."""
    return str(write(tmp_path / "bare.yaml", {}))


def write(path: Path, tree: object) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


# --- precedence


def test_defaults_when_nothing_is_said(bare: str) -> None:
    config = resolve(recipe=bare, environment={})
    assert config.model_dump(exclude={"recipe"}) == Config().model_dump(exclude={"recipe"})


def test_each_source_is_stronger_than_the_one_before(recipe: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", {"optimizer": {"lr": 0.03}})
    env = {"SEMISEG__OPTIMIZER__LR": "0.04"}
    assert validate({"optimizer": load_recipe(recipe)["optimizer"]}).optimizer.lr == 0.01
    assert resolve(recipe=recipe, environment={}).optimizer.lr == 0.02  # the method's overlay
    assert resolve(recipe=recipe, file=file, environment={}).optimizer.lr == 0.03
    assert resolve(recipe=recipe, file=file, environment=env).optimizer.lr == 0.04
    assert (
        resolve(recipe=recipe, file=file, environment=env, settings=["optimizer.lr=0.05"]).optimizer.lr
        == 0.05
    )


def test_sources_merge_key_by_key(recipe: str) -> None:
    config = resolve(recipe=recipe, environment={}, settings=["optimizer.weight_decay=0"])
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("sgd", 0.02, 0.0)


def test_overlay_is_that_of_the_method_which_runs(recipe: str) -> None:
    other = resolve(recipe=recipe, environment={}, flags={"method.name": "supervised"})
    assert (other.method.name, other.optimizer.lr, other.train.ema) == ("supervised", 0.01, 0.0)


def test_method_may_be_a_bare_name(recipe: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", {"method": "supervised"})
    assert resolve(recipe=recipe, file=file, environment={}).method.name == "supervised"
    both = resolve(recipe=recipe, file=file, environment={}, settings=["method.options.beta=1"])
    assert (both.method.name, both.method.options) == ("supervised", {"beta": 1})


def test_file_may_name_the_recipe(recipe: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.yaml", {"recipe": recipe})
    assert resolve(file=file, environment={}).optimizer.name == "sgd"


def test_environment_is_read_from_the_process(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMISEG__TRAIN__SEED", "7")
    monkeypatch.setenv("SEMISEG_HOME", "/somewhere")  # one underscore: not configuration
    assert resolve(recipe=recipe).train.seed == 7


def test_flags_are_dotted_keys(recipe: str) -> None:
    config = resolve(recipe=recipe, environment={}, flags={"data.labeled": 8, "train.iterations": 3})
    assert (config.data.labeled, config.train.iterations) == (8, 3)


def test_another_partner_drops_the_options_of_the_first() -> None:
    below = {"partner": "unet", "partner_options": {"residual": True}, "weight": 1.0}
    assert merge(below, {"partner": "vnet"}) == {"partner": "vnet", "weight": 1.0}
    above = {"partner": "vnet", "partner_options": {"filters": 4}}
    assert merge(below, above) == {**above, "weight": 1.0}
    assert merge(below, {"partner": "unet", "weight": 2.0}) == {**below, "weight": 2.0}


def test_merge_leaves_its_arguments_alone() -> None:
    below, above = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(below, above) == {"a": {"b": 1, "c": 2}}
    assert (below, above) == ({"a": {"b": 1}}, {"a": {"c": 2}})


# --- values of --set


@pytest.mark.parametrize(
    ("setting", "section", "key", "value"),
    [
        ("optimizer.lr=1e-3", "optimizer", "lr", 0.001),
        ("optimizer.lr=2", "optimizer", "lr", 2.0),
        ("train.iterations=auto", "train", "iterations", "auto"),
        ("train.iterations=6000", "train", "iterations", 6000),
        ("train.clip=null", "train", "clip", None),
        ("train.deterministic=false", "train", "deterministic", False),
        ("train.precision=32", "train", "precision", "32"),
        ("plan.patch=[112, 112, 80]", "plan", "patch", (112, 112, 80)),
        ("plan.spacing=[1.0, null, 2.5]", "plan", "spacing", (1.0, None, 2.5)),
        ("inference.largest_component=[liver]", "inference", "largest_component", ("liver",)),
        ("network.name=monai:SegResNet", "network", "name", "monai:SegResNet"),
        ("network.options={depth: 4, rate: 1e-2}", "network", "options", {"depth": 4, "rate": 0.01}),
        (" optimizer.lr = 0.5", "optimizer", "lr", 0.5),
    ],
)
def test_set_reads_values_as_people_mean_them(
    setting: str, section: str, key: str, value: object, bare: str
) -> None:
    config = resolve(recipe=bare, environment={}, settings=[setting])
    assert getattr(getattr(config, section), key) == value


def test_environment_and_files_are_typed_like_set(bare: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("method: {options: {beta: 1e-3, name: '1e-3'}}")
    env = {"SEMISEG__METHOD__OPTIONS__GAMMA": "2E-3"}
    config = resolve(recipe=bare, file=tmp_path / "mine.yaml", environment=env)
    assert config.method.options == {"beta": 0.001, "name": "1e-3", "gamma": 0.002}


def test_last_set_wins(bare: str) -> None:
    config = resolve(recipe=bare, environment={}, settings=["train.seed=1", "train.seed=2"])
    assert config.train.seed == 2


@pytest.mark.parametrize("setting", ["train.seed", "=3", "", "train.seed: 3"])
def test_set_without_key_and_value_is_refused(setting: str, bare: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        resolve(recipe=bare, environment={}, settings=[setting])


def test_set_with_broken_yaml_is_refused(bare: str) -> None:
    with pytest.raises(UsageError, match=r"plan\.patch"):
        resolve(recipe=bare, environment={}, settings=["plan.patch=[1, 2"])


# --- errors


@pytest.mark.parametrize(
    ("setting", "wrong", "near"),
    [
        ("optimizer.lrr=1", "optimizer.lrr", "optimizer.lr"),
        ("optimiser.lr=1", "optimiser", "optimizer"),
        ("data.labelled=8", "data.labelled", "data.labeled"),
        ("train.iteration=8", "train.iteration", "train.iterations"),
    ],
)
def test_unknown_key_names_the_nearest(setting: str, wrong: str, near: str, bare: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(recipe=bare, environment={}, settings=[setting])
    assert f"unknown key {wrong!r}" in caught.value.message
    assert repr(near) in caught.value.message
    assert caught.value.exit_code == 2


def test_unknown_key_far_from_all_lists_them(bare: str) -> None:
    with pytest.raises(UsageError, match=r"known: .*momentum"):
        resolve(recipe=bare, environment={}, settings=["optimizer.zzzzzz=1"])


def test_all_problems_are_told_at_once(bare: str) -> None:
    wrong = ["optimizer.lrr=1", "train.seed=many", "data.labeled=0", "inference.overlap=1.5", "plan.dim=4"]
    with pytest.raises(UsageError) as caught:
        resolve(recipe=bare, environment={}, settings=wrong)
    problems = caught.value.details["problems"]
    for key in ("optimizer.lrr", "train.seed", "data.labeled", "inference.overlap", "plan.dim"):
        assert any(key in problem for problem in problems), key


def test_a_value_in_place_of_a_section_is_an_error(bare: str) -> None:
    with pytest.raises(UsageError, match="optimizer"):
        resolve(recipe=bare, environment={}, settings=["optimizer=adam"])


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="default") as caught:
        resolve(recipe="defualt", environment={})
    assert caught.value.code == "UNKNOWN_RECIPE"


@pytest.mark.parametrize(
    ("text", "code"),
    [("a: [1", "CONFIG_NOT_YAML"), ("- a\n- b\n", "CONFIG"), ("", "CONFIG"), ("\x00", "CONFIG_NOT_YAML")],
)
def test_files_that_are_no_settings(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"mine\.yaml") as caught:
        read_yaml(path)
    assert caught.value.code == code


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.yaml"):
        read_yaml(tmp_path / "gone.yaml")


# --- round trip and the recipes that come with semiseg


def test_saved_config_reads_back_equal(tmp_path: Path, bare: str) -> None:
    config = resolve(recipe=bare, environment={}, settings=["plan.patch=[8,8,8]", "data.labeled=2"])
    save_config(config, tmp_path / "config.yaml")
    assert validate(read_yaml(tmp_path / "config.yaml")) == config


def test_there_is_a_default_recipe() -> None:
    assert "default" in recipes.names()


@pytest.mark.parametrize("name", recipes.names())
def test_every_shipped_recipe_is_valid_for_every_method_it_names(name: str) -> None:
    tree = load_recipe(name)
    for method in [None, *tree.get("methods", {})]:
        flags = {"method.name": method} if method else {}
        config = resolve(recipe=name, environment={}, flags=flags)
        assert config.recipe == name
        assert method is None or config.method.name == method

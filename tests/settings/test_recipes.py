"""Every recipe with every method that it names: settings exist, fit one another, and are those published."""

from __future__ import annotations

import re
from contextlib import nullcontext

import pytest
import torch
from tests.trained import make_plan

from semiseg import methods, networks, recipes
from semiseg.batches import augment
from semiseg.preparation.fingerprint import ChannelFacts, Fingerprint
from semiseg.preparation.planner import choose_channels
from semiseg.settings.changes import changes, other_forms
from semiseg.settings.config import BatchConfig, Config
from semiseg.settings.resolve import load_recipe, resolve
from semiseg.training.samples import batch_sizes
from semiseg.training.trained import require_fit

PROTOCOLS = {
    # network, patch, batch, lr, schedule, iterations, clip, stride or slices, selection
    "la": ("vnet", (112, 112, 80), (2, 2), 0.01, "step", 6000, None, (18, 18, 4), "last"),
    "acdc": ("unet2d", (256, 256), (12, 12), 0.01, "poly", 30000, None, (256, 256), "best-val"),
    "pancreas": ("vnet", (96, 96, 96), (2, 2), 0.01, "step", 6000, None, (16, 16, 16), "last"),
    "brats2019": ("unet3d", (96, 96, 96), (2, 2), 0.01, "poly", 30000, None, (64, 64, 64), "best-val"),
    "isles2022": ("unet3d", (112, 112, 64), (4, 4), 0.01, "constant", 20000, 1.0, (16, 16, 4), "last"),
    "promise12": ("unet2d", (224, 224), (8, 8), 0.01, "poly", 30000, None, (224, 224), "best-val"),
}
RECIPES = {recipe: load_recipe(recipe) for recipe in recipes.names()}
PAIRS = [
    (recipe, method)
    for recipe, content in RECIPES.items()
    for method in content["methods"]
    if method in methods.names()
]
PUBLISHED = [
    (recipe, method)
    for recipe, method in PAIRS
    if RECIPES[recipe]["methods"][method].get("published", {}).get("options")
]
"""Pairs of which the published form has other options than the recipe."""


def configured(recipe: str, method: str) -> Config:
    return resolve(recipe=recipe, environment={}, flags={"method.name": method})


def built(config: Config, patch: tuple[int, ...]) -> tuple[methods.Method, object]:
    """The method with its networks, and a plan of this protocol."""
    plan = make_plan(len(patch), patch=patch)
    name = config.network.name if config.network.name != "auto" else "unet"
    make_net = networks.Factory(
        name,
        dim=plan.dim,
        in_channels=1,
        classes=2,
        options=config.network.options,
        plan=plan.network,
        patch=plan.patch,
    )
    kind = methods.find(config.method.name)
    return kind(make_net, **methods.check_options(kind, config.method.options)), plan


def test_protocols_are_all_recipes_but_the_one_for_own_data() -> None:
    assert {*PROTOCOLS, "default"} == set(recipes.names())


@pytest.mark.parametrize(("recipe", "method"), PAIRS)
def test_every_setting_of_a_recipe_fits(request: pytest.FixtureRequest, recipe: str, method: str) -> None:
    config = configured(recipe, method)
    kind = methods.find(method)
    if str(methods.all_options(kind, config.method.options).get("partner")).startswith("monai:"):
        request.getfixturevalue("monai")
    own = RECIPES[recipe]["methods"][method].get("method", {}).get("options", {})
    assert config.method.options.items() >= own.items()
    # MONAI's transformers look at numbers while they are built.
    with nullcontext() if method in ("cross_teaching", "abd") else torch.device("meta"):
        trained, plan = built(config, config.plan.patch or (32, 32, 32))
    require_fit(plan.patch, *(getattr(trained, name) for name in (trained.predictor, *trained.trainable)))
    config.inference.require_fit(plan.patch, ["structure 1"])
    augment.build(config.augment.name, plan, config.augment.options)
    labeled, unlabeled = batch_sizes(config, plan, trained, 1)
    assert labeled >= 1
    assert bool(unlabeled) == bool(trained.views)


@pytest.mark.parametrize(("recipe", "method"), PUBLISHED)
def test_the_published_form_is_no_departure_and_any_other_is(recipe: str, method: str) -> None:
    config = configured(recipe, method)
    options = config.published.options
    told = other_forms(config)
    assert [text.split("=")[0] for text in told] == [f"published with {name}" for name in options]
    chosen = {f"method.options.{name}": value for name, value in options.items()}
    as_published = resolve(recipe=recipe, environment={}, flags={"method.name": method, **chosen})
    assert other_forms(as_published) == []
    assert changes(as_published) == ""
    with torch.device("meta"):
        ours, theirs = (built(each, config.plan.patch or ())[0] for each in (config, as_published))
    assert set(theirs.departures("paper")) <= set(ours.departures("paper"))
    assert theirs.departures("strict") == theirs.deviations


def test_settings_of_published_figures_are_those_of_the_recipe_or_said() -> None:
    """Rows that name a recipe: an option that no such row has is in the recipe's ``published``."""
    found = 0
    for recipe, method in PAIRS:
        rows = [row for row in methods.published(method) if f"``{recipe}``" in row["why"]]
        said = [dict(re.findall(r"(\w+)=(\w+)", row["setting"])) for row in rows]
        overlay = RECIPES[recipe]["methods"][method]
        for name in {name for row in said for name in row}:
            values = {row[name] for row in said if name in row}
            options = methods.all_options(methods.find(method), overlay.get("method", {}).get("options", {}))
            published = overlay.get("published", {}).get("options", {})
            assert {str(options[name]), str(published.get(name))} & values, (recipe, method, name)
            found += 1
    assert found >= 5


@pytest.mark.parametrize(("method", "share"), [("supervised", (1, 0)), ("cps", (0.5, 0.5)), ("bcp", (1, 1))])
def test_a_plan_counts_the_images_that_networks_see(method: str, share: tuple[float, float]) -> None:
    config = configured("default", method)
    with torch.device("meta"):
        trained, plan = built(config, (32, 32, 32))
    assert batch_sizes(config, plan, trained, 1) == tuple(round(s * plan.batch) for s in share)
    chosen = config.model_copy(update={"batch": BatchConfig(labeled=3, unlabeled=3)})
    assert batch_sizes(chosen, plan, trained, 1) == (3, 3 * bool(trained.views))


@pytest.mark.parametrize("recipe", PROTOCOLS)
def test_protocols_hold_the_published_numbers(recipe: str) -> None:
    config = configured(recipe, "ua_mt")
    network, patch, batch, lr, schedule, iterations, clip, stride, select = PROTOCOLS[recipe]
    assert (config.network.name, config.plan.patch) == (network, patch)
    assert (config.batch.labeled, config.batch.unlabeled) == batch
    assert (config.optimizer.name, config.optimizer.lr, config.schedule.name) == ("sgd", lr, schedule)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 1e-4)
    assert (config.train.iterations, config.train.clip) == (iterations, clip)
    assert stride in (config.inference.stride, config.inference.slice_size)
    assert (config.select, config.protocol, config.plan.foreground) == (select, "paper", 0.0)
    assert config.deviations
    assert config.method.options["weight"] == 0.1
    published = 2 if recipe == "brats2019" else sum(batch)  # its supervised script keeps its batch of 2
    assert configured(recipe, "supervised").batch.labeled == published


def test_the_pancreas_window_is_a_plan_s_channel() -> None:
    config = configured("pancreas", "mean_teacher")
    found = Fingerprint((), (ChannelFacts("CT", None, None),))
    (channel,), _ = choose_channels(found, config.plan.channels)
    assert (channel.scheme, channel.clip) == ("zscore", (-125, 275))
    assert config.augment.name == "crop"


def test_published_settings_of_single_methods() -> None:
    assert configured("la", "ua_mt").method.options["ramp"] == 6000
    assert configured("acdc", "mean_teacher").method.options["hold_off"] == 1000
    assert configured("brats2019", "mean_teacher").method.options.get("hold_off", 0) == 0
    assert configured("la", "upc").network.options["dropout_rate"] == 0.9
    assert configured("brats2019", "ua_mt").method.options.get("multiclass", "corrected") == "corrected"


def test_an_overlay_may_change_network_and_augmentation_with_their_options() -> None:
    config = configured("pancreas", "dycon")
    assert (config.network.name, config.network.options) == ("unet3d", {})
    assert (config.plan.patch, config.augment.name) == ((112, 112, 96), "la")
    assert (config.batch.labeled, config.train.clip, config.schedule.name) == (4, 1.0, "constant")
    assert configured("pancreas", "ua_mt").network.name == "vnet"

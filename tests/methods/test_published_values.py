"""Defaults are the published values, and recipes name options that exist."""

from __future__ import annotations

import pytest

from semiseg import methods, recipes
from semiseg.settings.options import declared
from semiseg.settings.resolve import load_recipe, resolve

PUBLISHED = {
    "mean_teacher": {"weight": 0.1, "decay": 0.99, "noise": 0.1, "predict_with": "student"},
    "ua_mt": {"weight": 0.1, "decay": 0.99, "noise": 0.1, "passes": 8, "multiclass": "corrected"},
    "ict": {"weight": 0.1, "decay": 0.99, "alpha": 0.2, "pairing": "halves"},
    "tcsm": {"weight": 1.0, "decay": 0.999, "ramp": 6000, "ramp_unit": 10, "scale": 0.1, "supervised": "ce"},
    "upc": {"weight": 1.0, "decay": 0.9999, "noise": 0.2, "ramp": 6000, "pseudo_label": "rectified"},
    "dtc": {"weight": 1.0, "distance_weight": 0.3, "steepness": 1500.0, "absent": "ones"},
    "ac_mt": {
        "weight": 0.1,
        "decay": 0.99,
        "threshold_start": 0.75,
        "certain_below": 0.1,
        "filter_by": "both",
    },
    "dycon": {"weight": 0.1, "fecl_weight": 0.5, "beta_max": 5.0, "beta_min": 0.5, "temperature": 0.6},
    "mcf": {"partner": "resvnet", "weight": 0.1, "beta": 0.5, "temperature": 0.1, "predict_with": "average"},
    "cml": {"labeled_weight": 1.0, "unlabeled_weight": 1.0, "discrepancy_weight": 0.2, "ratio": 2 / 3},
    "traco_co": {
        "weight": 1.0,
        "threshold": 0.65,
        "entropy_weight": 0.1,
        "noise": 0.05,
        "predict_with": "first",
    },
    "tcseg": {"weight": 1.0, "high": 0.85, "low": 0.1, "tolerance": 0.05, "mix_after": 100, "decay": 0.99},
    "sdcl": {"partner": "resvnet", "review_weight": 0.5, "rectify_weight": 0.05, "decay": 0.99, "alpha": 0.5},
    "abd": {"weight": 0.1, "displaced_weight": 2.0, "displaced_until": 2 / 3, "grid": 4, "top": 4},
    "abd_bcp": {"dice": "acdc", "grid": 4, "top": 4, "alpha": 0.5, "predict_with": "first"},
    "dhc": {"weight": 0.1, "momentum": 0.99, "difficulty_steps": 50, "floor": 0.0, "predict_with": "average"},
    "dan": {"weight": 0.1, "critic_width": 64},
    "cross_teaching": {"weight": 0.1, "predict_with": "first"},
    "unimatch": {"tau": 0.95, "strong_weight": 0.25, "feature_weight": 0.5, "feature_dropout": 0.5},
    "ad_mt": {"weight": 2.0, "tau": 0.8, "longest_turn": 19, "decay": 0.99, "predict_with": "student"},
    "crossmatch": {"tau": 0.75, "eta": 0.3, "gap": 0.5, "strong_weight": 0.25, "distillation_weight": 0.5},
    "self_training": {"rounds": 2, "keep": 0.9, "quantile": 0.2, "threshold": 0.9, "finetune": 0.1},
    "sassnet": {"weight": 0.01, "distance_weight": 0.3, "reuse_forward": False, "critic_width": 64},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_the_published_values(name):
    options = declared(methods.find(name))
    assert {key: options[key].default for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("recipe", recipes.names())
def test_recipes_set_options_that_the_methods_have(recipe):
    named = load_recipe(recipe)["methods"]
    assert named
    for name in named:
        options = resolve(recipe=recipe, environment={}, flags={"method.name": name}).method.options
        assert methods.check_options(methods.find(name), options) == options


@pytest.mark.parametrize(
    ("recipe", "method", "values"),
    [
        *(
            ("acdc", name, {"augment.options": {"untouched": 0.25}})
            for name in ("bcp", "mc_net", "cml", "ict")
        ),
        *(("acdc", name, {"augment.options": {}}) for name in ("mean_teacher", "ua_mt", "cps", "fixmatch")),
        ("brats2019", "supervised", {"batch.labeled": 2, "batch.unlabeled": 0}),
        ("brats2019", "dycon", {"method.options.threshold_ramp": 0.45}),
        ("la", "dycon", {"method.options.threshold_ramp": 0.15}),
        ("pancreas", "dycon", {"method.options.threshold_ramp": 0.225}),
        ("la", "mcf", {"network.options.init": "kaiming", "network.options.has_dropout": True}),
        ("pancreas", "mcf", {"network.options.init": "kaiming"}),
        (
            "pancreas",
            "reciprocal",
            {"optimizer.name": "adam", "optimizer.lr": 0.001, "batch.labeled": 4, "batch.unlabeled": 5}
            | {"train.iterations": 24000, "network.options.has_dropout": False, "augment.name": "crop"},
        ),
        (
            "la",
            "reciprocal",
            {"batch.labeled": 2, "batch.unlabeled": 2, "method.options.pretrain_share": 0.5},
        ),
    ],
)
def test_recipes_have_the_published_settings(recipe, method, values):
    tree = resolve(recipe=recipe, environment={}, flags={"method.name": method}).model_dump()
    for key, value in values.items():
        found = tree
        for part in key.split("."):
            found = found[part]
        assert found == value, key

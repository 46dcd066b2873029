"""The configuration of each variant on each dataset, and all that is wrong with a specification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from semiseg import methods, networks
from semiseg.config import Config
from semiseg.data.plan import NetworkPlan
from semiseg.errors import SemisegError, UsageError, unknown_name
from semiseg.model_problems import nearest_key
from semiseg.resolve import resolve, with_network
from semiseg.run import flat
from semiseg.sweeping.spec import Data, Spec, Variant

RESERVED = {
    "method.name": "`methods`",
    "network.name": "`network`",
    "recipe": "`recipe`",
    "data.labeled": "`labeled`",
    "data.labeled_patients": "`labeled_patients`",
    "data.fold": "`folds`",
    "train.seed": "`seeds`",
    "train.iterations": "`iterations`",
}
"""Settings that a specification says elsewhere."""


def config_of(spec: Spec, data: Data, variant: Variant) -> Config:
    """The configuration of a variant on a dataset; labels, fold and seed are still to be chosen.

    Patches are planned for the method that needs most memory, so that all are compared on the same.

    Raises:
        UsageError: settings that do not fit, or whose meaning depends on the machine.
    """
    layers = (spec, data, variant)
    flags: dict[str, Any] = {}
    for layer in layers:
        flags.update(flat(layer.set))
    flags["method.name"] = variant.method
    for key, field in (("network.name", "network"), ("train.iterations", "iterations")):
        chosen = [getattr(layer, field) for layer in layers if getattr(layer, field) is not None]
        flags.update({key: chosen[-1]} if chosen else {})
    recipes = [layer.recipe for layer in layers if layer.recipe]
    config = resolve(recipe=recipes[-1] if recipes else None, flags=flags)
    problems = _unsuitable(config)
    if problems:
        hint = "`semiseg methods NAME` and `semiseg networks` say what there is to set"
        raise UsageError("; ".join(problems), hint=hint, details={"problems": problems})
    if config.plan.networks is None and config.plan.patch is None:
        most = max(methods.memory(each.method) for each in spec.methods)
        config = config.model_copy(update={"plan": config.plan.model_copy(update={"networks": most})})
    return with_network(config, NetworkPlan().name)


def _unsuitable(config: Config) -> list[str]:
    problems = []
    if config.train.iterations == "auto":
        problems.append("iterations: a sweep needs a number, since auto depends on the device")
    if config.train.max_time is not None:
        problems.append("set.train.max_time: cells of a sweep train to the end; give `iterations`")
    return problems


def name_problems(spec: Spec) -> Iterator[str]:
    """Names that do not exist, names given twice, and settings in the wrong place."""
    from semiseg.metrics import conventions

    yield from _unknown(conventions.find, spec.convention)
    titles = [variant.title for variant in spec.methods]
    for title in sorted({title for title in titles if titles.count(title) > 1}):
        yield f"methods: {title!r} is given {titles.count(title)} times; tell variants apart by `name`"
    baselines = [v for v in spec.methods if v.title == "supervised" and v.method != "supervised"]
    if spec.bounds and baselines:
        yield f"methods: the name 'supervised' belongs to the bounds, {baselines[0].method} cannot have it"
    layers: list[tuple[str, Spec | Data | Variant]] = [("", spec)]
    layers += [(f"datasets.{i}.", layer) for i, layer in enumerate(spec.datasets)]
    layers += [(f"methods.{i}.", layer) for i, layer in enumerate(spec.methods)]
    for where, layer in layers:
        if layer.network and ":" not in layer.network and layer.network != "auto":
            yield from _unknown(_known_network, layer.network, where)
        for key in sorted(RESERVED.keys() & flat(layer.set).keys()):
            yield f"{where}set.{key}: belongs to {RESERVED[key]}"
    for i, variant in enumerate(spec.methods):
        yield from _method_problems(variant, f"methods.{i}.")


def _method_problems(variant: Variant, where: str) -> Iterator[str]:
    """A method that does not exist, and options that it does not have."""
    try:
        about = methods.description(variant.method)
    except SemisegError as error:
        yield f"{where}method: {error.message}"
        return
    known = [option.name for option in about.options]
    prefix = "method.options."
    for key in flat(variant.set):
        name = key.removeprefix(prefix).partition(".")[0]
        if key.startswith(prefix) and name not in known:
            yield nearest_key(name, known, [f"{where}set.method.options"])


def _known_network(name: str) -> None:
    if name not in networks.names():
        raise unknown_name("network", name, networks.names())


def _unknown(find: Any, name: str, where: str = "") -> Iterator[str]:
    try:
        find(name)
    except SemisegError as error:
        yield f"{where}{error.message}"

"""Which values are searched: the options that the method declares, and settings that were asked for.

Values that a method itself calls broken or dishonest are not searched, unless a user names them.
"""

from __future__ import annotations

import dataclasses
import logging
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel

from semiseg import methods
from semiseg.core import Method
from semiseg.errors import SemisegError, UsageError, unknown_name
from semiseg.preparation.plan import Plan
from semiseg.settings.config import Config
from semiseg.settings.options import Declared, declared
from semiseg.settings.resolve import merge, validate
from semiseg.training.trained import factory
from semiseg.tuning.axes import Axis, Choice, Fixed, derived, parsed

OPTIONS = "method.options."
FREE = ("network.options.", "augment.options.")
"""Settings whose names and types only a network or an augmentation knows."""
NOT_SEARCHED = (
    *("recipe", "protocol", "deviations", "select", "data", "plan", "validation", "method.name"),
    *("train.seed", "train.iterations", "train.max_time", "train.checkpoint_minutes", "train.log_every"),
)
"""What must be the same in all trials, or says nothing about a model."""


@dataclass(frozen=True)
class Search:
    """The values to be searched.

    Attributes:
        config: what is not searched stays as it is here.
        axes: name -> what it may be. A name is an option of the method, or a setting with its section.
        start: name -> what it is in ``config``; it need not be on the axis.
        asked: names that the user gave an axis.
        left_out: name -> why it is not searched.
        deviations: departures from honest practice that the configuration has or the user asked for.
    """

    config: Config
    axes: Mapping[str, Axis]
    start: Mapping[str, Any]
    asked: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)
    deviations: frozenset[str] = frozenset()

    @property
    def contains_start(self) -> bool:
        """Whether the values of ``config`` are among those that are searched."""
        return all(self.start[name] in axis for name, axis in self.axes.items())

    def config_of(self, values: Mapping[str, Any]) -> Config:
        """The configuration with some values changed."""
        return changed(self.config, values)


def make_search(config: Config, space: Iterable[str] = (), only: Sequence[str] = ()) -> Search:
    """The search of a configuration's method, around the values of the configuration.

    ``space`` has ``NAME``, ``NAME=LOW:HIGH[:log]``, ``NAME=[A, B]`` or ``NAME=VALUE``, which fixes it; with
    ``only`` no other names are searched.

    Raises:
        UsageError: an unknown name (with the nearest one), values that do not fit, or nothing to search.
    """
    kind = methods.find(config.method.name)
    options = declared(kind)
    texts = {name.strip().removeprefix(OPTIONS): text.strip() for name, _, text in map(_halves, space)}
    wanted = [name.removeprefix(OPTIONS) for name in only]
    axes: dict[str, Axis] = {}
    fixed: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys([*options, *texts, *wanted]):
        told = _declared(name, options, config)
        found = _axis(name, texts.get(name, ""), told, asked=not wanted or name in (*wanted, *texts))
        if isinstance(found, Fixed):
            fixed[name] = found.value
            left_out[name] = f"fixed at {found.value}"
        elif isinstance(found, str):
            left_out[name] = found
        else:
            axes[name] = found
    config = changed(config, fixed)
    _check(kind, config, axes)
    if not axes:
        raise UsageError(
            f"method {config.method.name} has nothing to search"
            + (f" ({'; '.join(f'{name}: {why}' for name, why in left_out.items())})" if left_out else ""),
            hint="name settings and their ranges, such as --space optimizer.lr=1e-4:1e-2:log",
            code="NOTHING_TO_SEARCH",
        )
    start = {name: _declared(name, options, config).default for name in axes}
    return Search(config, axes, start, frozenset(texts) & axes.keys(), left_out)


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """``config`` with other values, by the names of a search (UsageError that tells all that do not fit)."""
    tree: dict[str, Any] = config.model_dump()
    for name, value in values.items():
        branch: Any = value
        for key in reversed(setting(name).split(".")):
            branch = {key: branch}
        tree = merge(tree, branch)
    return validate(tree)


def setting(name: str) -> str:
    """The dotted setting that a name of a search stands for."""
    return name if "." in name else OPTIONS + name


def _halves(text: str) -> tuple[str, str, str]:
    name, equals, value = text.partition("=")
    if equals and not value.strip():
        raise UsageError(
            f"--space {text}: no value after the equals sign", hint="for example --space weight=0.1:10:log"
        )
    return name, equals, value


def _axis(name: str, text: str, told: Declared, *, asked: bool) -> Axis | Fixed | str:
    if text:
        return parsed(name, text, told.type)
    if not asked:
        return "not asked for"
    found = derived(told.type, told.default)
    if isinstance(found, str) and "." in name:
        raise UsageError(
            f"--space {name}: {found}", hint=f"give its range: --space {name}=LOW:HIGH", code="SPACE"
        )
    return found


def _declared(name: str, options: Mapping[str, Declared], config: Config) -> Declared:
    """Type and present value of an option or setting (UsageError: none, or not to be searched)."""
    if "." not in name:
        if name not in options:
            raise unknown_name(
                f"option of method {config.method.name}",
                name,
                [*options, *_settings(Config)],
                hint=f"options: {', '.join(options) or 'none'}; or a setting such as optimizer.lr",
            )
        kind, default = options[name]
        return Declared(kind, config.method.options.get(name, default))
    if any(name == other or name.startswith(f"{other}.") for other in NOT_SEARCHED):
        raise UsageError(
            f"--space {name}: it must be the same in all trials",
            hint="set it once for all: --set, --iterations, --seed or --plan",
            code="SPACE",
        )
    *path, last = name.split(".")
    section: Any = config
    if name.startswith(FREE):
        return Declared(Any, getattr(section, path[0]).options.get(last))
    if name not in _settings(Config):
        raise unknown_name(
            "setting", name, _settings(Config), hint="docs/configuration.md names every setting"
        )
    for key in path:
        section = getattr(section, key)
    told = type(section).model_fields[last]
    kind = typing.Annotated[told.annotation, *told.metadata] if told.metadata else told.annotation
    return Declared(kind, getattr(section, last))


def _settings(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted setting that can be searched by its name."""
    names: list[str] = []
    for name, told in section.model_fields.items():
        dotted, kind = prefix + name, told.annotation
        if dotted in NOT_SEARCHED or name == "options":
            continue
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        names += _settings(kind, f"{dotted}.") if nested else [dotted]  # type: ignore[arg-type]
    return names


def _check(kind: type[Method], config: Config, axes: Mapping[str, Axis]) -> None:
    """Refuse ends of ranges and values that the method or the configuration would refuse."""
    methods.check_options(kind, dict(config.method.options))
    for name, axis in axes.items():
        ends = axis.values if isinstance(axis, Choice) else (axis.low, axis.high)
        for value in ends:
            whole = not isinstance(axis, Choice) and axis.whole
            tried = changed(config, {name: int(value) if whole else value})
            if "." not in name:
                methods.check_options(kind, {name: tried.method.options[name]})


def without_deviating_values(search: Search, plan: Plan) -> Search:
    """The search without the listed values whose method says that it deviates by them."""
    usual = deviations(search.config, plan)
    axes, left_out, allowed = dict(search.axes), dict(search.left_out), set(usual)
    for name, axis in search.axes.items():
        if not isinstance(axis, Choice) or "." in name:
            continue
        more = [deviations(changed(search.config, {name: value}), plan) - usual for value in axis.values]
        if name in search.asked:
            allowed.update(*more)
            continue
        bad = [value for value, told in zip(axis.values, more, strict=True) if told]
        kept = tuple(value for value, told in zip(axis.values, more, strict=True) if not told)
        if len(kept) > 1:
            axes[name] = Choice(kept)
        else:
            del axes[name]
            left_out[name] = f"{', '.join(map(str, bad))} deviates from the paper or from honest practice"
    start = {name: search.start[name] for name in axes}
    return dataclasses.replace(
        search, axes=axes, start=start, left_out=left_out, deviations=frozenset(allowed)
    )


def deviations(config: Config, plan: Plan) -> frozenset[str]:
    """What the method says of itself when it is built so; nothing where it cannot be built without data."""
    make_net = factory(config, plan)
    try:
        kind: Any = methods.find(config.method.name)
        options = methods.check_options(kind, dict(config.method.options))
        with torch.device("meta"), _silent():  # no memory, no computation
            return frozenset(kind(make_net, **options).deviations)
    except (SemisegError, RuntimeError, NotImplementedError, TypeError, ValueError):
        return frozenset()  # the trial itself will say what is wrong


@contextmanager
def _silent() -> Iterator[Any]:
    """Without the warnings of methods: nothing is trained yet."""
    logger = logging.getLogger("semiseg.methods")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before

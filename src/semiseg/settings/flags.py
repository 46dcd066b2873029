"""Which setting each keyword of a command means: the one place where flags become settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from semiseg.errors import UsageError
from semiseg.settings.config import Config
from semiseg.settings.resolve import resolve

FLAGS = {
    "method": "method.name",
    "network": "network.name",
    "labeled": "data.labeled",
    "labeled_patients": "data.labeled_patients",
    "fold": "data.fold",
    "seed": "train.seed",
    "iterations": "train.iterations",
    "max_time": "train.max_time",
    "start_from": "start.file",
}
"""Keyword, which with hyphens is the command's flag -> setting."""

Settings = Mapping[str, Any] | Iterable[str]
"""Other settings, as ``{"optimizer.lr": 1e-3}`` or as ``["optimizer.lr=1e-3"]`` (``--set``)."""


def of_keywords(given: Mapping[str, Any], **instead: Any) -> Config:
    """The configuration that the keywords of a function mean: ``of_keywords(locals())`` as its first line.

    Args:
        given: name -> value. Those of :func:`configured` count, all others are for the function itself.
        instead: values that take the place of given ones.

    Raises:
        UsageError: see :func:`configured`.
    """
    known = ("config", "recipe", "settings", *FLAGS)
    return configured(**{name: value for name, value in {**given, **instead}.items() if name in known})


def configured(
    config: Config | str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    settings: Settings | None = None,
    **flags: Any,
) -> Config:
    """The configuration that the keywords of a command mean together.

    Raises:
        UsageError: unknown keys (with the nearest one), bad values, an unreadable file; all of them at once.
    """
    given = {
        FLAGS[name]: str(value) if isinstance(value, Path) else value
        for name, value in flags.items()
        if value is not None
    }
    if FLAGS["fold"] in given and not isinstance(config, Config):
        given.setdefault("data.folds", "auto")
    if isinstance(config, Config):
        if given or settings or recipe is not None:
            raise UsageError(
                "a whole configuration takes no recipe, flag or setting beside it",
                hint="change the configuration itself, or give a YAML file instead",
                code="CONTRADICTION",
            )
        return config
    if isinstance(settings, Mapping):
        given, settings = {**settings, **given}, ()
    file = None if config is None else Path(config)
    return resolve(recipe=recipe, file=file, settings=settings or (), flags=given)

"""Values that a method itself calls broken or dishonest are not searched, unless a user names them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from semiseg import methods
from semiseg.config import Config
from semiseg.core import Method
from semiseg.data.plan import Plan
from semiseg.errors import SemisegError
from semiseg.training_parts import factory
from semiseg.tuning.axes import Choice
from semiseg.tuning.search import Search, changed


def honest(search: Search, plan: Plan) -> Search:
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
        kind: Callable[..., Method] = methods.find(config.method.name)
        options = methods.check_options(methods.find(config.method.name), dict(config.method.options))
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

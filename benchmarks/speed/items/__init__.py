"""What is compared: a name and the function that gives its cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from benchmarks.speed.setting import Case, Setting

ITEMS = {
    "loader": ("loading", "cases"),
    "step3d": ("step", "cases3d"),
    "step2d": ("step", "cases2d"),
    "inference": ("inference", "cases"),
    "metrics": ("arrays", "metric_cases"),
    "components": ("arrays", "component_cases"),
    "confident": ("arrays", "confident_cases"),
    "distance": ("arrays", "distance_cases"),
}


def find(names: Sequence[str], setting: Setting) -> list[Case]:
    """The cases of these items (``step3d``), or these cases (``step3d.ua_mt``), in the order of the table."""
    found = []
    for item in dict.fromkeys(name.partition(".")[0] for name in names):
        module, function = ITEMS[item]
        make: Callable[[Setting], list[Case]] = getattr(
            import_module(f"benchmarks.speed.items.{module}"), function
        )
        found += [case for case in make(setting) if item in names or case.name in names]
    return found


def place(case: str) -> int:
    """Where a case stands in the table: items in their order."""
    return list(ITEMS).index(case.partition(".")[0])

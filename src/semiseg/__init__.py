"""From a few labeled and many unlabeled scans to a trained, honestly evaluated segmentation model.

``semiseg.train(dataset, method="mean_teacher", labeled=8)`` trains, ``semiseg.predict(inputs, output, run)``
uses what was trained, ``semiseg.evaluate(reference, prediction)`` scores it. Nothing heavy is imported
before it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semiseg.__about__ import __version__

if TYPE_CHECKING:
    from semiseg.api import check, compare, evaluate, predict, recommend, sweep, train, tune
    from semiseg.config import Config
    from semiseg.core import Method
    from semiseg.data.dataset import Dataset
    from semiseg.data.plan import Plan
    from semiseg.data.planner import make_plan
    from semiseg.errors import SemisegError
    from semiseg.model import Model
    from semiseg.run import Run, load_run

__all__ = [
    "Config",
    "Dataset",
    "Method",
    "Model",
    "Plan",
    "Run",
    "SemisegError",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "load_run",
    "make_plan",
    "predict",
    "recommend",
    "sweep",
    "train",
    "tune",
]

_HOMES = {
    "Config": "config",
    "Dataset": "data.dataset",
    "Method": "core",
    "Model": "model",
    "Plan": "data.plan",
    "Run": "run",
    "SemisegError": "errors",
    "check": "api",
    "compare": "api",
    "evaluate": "api",
    "load_run": "run",
    "make_plan": "data.planner",
    "predict": "api",
    "recommend": "api",
    "sweep": "api",
    "train": "api",
    "tune": "api",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semiseg' has no attribute {name!r}")
    return getattr(import_module(f"semiseg.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

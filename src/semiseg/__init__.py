"""From a few labeled and many unlabeled scans to a trained, honestly evaluated segmentation model.

``semiseg.train(dataset, labeled=8)`` trains, ``semiseg.predict(inputs, output, run)``
uses what was trained, ``semiseg.evaluate(reference, prediction)`` scores it.

Each command is one of these functions: it has the same defaults and the same errors, and prints nothing but
log lines. A name is loaded when it is first used, so that ``import semiseg`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semiseg.__about__ import __version__

if TYPE_CHECKING:
    from semiseg.advice.advise import recommend
    from semiseg.comparison.compare import compare
    from semiseg.core import Method
    from semiseg.dataset.adopt import adopt as init
    from semiseg.dataset.check import check
    from semiseg.dataset.dataset import Dataset
    from semiseg.dataset.public.convert import convert
    from semiseg.dataset.write_split import split
    from semiseg.delivery.export import export
    from semiseg.errors import SemisegError
    from semiseg.evaluation.arrays import evaluate
    from semiseg.labeling.accept import accept
    from semiseg.labeling.next import next_cases
    from semiseg.prediction.model import Model
    from semiseg.prediction.predict import predict
    from semiseg.preparation.plan import Plan
    from semiseg.preparation.planner import make_plan
    from semiseg.preparation.prepare import plan_dataset as plan
    from semiseg.preparation.prepare import prepare
    from semiseg.runs.run import Run, load_run
    from semiseg.settings.config import Config
    from semiseg.studio.serve import studio as open_studio
    from semiseg.sweeping.sweep import sweep
    from semiseg.training.cross_validation import cross_validate
    from semiseg.training.train import train
    from semiseg.tuning.tune import tune

__all__ = [
    "Config",
    "Dataset",
    "Method",
    "Model",
    "Plan",
    "Run",
    "SemisegError",
    "__version__",
    "accept",
    "check",
    "compare",
    "convert",
    "cross_validate",
    "evaluate",
    "export",
    "init",
    "load_run",
    "make_plan",
    "next_cases",
    "open_studio",
    "plan",
    "predict",
    "prepare",
    "recommend",
    "split",
    "sweep",
    "train",
    "tune",
]

_HOMES = {
    "Config": "settings.config",
    "Dataset": "dataset.dataset",
    "Method": "core",
    "Model": "prediction.model",
    "Plan": "preparation.plan",
    "Run": "runs.run",
    "SemisegError": "errors",
    "accept": "labeling.accept",
    "check": "dataset.check",
    "compare": "comparison.compare",
    "convert": "dataset.public.convert",
    "cross_validate": "training.cross_validation",
    "evaluate": "evaluation.arrays",
    "export": "delivery.export",
    "init": "dataset.adopt:adopt",
    "load_run": "runs.run",
    "make_plan": "preparation.planner",
    "next_cases": "labeling.next",
    "open_studio": "studio.serve:studio",
    "plan": "preparation.prepare:plan_dataset",
    "predict": "prediction.predict",
    "prepare": "preparation.prepare",
    "recommend": "advice.advise",
    "split": "dataset.write_split",
    "sweep": "sweeping.sweep",
    "train": "training.train",
    "tune": "tuning.tune",
}
"""Public name -> the module where it lives, and what it is called there where that differs."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'semiseg' has no attribute {name!r}")
    module, _, within = _HOMES[name].partition(":")
    return getattr(import_module(f"semiseg.{module}"), within or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

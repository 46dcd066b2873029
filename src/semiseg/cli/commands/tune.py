"""``semiseg tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from semiseg.cli import options
from semiseg.cli.help import LENGTH, MACHINE, OUTPUT, SEARCH
from semiseg.cli.options import flag
from semiseg.cli.output import Output

EXAMPLES = (
    "semiseg tune Dataset104_Heart --method mean_teacher --labeled 8 --iterations 500",
    "semiseg tune 104 --method ac_mt --labeled 8 --space weight=0.1:10:log --only weight --only selection",
    "semiseg tune 104 --method mean_teacher --labeled 8 --space optimizer.lr --minutes 120 -j 2",
    "semiseg tune 104 --method mean_teacher --labeled 8 --space optimizer.lr --resume --trials 60",
)


def run(
    out: Output,
    dataset: options.Dataset,
    method: options.Method = None,
    labeled: options.Labeled = None,
    labeled_patients: options.LabeledPatients = None,
    fold: options.Fold = None,
    seed: options.Seed = None,
    trials: Annotated[
        int, flag("--trials N", "Total number of trials, including earlier sessions.", LENGTH, min=2)
    ] = 30,
    minutes: Annotated[
        float | None, flag("--minutes MINUTES", "Start no new trial after this many minutes.", LENGTH, min=0)
    ] = None,
    iterations: Annotated[
        int | None,
        flag(
            "--iterations N",
            "Number of iterations of each training.  [default: as in `semiseg train`]",
            LENGTH,
            min=1,
        ),
    ] = None,
    folds: Annotated[
        int | None,
        flag("--folds N", "Number of folds of the labeled cases.  [default: 4, or fewer]", SEARCH, min=2),
    ] = None,
    metric: Annotated[
        str,
        flag("--metric NAME", "Metric that ranks trials: Dice, HD95, …; of one class: Dice/CLASS.", SEARCH),
    ] = "Dice",
    space: Annotated[
        list[str] | None,
        flag(
            "--space NAME=VALUES",
            "Range to search: LOW:HIGH, LOW:HIGH:log, [A,B], or one fixed value. NAME is a method "
            "option or a setting such as optimizer.lr. May be repeated.",
            SEARCH,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        flag("--only NAME", "Search only this option; may be repeated.", SEARCH),
    ] = None,
    config: options.Config = None,
    recipe: options.Recipe = None,
    settings: options.Set = None,
    plan: options.PlanFile = None,
    output: Annotated[
        Path | None, flag("-o --output DIR", "Tuning folder.  [default: a folder beside the runs]", OUTPUT)
    ] = None,
    resume: Annotated[
        bool, flag("--resume", "Resume an earlier search; start a new one if there is none.", LENGTH)
    ] = False,
    overwrite: options.Overwrite = False,
    force: Annotated[
        bool, flag("--force", "Take the best trial even if its lead is within noise.", SEARCH)
    ] = False,
    no_pruning: Annotated[bool, flag("--no-pruning", "Train every trial to its end.", SEARCH)] = False,
    device: options.Device = None,
    workers: Annotated[
        int, flag("-j --workers N", "Number of trials at a time, each in its own process.", MACHINE, min=1)
    ] = 1,
    dry_run: Annotated[
        bool, flag("--dry-run", "Show what would be searched; train nothing.", OUTPUT)
    ] = False,
) -> None:
    """Search a method's hyperparameters on folds of the labeled cases, and write a configuration file.

    Labels of unlabeled and test cases are never opened. Where the best trial's lead is within the noise
    between the folds, the settings stay as they are. Ctrl-C saves; --resume continues from there.
    """
    from semiseg.settings.flags import of_keywords

    if resume and overwrite:
        raise options.contradiction("--resume", "--overwrite")
    wanted = of_keywords(locals(), iterations=None)  # those are of a trial
    options.require_method(wanted.method.name)
    terms: dict[str, Any] = {"space": space or (), "only": only or (), "metric": metric}
    terms |= {"iterations": iterations, "folds": folds, "plan": plan, "device": options.device(device)}
    runs = options.runs(None)

    from semiseg.tuning.study import require_optuna

    require_optuna()
    from semiseg.drawing.table import terminal
    from semiseg.tuning.write import plan_words, result_words, summary, table

    if dry_run:
        from semiseg.dataset.dataset import Dataset
        from semiseg.tuning.outline import outline
        from semiseg.tuning.tune import folder_of

        planned = outline(Dataset.open(dataset), wanted, **terms)
        folder = output or folder_of(planned, runs)
        lines = [*plan_words(planned, trials), f"folder: {folder}"]
        out.result({"dry_run": True, "folder": folder, **planned.as_dict()}, "\n".join(lines))
        return
    from semiseg.tuning.tune import tune

    tuned = tune(
        dataset,
        wanted,
        **terms,
        trials=trials,
        minutes=minutes,
        runs=runs,
        output=output,
        workers=workers,
        prune=not no_pruning,
        force=force,
        resume=resume,
        overwrite=overwrite,
    )
    out.text(terminal(table(tuned)))
    out.result(summary(tuned), "\n".join(result_words(tuned)))

"""``semiseg tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semiseg.cli import options
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
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="See `semiseg methods`.")
    ] = None,
    labeled: options.Labeled = None,
    labeled_patients: options.LabeledPatients = None,
    fold: options.Fold = None,
    seed: options.Seed = None,
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=2, help="In all, those of earlier sessions too.")
    ] = 30,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="N", min=0, help="Begin no trial after so many.")
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations", metavar="N", min=1, help="Of each training.  [default: as in `semiseg train`]"
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", metavar="N", min=2, help="Of the labeled cases.  [default: 4, or fewer]"),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", metavar="NAME", help="Dice, HD95, ..., or of one class: Dice/CLASS.")
    ] = "Dice",
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            metavar="NAME=VALUES",
            help="LOW:HIGH, LOW:HIGH:log, [A,B], or one value, which fixes it. NAME is an option of the "
            "method, or a setting such as optimizer.lr, which needs no values. May be repeated.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME", help="Search this and no others; may be repeated.", show_default=False
        ),
    ] = None,
    config: options.Config = None,
    recipe: options.Recipe = None,
    settings: options.Set = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="A plan.json to use instead of making one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The tuning folder.  [default: among the runs]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an earlier tuning; begin where there is none.")
    ] = False,
    overwrite: options.Overwrite = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take the best trial even if its lead is within noise.")
    ] = False,
    no_pruning: Annotated[bool, typer.Option("--no-pruning", help="Train every trial to its end.")] = False,
    device: options.Device = None,
    workers: Annotated[
        int, typer.Option("-j", "--workers", metavar="N", min=1, help="Trials at a time, as processes.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be searched.")] = False,
) -> None:
    """Search for a method's best hyperparameters, on folds of the labeled cases, and write a config file.

    Labels of unlabeled and test cases are never opened. Where the best trial's lead is within the noise
    between the folds, the settings stay as they are. Ctrl-C saves; --resume goes on from there.
    """
    from semiseg.settings.flags import configured

    if resume and overwrite:
        raise options.contradiction("--resume", "--overwrite")
    wanted = configured(
        config,
        recipe=recipe,
        settings=settings,
        method=method,
        labeled=labeled,
        labeled_patients=labeled_patients,
        fold=fold,
        seed=seed,
    )
    options.require_method(wanted.method.name)
    terms: dict[str, Any] = {"space": space or (), "only": only or (), "metric": metric}
    terms |= {"iterations": iterations, "folds": folds, "plan": plan, "device": options.device(device)}
    runs = options.runs(None)

    from semiseg.tuning.book import require_optuna

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

"""Search for the hyperparameters of a method, on folds of the labeled cases alone.

A tuning folder::

    TUNING/
      study.journal      every trial, appended as it happens (Optuna's journal)
      plan.json          the plan that all trials share
      trials.csv         one row per trial: state, score, score of each fold, values, seconds
      best.yaml          for ``semiseg train -c best.yaml`` or ``--recipe best.yaml``
      trials.svg         the scores in their order, and against each value
      summary.json       what the command reported
      trials/0007.json, .log  with several workers: what a trial is, and what its process printed
      trials/0007/fold-2/     the run folder of a training, without its weights once it is scored

:mod:`~semiseg.tuning.tune` puts the rest together: ``outline`` (cases, folds and plan), ``axes`` (what a
value may be), ``search`` (which values are searched), ``trial`` (the trainings of one setting), ``study``
(the only file that knows Optuna), ``trial_workers`` (processes that train), ``verdict`` (whether the best is
better) and ``write`` (tables, figure and summary).
"""

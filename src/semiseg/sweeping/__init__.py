"""Many trainings from one file: methods x labels x seeds x folds x datasets, resumable at any point.

A sweep is a folder::

    SWEEP/
      spec.yaml                  the specification as it was last run
      sweep.json                 what a reader needs; rewritten whole after every change
      cells/ID.json  ID.log      the ledger: one small file per cell, and what its worker printed
      DATASET/VARIANT__NETWORK__RECIPE/
        .labeled-8_fold-0_seed-0.lock        held while somebody works in that run folder
        labeled-8_fold-0_seed-0/                         a run folder as of ``semiseg train``
          test/{CASE.nii.gz,summary.json,metrics.csv}    the scored predictions

A run folder that is taken by a run with other settings is left alone: the cell's own ends in ``_HASH``.

``sweep.json`` is ``{"version": 1, "name", "spec", "score", "convention", "updated", "cells": [...]}``. Every
cell of the grid has an entry, finished or not, so that what is missing can be seen::

    {"id": "3f2a91c4d0b7", "dataset": "Dataset104_Hippocampus", "variant": "mean_teacher",
     "method": "mean_teacher", "network": "unet", "recipe": "default", "iterations": 1000,
     "labeled": 8, "budget": "8", "fold": 0, "seed": 0, "bound": null,
     "run": "Dataset104_Hippocampus/mean_teacher__unet__default/labeled-8_fold-0_seed-0",
     "scores": "Dataset104_Hippocampus/.../labeled-8_fold-0_seed-0/test",
     "state": "done", "error": null, "attempts": 1,
     "result": {"Dice": 0.8712, "HD95": 1.52, "HD95Max": 1.66, "ASD": 0.41},
     "seconds": 181.2, "where": "node 4711 cpu", "changed": "..."}

- ``labeled`` is a number of cases; ``budget`` is how it was asked for: ``8``, ``2patients`` or ``all``.
- ``state`` is ``waiting``, ``running``, ``done``, ``failed`` (it raised an error that trying again will not
  mend; ``error`` is ``{"code", "message", "hint"}``) or ``dead`` (its process was killed; ``error`` says
  how).
- ``bound`` is ``lower`` for supervised training with the same few labels, ``upper`` for supervised training
  with all labels, else null. A cell that the specification names anyway carries the mark too.
- ``run`` and ``scores`` are relative to the sweep folder. ``scores`` holds ``summary.json`` and
  ``metrics.csv`` once the cell is done. ``seconds`` is the time of all attempts together, as far as known.
"""

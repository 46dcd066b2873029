# %% [markdown]
# # 4 Compare methods for a paper
#
# This notebook trains several methods with several seeds, tests their differences and writes a report, as in
# [the tutorial](paper.md). Synthetic scans stand in for yours. 200 iterations only show the steps.

# %% tags=["parameters"]
methods = ["fixmatch", "mean_teacher"]
seeds = [0, 1]
iterations = 200
scans = {"labeled": 8, "unlabeled": 24, "test": 12}  # of the dataset that is drawn

# %%
from pathlib import Path

import semiseg
from semiseg.demo.phantoms import make_phantom_dataset

dataset = Path("PhantomsForPaper")
if not dataset.is_dir():
    make_phantom_dataset(dataset, **scans)
semiseg.check(dataset)

# %% [markdown]
# ## Train and score
#
# Supervised training with the same 2 labels is added as the lower bound, and with all labels as the upper one. Each run is
# trained, its test scans are segmented with the last weights, and scored. Running the cell again trains only what is missing.

# %%
outcome = semiseg.sweep(
    {"datasets": str(dataset), "methods": methods, "labeled": 2, "seeds": seeds, "iterations": iterations},
    folder="runs/paper",
    workers=0,  # in this process, one after another
)
if problem := outcome.problem():
    raise problem

# %% [markdown]
# ## Compare

# %%
comparison = semiseg.compare("runs/paper")
comparison

# %% [markdown]
# Copy the notes below the tables into the paper: they name runs that are missing, differences in length, and single seeds.
#
# ## The report

# %%
written = semiseg.comparison.write(comparison, "comparison")
sorted(path.name for path in written)

# %% [markdown]
# `comparison/report.html` has every test, figure and picture in one file. Beside it are tables for LaTeX and spreadsheets.
#
# Next: [comparing runs](../comparing.md)

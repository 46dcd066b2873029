# %% [markdown]
# # 2 Left atrium: 8 labels and 72 unlabeled scans
#
# This notebook measures what unlabeled scans gain, as in [the tutorial](left-atrium.md). With the numbers below it takes about
# an hour on one CPU thread. Make the dataset first: `semiseg convert la DOWNLOAD -o Dataset101_LeftAtrium --split ua-mt`.
# Your own dataset works just as well: name it, and leave `settings` empty.

# %% tags=["parameters"]
dataset = "Dataset101_LeftAtrium"
labeled = 8  # labeled scans; the labels of all other training scans stay unopened
iterations = 2000
settings = {"plan.spacing": [1.25, 1.25, 1.25], "plan.patch": [56, 56, 40]}  # half the published resolution

# %%
from pathlib import Path

import semiseg

data = Path(dataset)
semiseg.check(data)

# %% [markdown]
# ## Train twice
#
# Both trainings have the same labels, iterations and settings. A training that was stopped is resumed; a finished one is
# not repeated.

# %%
for method in ("supervised", "fixmatch"):
    semiseg.train(
        data,
        method=method,
        labeled=labeled,
        iterations=iterations,
        settings=settings,
        run=method,
        resume=True,
    )

# %% [markdown]
# ## Predict and score the test scans
#
# The last weights are used. Nothing is chosen on the test scans.

# %%
for method in ("supervised", "fixmatch"):
    predicted = Path(method) / "test"
    semiseg.predict(data / "imagesTs", predicted, method, overwrite=True)
    scores = semiseg.evaluate(data / "labelsTs", predicted, dataset=data)
    scores.save(predicted)
    print(f"{method}: mean Dice {scores.mean('Dice'):.3f}, HD95 {scores.mean('HD95'):.2f}")

# %% [markdown]
# ## Compare
#
# The difference to supervised training is the gain of the unlabeled scans. Look at its interval, not only at the mean.

# %%
comparison = semiseg.compare("supervised", "fixmatch")
comparison

# %%
written = semiseg.comparison.write(comparison, "comparison")
print("report: comparison/report.html")

# %% [markdown]
# The report shows the worst, the median and the best scan, every test, and what each run cost.
# One run of each method compares two models. For the methods, train with other seeds, too.
#
# Next: [compare methods for a paper](paper.md)

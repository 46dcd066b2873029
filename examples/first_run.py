# %% [markdown]
# # 1 First run
#
# This notebook runs the demo of [the tutorial](first-run.md) and looks at what it made. It takes a few minutes on two CPU cores.
# Synthetic scans are drawn, two methods are trained, and both are scored on test scans.

# %% tags=["parameters"]
minutes = 2.5  # approximate duration on two cores; 20 iterations are enough to see the steps
iterations = None  # of each method, instead of minutes
folder = "demo"

# %%
import nibabel

import semiseg
from semiseg.demo.demo import run

demo = run(folder, minutes=minutes, iterations=iterations)

# %% [markdown]
# ## The dataset
#
# A few scans have a label, most have none. `check` looks for problems.

# %%
semiseg.check(demo.dataset)

# %% [markdown]
# ## The runs
#
# Both methods had the same labeled scans and the same number of iterations. The second one also learned from unlabeled scans.

# %%
demo.comparison

# %% [markdown]
# The phantoms show how the tool works. They say nothing about your scans.
#
# ## A prediction
#
# The entropy map shows where the network is uncertain.

# %%
trained = semiseg.load_run(demo.runs["fixmatch"])
scan = sorted((demo.dataset / "imagesTs").glob("*.nii.gz"))[0]
result = trained.segment(nibabel.load(scan), uncertainty=True)
result

# %%
result.volumes, result.unit

# %% [markdown]
# The report has tables, tests, figures and pictures of both runs. Open it in a browser.

# %%
print(f"report: {demo.report}")

# %% [markdown]
# Next: [your own scans](own-scans.md)

"""The commands by group, with the line that ``semiseg --help`` shows, so that listing imports no command."""

from __future__ import annotations

COMMANDS = {
    "Start here": {
        "demo": "Try the whole workflow on small synthetic scans.",
        "doctor": "Show versions, devices, memory and optional packages.",
    },
    "Prepare data": {
        "init": "Turn a folder of scans into a dataset.",
        "convert": "Turn a public data set into a dataset, with its split.",
        "check": "Find problems in a dataset and how to fix them.",
        "split": "Cut the labeled cases into folds, by patient.",
        "plan": "Show the preprocessing and network semiseg would use.",
    },
    "Train": {
        "recommend": "Suggest which method to train first.",
        "train": "Train on labeled and unlabeled scans.",
        "tune": "Search a method's hyperparameters.",
    },
    "Use": {
        "predict": "Segment new scans with a trained model.",
        "export": "Hand a model on: zip, ONNX, PyTorch, MONAI bundle.",
        "evaluate": "Score segmentations: Dice, HD95, NSD, volumes.",
    },
    "Label": {
        "studio": "See, label, train and correct in a browser tab.",
        "next": "Say which scans to label next, and why.",
        "accept": "Take predictions of unlabeled scans as labels.",
    },
    "Compare": {
        "sweep": "Train many methods, label counts and seeds.",
        "compare": "Compare runs: intervals, tests, report.",
    },
    "Look up": {
        "methods": "List training methods, or show one.",
        "networks": "List networks.",
        "recipes": "List named settings and published protocols.",
    },
}
"""Group -> command -> its line, at most 60 characters. A new command is one more line here, one file in
``semiseg.cli.commands``, and one row in the README."""

LINES = {name: line for group in COMMANDS.values() for name, line in group.items()}
"""Command -> its line, in the order of the groups."""

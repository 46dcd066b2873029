"""Which method to train first: facts of the dataset, figures, rules, and a ranking with its reasons.

``rules.py`` is the selection guide itself, to be read and disputed. Nothing here trains anything or opens a
label of an unlabeled or test case.
"""

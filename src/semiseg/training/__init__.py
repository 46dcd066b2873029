"""Batches to weights: one training, its loop, its validation. The loop knows no method and no dataset."""

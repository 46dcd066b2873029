"""Stored cases to the batch of an iteration: samples, augmentation, targets."""

"""Scans to label maps on disk: which scans, which networks, and a record of each."""

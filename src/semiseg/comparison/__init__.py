"""Runs side by side: what they scored, whether the difference is more than chance, and what they cost."""

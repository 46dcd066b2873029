"""The figures of a comparison: one file is one figure, a pure function from the data to a Figure."""

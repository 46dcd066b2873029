"""Where labels come from: what to label next, saving a label with its history, accepting predictions."""

"""The parts of the page: one file is one part, from the comparison to HTML."""

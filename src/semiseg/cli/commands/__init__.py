"""One command, one file: a ``run`` function, whose docstring is the help, and ``EXAMPLES``."""

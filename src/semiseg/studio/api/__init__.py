"""The routes of the studio, one subject per file; each has a ``router`` that finds the desk on the app."""

"""What a run leaves behind for people: logs, curves, pictures, tables.

The logs are listeners of :mod:`semiseg.engine.events`. Nothing in this room changes a run: a listener reads
events and writes files or the terminal.
"""

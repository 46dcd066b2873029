"""What a training leaves behind: the run folder, its events, logs and curves."""

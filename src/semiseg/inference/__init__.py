"""From networks to probabilities and clean label maps: windows, mirroring, uncertainty, post-processing."""

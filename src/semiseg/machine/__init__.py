"""What this computer has and does: files written whole, hardware, processes, provenance."""

"""What ``semiseg init`` knows: how people name scans and masks, and how to turn a pile into a dataset."""

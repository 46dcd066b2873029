"""On paper and on the terminal: pictures of segmentations, tables, colors."""

"""Which scans there are: the dataset folder, its cases, who is labeled, and what is wrong with it."""

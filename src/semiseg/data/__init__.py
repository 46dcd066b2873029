"""From a folder of scans to batches: formats, dataset, check, plan, preprocess, store, batches."""

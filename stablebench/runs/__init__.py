"""The run store: folders, records, curves, checkpoints and locks."""

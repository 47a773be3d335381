"""Data and generators that users bring: read, checked, and turned into batches."""

"""Models that look back at all inputs of a sequence: a model is a file, named after it."""

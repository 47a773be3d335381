"""Code that users bring: how a model of one or several files is located, loaded, identified and remembered."""

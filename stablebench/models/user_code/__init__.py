"""Code that users bring: how a model of one or several files is found, loaded, told apart and remembered."""

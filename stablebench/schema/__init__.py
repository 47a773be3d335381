"""Strict models of every file: task card, recipe, suite, run spec, run record."""

"""Figures, all by matplotlib in one style."""

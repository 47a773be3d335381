"""Figures and pages from what runs left."""

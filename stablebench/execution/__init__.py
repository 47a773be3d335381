"""Suites: their runs, and where these are executed."""

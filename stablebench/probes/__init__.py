"""Gradient probes: how the gradient fares along a chain of states, in float64, and whether claims about it hold."""

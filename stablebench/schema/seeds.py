"""The range of a run's seed."""

MAX_SEED = 2**32 - 1
"""torch's generator on a CPU reads 32 bits of a seed, so that seeds 2**32 apart would give the same weights."""
WHY = "torch's generator reads 32 bits of a seed"

"""How long a model takes for a sequence, forward and backward, and what it is compared with."""

"""Training: resolving a request, one loop for all, optimisers, checkpoints, the run store."""

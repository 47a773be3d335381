"""Search for hyper-parameters: a space, trials that are ordinary runs, and the best of them as a recipe."""

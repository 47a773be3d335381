"""One file a task: it generates or loads the examples."""

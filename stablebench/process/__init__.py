"""What is true of a whole process: torch's settings, its device, signals, streams and memory, compiled C."""

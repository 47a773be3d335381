"""What the papers prove of their models, a file each, and how it is checked."""

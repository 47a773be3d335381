"""What `import stablebench as sb` offers: the commands as functions, with the same words."""

"""The command line: a command is a file of this folder that defines a function or a Typer of its own name."""

from stablebench.cli.shared import early_signals

early_signals.watch_if_command()

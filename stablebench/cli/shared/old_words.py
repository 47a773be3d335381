"""Commands of version 0.1.0 that still work, each with one line on stderr that names the new word."""

_COMMANDS = {"promises": "claims"}


def with_new_words(args: list[str]) -> list[str]:
    """Return a command line, from the command's name on, with the command's new name in place of an old one."""
    if not args:
        return args
    new = _COMMANDS.get(args[0], args[0])
    if new != args[0]:
        from stablebench.cli.ui.output import note

        note(f"`{args[0]}` is now called `{new}`; the old word goes with the next version.")
    return [new, *args[1:]]

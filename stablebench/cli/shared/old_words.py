"""Words of version 0.1.0 that still work, each with one line on stderr that names the new word."""

_COMMANDS = {"promises": "claims"}
_OPTIONS = {"speed": {"--model": "--models"}}
"""Old options by command."""


def with_new_words(args: list[str]) -> list[str]:
    """Return a command line, from the command's name on, with new words in place of old ones."""
    if not args:
        return args
    command = _renamed(args[0], _COMMANDS)
    options = _OPTIONS.get(command, {})
    words = []
    for word in args[1:]:
        name, equals, value = word.partition("=")
        words.append(_renamed(name, options) + equals + value)
    return [command, *words]


def _renamed(word: str, new_words: dict[str, str]) -> str:
    new = new_words.get(word, word)
    if new != word:
        from stablebench.cli.ui.output import note

        note(f"`{word}` is now called `{new}`; the old word goes with the next version.")
    return new

"""Options of a leaderboard that would do nothing: refused before anything is run."""

from collections.abc import Mapping

from stablebench.cli.shared.options import TableOutputOptions
from stablebench.errors import UserError


def refuse_without(given: Mapping[str, bool], there: bool, option: str) -> None:
    """Raise where options are given that only another one has a use for.

    Args:
        given: By option whether it is given.
        there: Whether the other one is.
        option: The other one.

    Raises:
        UserError: One is given without it.
    """
    for name in [] if there else _those(given):
        raise UserError(f"{name} is {option}'s: give that as well.")


def refuse_with_data(given: Mapping[str, bool], shown: TableOutputOptions) -> None:
    """Raise where options say how a table looks, and no table is printed.

    Args:
        given: By option whether it is given.
        shown: What is printed.

    Raises:
        UserError: They do.
    """
    form = "--json" if shown.as_json else f"--format {shown.fmt}"
    for name in _those(given) if shown.as_json or shown.fmt == "csv" else []:
        raise UserError(f"{name} and {form}: it has every metric and setting of each run; leave one out.")


def refuse_with_rates(given: Mapping[str, bool]) -> None:
    """Raise where options of the leaderboard are given with the grid of rates, which has a table of its own.

    Args:
        given: By option whether it is given.

    Raises:
        UserError: One is.
    """
    for name in _those(given):
        raise UserError(f"{name} and --rates: the grid of rates has its own table; leave one out.")


def _those(given: Mapping[str, bool]) -> list[str]:
    return [name for name, there in given.items() if there]

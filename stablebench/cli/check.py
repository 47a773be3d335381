"""Check whether a model keeps to the contract that engines and results rely on."""

from typing import Annotated

import typer

from stablebench.cli.shared.commands import option
from stablebench.cli.shared.known_names import check_names
from stablebench.cli.shared.options import AsJson, parse_settings
from stablebench.cli.ui.output import Table, note, print_json, print_tables


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="FILE.py:CLASS, package.module:CLASS, or a name.")],
    hidden: Annotated[int, option("Width.", metavar="N", min=1, max=4096)] = 8,
    T: Annotated[int, option("Time steps, or layers.", None, "--T", metavar="N", min=2, max=1000)] = 6,
    settings: Annotated[
        list[str] | None,
        option("An argument of the model's own: rho=0.5. Repeatable.", None, "--set", metavar="KEY=VALUE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a model keeps to the contract that engines and results rely on.

    The model is run at a small size on random inputs. Exit code 2 where the contract is broken, 0 also with warnings.

    Example:
        stablebench check roarnn --hidden 12 --set rho=0.5
    """
    check_names([model])
    from stablebench.contract.checked_model import CheckedModel
    from stablebench.contract.run import run_checks
    from stablebench.models import registry as model_registry

    given = {key.removeprefix("model."): value for key, value in parse_settings(settings).items()}
    entry = model_registry.model_entry(model)
    results = run_checks(CheckedModel(entry, hidden, T, entry.resolve(given)))
    if as_json:
        print_json([result.document() for result in results])
    else:
        rows = [[result.check, result.verdict, result.message, result.place] for result in results]
        print_tables([Table(["check", "verdict", "message", "place"], rows, wrap=frozenset({"message"}))])
    broken = [result for result in results if result.verdict == "broken"]
    if broken:
        note(f"{entry.name.rpartition(':')[2]} breaks the contract: {', '.join(f.check for f in broken)}")
        raise typer.Exit(2)

"""Check whether a model keeps to the contract that engines and results rely on."""

from typing import Annotated

import typer

from stablebench.cli.shared import completion
from stablebench.cli.shared.commands import option
from stablebench.cli.shared.known_names import check_names
from stablebench.cli.shared.options import OneModel, PrintedTables, one_name, parse_settings
from stablebench.cli.ui.output import Table, note, print_json, print_tables
from stablebench.errors import UserError


def check(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", autocompletion=completion.models, help="FILE.py:CLASS, package.module:CLASS, or a name."
        ),
    ] = None,
    models: OneModel = None,
    hidden: Annotated[int, option("Width.", metavar="N", min=1, max=4096)] = 8,
    T: Annotated[int, option("Time steps, or layers.", None, "--T", metavar="N", min=2, max=1000)] = 6,
    settings: Annotated[
        list[str] | None,
        option("An argument of the model's own: rho=0.5. Repeatable.", None, "--set", metavar="KEY=VALUE"),
    ] = None,
    printed: PrintedTables,
) -> None:
    """Check whether a model keeps to the contract that engines and results rely on.

    The model is run at a small size on random inputs: no output depends on a later input, on another example or on an
    earlier call (by vector-Jacobian products in float64, and by changed inputs); latency of one step, bytes of state,
    torch.export. A layer over all time steps is checked, too. Exit code 2 where the contract is broken, 0 also with
    warnings.

    Examples:
        stablebench check roarnn --hidden 12 --set rho=0.5
        stablebench check my_cell.py:MyCell --T 20
    """
    named = one_name("--model", [*([model] if model else []), *(models or [])] or None)
    if named is None:
        raise UserError("MODEL is missing: FILE.py:CLASS, package.module:CLASS, or a name.")
    check_names([named])
    from stablebench.contract.checked_model import CheckedModel
    from stablebench.contract.run import run_checks
    from stablebench.models import registry as model_registry
    from stablebench.schema.model_name import arguments_of, base_of

    given = parse_settings(settings) | arguments_of(named)
    given = {key.removeprefix("model."): value for key, value in given.items()}
    entry = model_registry.model_entry(base_of(named))
    results = run_checks(CheckedModel(entry, hidden, T, entry.resolve(given)))
    if printed.as_json:
        print_json([result.document() for result in results])
    else:
        rows = [[result.check, result.verdict, result.message, result.place] for result in results]
        print_tables([Table(["check", "verdict", "message", "place"], rows, wrap=frozenset({"message"}))], printed.fmt)
    broken = [result for result in results if result.verdict == "broken"]
    if broken:
        note(f"{entry.name.rpartition(':')[2]} breaks the contract: {', '.join(f.check for f in broken)}")
        raise typer.Exit(2)

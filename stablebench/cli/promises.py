"""Measure every claim of the papers, before and after training, and write the claims page."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.ui.output import note, say


def promises(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Writes PATH.md, and figures in the folder PATH.")
    ] = Path("docs/claims"),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Small sizes, in a minute or two; the page says that they are not the papers'."),
    ] = False,
    models: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Only these of the papers' models; by default all.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Updates of the short training, 200 unless said.", min=1)
    ] = None,
    runs_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="The run store of the trained models; ended runs are not run again.")
    ] = Path("runs"),
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads.", min=1)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing while measuring.")] = False,
) -> None:
    """Measure every claim of the papers' models and write what came out as a page with tables and figures.

    Each model is measured with its paper's settings at initialisation, and on copy and adding before and after a short
    training. Interrupted, the command goes on with the runs that it has.
    """
    import time
    from dataclasses import replace
    from datetime import UTC, datetime

    from stablebench.errors import UserError, unknown_name
    from stablebench.process.settings import prepare_process

    if output.suffix:
        raise UserError(f"--output {output}: must have no suffix; OUTPUT.md and the folder OUTPUT are written.")
    prepare_process(threads, "float64")
    from stablebench.process import settings as process
    from stablebench.report.claims import FULL, MODELS, QUICK, measure_all, numbers
    from stablebench.report.claims_page import Provenance, write_page
    from stablebench.report.paper_checks import all_checks
    from stablebench.runs.atomic import write_atomically

    wanted = MODELS if models is None else [name.strip() for name in models.split(",") if name.strip()]
    for name in wanted:
        if name not in MODELS:
            raise unknown_name("model of the papers", name, MODELS)
    sizes = QUICK if quick else FULL
    sizes = sizes if steps is None else replace(sizes, steps=steps)
    began, commit = time.perf_counter(), process.commit()  # of the code that runs, whatever changes meanwhile
    chains = list(measure_all(wanted, sizes, runs_dir, (lambda _: None) if quiet else note))
    theorems = [] if quick else all_checks()
    provenance = Provenance(
        command=_command(quick, models, steps),
        commit=commit,
        date=datetime.now(UTC).date().isoformat(),
        versions=process.versions(),
        hardware=process.hardware("cpu"),
        seconds=time.perf_counter() - began,
    )
    written = write_page(output, chains, theorems, sizes, provenance)
    data = output / "numbers.json"
    write_atomically(data, numbers(chains).encode())
    say("\n".join(str(path) for path in [*written, data]))


def _command(quick: bool, models: str | None, steps: int | None) -> str:
    """Return what is to be typed for the same page, without where it was written."""
    words = ["stablebench promises"]
    words += ["--quick"] if quick else []
    words += [f"--models {models}"] if models is not None else []
    words += [f"--steps {steps}"] if steps is not None else []
    return " ".join(words)

"""Measure every claim of the papers, before and after training, as one page."""

from pathlib import Path
from typing import Annotated

from stablebench.cli.shared.commands import OUTPUT, TRAINING, option
from stablebench.cli.shared.options import Force, Models, PrintedText, Quiet, RunsDir, Threads, names_of
from stablebench.cli.ui.output import Table, note, print_json, print_tables, say


def claims(
    *,
    models: Models = None,
    dry_run: Annotated[bool, option("Print what would be measured and trained, and stop.", None, "--dry-run")] = False,
    quick: Annotated[
        bool, option("Small sizes, in a minute or two; the page says that they are not the papers'.", None, "--quick")
    ] = False,
    steps: Annotated[int | None, option("Updates of the short training.", TRAINING, metavar="N", min=1)] = None,
    threads: Threads = 1,
    runs_dir: RunsDir = Path("runs"),
    output: Annotated[
        Path | None,
        option(
            "Write PATH.md, and figures and numbers in the folder PATH, in place of printing the page.",
            OUTPUT,
            "--output",
            "-o",
            metavar="PATH",
        ),
    ] = None,
    force: Force = False,
    printed: PrintedText,
    quiet: Quiet = False,
) -> None:
    """Measure every claim of the papers' models and print a page of tables; with -o it has figures.

    Each model is measured with its paper's settings at initialisation, and on copy and adding before and after a short
    training. The same command resumes an interrupted one: stored runs are not run again.

    Examples:
        stablebench claims --quick --model urnn,roarnn -o /tmp/claims
        stablebench claims --dry-run --json
    """
    import time
    from dataclasses import replace
    from datetime import UTC, datetime

    from stablebench.cli.shared.output_file import refuse_existing
    from stablebench.errors import UserError, unknown_name
    from stablebench.process.settings import prepare_process

    if output is not None:
        if output.suffix not in ("", ".md"):
            raise UserError(
                f"--output {output}: must end with .md, or have no suffix; a folder of that name goes along."
            )
        output = output.with_suffix("")
        refuse_existing(output.with_suffix(".md"), force)
    prepare_process(threads or 1, "float64")
    from stablebench.process import settings as process
    from stablebench.report.claims import FULL, MODELS, QUICK, chains_of, measure_all, numbers
    from stablebench.report.claims_page import Provenance, page_text, write_page
    from stablebench.report.paper_checks import all_checks
    from stablebench.runs.atomic import write_atomically

    names = names_of("--model", models)
    wanted = MODELS if names is None else names
    for name in wanted:
        if name not in MODELS:
            raise unknown_name("model of the papers", name, MODELS)
    sizes = QUICK if quick else FULL
    sizes = sizes if steps is None else replace(sizes, steps=steps)
    if dry_run:
        chains = list(chains_of(wanted, sizes))
        columns = ["model", "task", "T", "settings", "updates"]
        rows = [[s.model, s.task, s.T, s.says, sizes.steps if trained else 0] for s, trained in chains]
        updates = sizes.steps * sum(trained for _, trained in chains)
        if printed.as_json:
            print_json([dict(zip(columns, row, strict=True)) for row in rows])
            return
        notes = [f"{len(rows)} chains, {updates:,} updates in all; runs that are stored are not run again."]
        print_tables([Table(columns, rows, title="Chains", notes=notes)])
        return
    began, commit = time.perf_counter(), process.commit()  # of the code that runs
    chains = list(measure_all(wanted, sizes, runs_dir, (lambda _: None) if quiet else note))
    theorems = [] if quick else all_checks()
    provenance = Provenance(
        command=_command(quick, names, steps),
        commit=commit,
        date=datetime.now(UTC).date().isoformat(),
        versions=process.versions(),
        hardware=process.hardware("cpu"),
        seconds=time.perf_counter() - began,
    )
    if printed.as_json:
        print_json(numbers(chains))
    if output is None and not printed.as_json:
        say(page_text(chains, theorems, sizes, provenance).rstrip("\n"))
    if output is None:
        return
    written = write_page(output, chains, theorems, sizes, provenance)
    data = output / "numbers.json"
    write_atomically(data, numbers(chains).encode())
    if not printed.as_json:
        say("\n".join(str(path) for path in [*written, data]))


def _command(quick: bool, models: list[str] | None, steps: int | None) -> str:
    """Return the command line that makes the same page, without where it was written."""
    words = ["stablebench claims"]
    words += ["--quick"] if quick else []
    words += [f"--model {','.join(models)}"] if models is not None else []
    words += [f"--steps {steps}"] if steps is not None else []
    return " ".join(words)

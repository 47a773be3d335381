"""Measure whether gradients vanish or explode along a model's chain, and whether its paper's claims hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.shared import options
from stablebench.cli.shared.commands import MODEL, OUTPUT, option
from stablebench.cli.shared.requests import spec_values
from stablebench.cli.ui.output import note, say

if TYPE_CHECKING:
    from stablebench.cli.shared.probe_subjects import Subject
    from stablebench.probes.probe import Measure, ProbeResult


def probe_gradients(
    *,
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder, or one checkpoint file in it: its trained weights.", metavar="RUN"),
    ] = None,
    models: Annotated[
        list[str] | None,
        option(
            "Models, or FILE.py:CLASS: a,b or repeated. With RUN, the code of its own model.",
            MODEL,
            "--models",
            "--model",
            metavar="A,B",
        ),
    ] = None,
    task: options.TaskName = None,
    recipe: options.Recipe = None,
    sizes: options.ModelOptions,
    seed: options.Seed = None,
    precision: options.Precision = None,
    threads: options.Threads = 1,
    data_dir: options.DataDir = None,
    loss: Annotated[
        Literal["task", "last"], option("The task's own loss, or only that of the last scored step.")
    ] = "task",
    what: Annotated[
        list[str] | None, option("Measures: flow, jacobian, lyapunov, spectra, memory (default: all).", metavar="A,B")
    ] = None,
    batch: Annotated[int, option("Validation examples for the gradients.", min=1, metavar="N")] = 16,
    samples: Annotated[
        int | None, option("How many of them for the Jacobian (default: 4).", min=1, metavar="N")
    ] = None,
    strict: Annotated[bool, option("Exit code 4 if a claim is violated.", None, "--strict")] = False,
    png: Annotated[Path | None, option("Write a figure: .png, .svg or .pdf.", OUTPUT, metavar="FILE")] = None,
    figures: Annotated[
        Path | None, option("Write a figure of each measure and its numbers as CSV.", OUTPUT, metavar="FOLDER")
    ] = None,
    figure_format: Annotated[Literal["png", "svg", "pdf"], option("Format of the figures in FOLDER.", OUTPUT)] = "png",
    overwrite: Annotated[bool, option("Replace figures that FOLDER has.", OUTPUT, "--overwrite")] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Probe a model's gradients, untrained (--model, --task) or trained (RUN).

    Everything is computed in float64 on the CPU: the norms of dL/dh_t and dL/dx_t for every t, the lags that the
    parameters' gradient comes from, all singular values of dh_T/dh_1, Lyapunov exponents, eigenvalues, Fisher memory,
    and a verdict on each claim of the model's paper. Several models are put side by side.

    Example:
        stablebench probe-gradients --models roarnn,lstm --task copy/t100 --figures figures
    """
    from stablebench.cli.ui.output import print_json
    from stablebench.errors import UserError
    from stablebench.process.settings import prepare_process

    if samples is not None and samples > batch:
        raise UserError(f"`--samples` must be <= {batch}, the value of --batch, got {samples}.")
    prepare_process(threads or 1, "float64")
    from stablebench.cli.shared.probe_subjects import trained, untrained
    from stablebench.cli.shared.probe_tables import LOSS
    from stablebench.probes.probe import check_differentiable, probe
    from stablebench.report.figures.gradient_norms import save_figure
    from stablebench.report.figures.probe import check_folder, pictures, save_pictures
    from stablebench.report.figures.style import check_figure_path

    measures = _measures(what)
    if png is not None:
        check_figure_path(png, "--png")
        if "flow" not in measures:
            raise UserError(f"--png draws gradient norms: add flow to --what {','.join(measures)}.")
    if figures is not None:
        check_folder(figures, figure_format, overwrite)
    names = options.names_of("--models", models) or []
    values = spec_values(sizes, seed=seed, precision=precision)
    if run is None:
        subjects = untrained(names, task, sizes, values, recipe, data_dir=data_dir, count=batch)
    else:
        if [name for name in names if ":" not in name] or task or sizes.settings or recipe or values:
            raise UserError(f"{run}: a run is probed as its own spec says; leave the options that change it out.")
        if len(names) > 1:
            raise UserError(f"--model: {run} has one model; name its code once.")
        subjects = [trained(run, names[0] if names else None, sizes.T, data_dir=data_dir, count=batch)]
    for subject in subjects:
        check_differentiable(subject.network)
    results: list[ProbeResult] = []
    few = min(4, batch) if samples is None else samples
    for subject in subjects:
        if not quiet:
            note(f"probing {subject.title}")
        results.append(
            probe(subject.network, subject.examples, loss=subject.card.loss, which=loss, samples=few, what=measures)
        )
    named = {subject.label: result for subject, result in zip(subjects, results, strict=True)}
    if png is not None:
        flows = {name: result.flow for name, result in named.items() if result.flow is not None}
        save_figure(png, flows, f"{subjects[0].where}: gradient of the {LOSS[loss]}")
    if figures is not None:
        written = save_pictures(figures, figure_format, pictures(named, subjects[0].where, LOSS[loss]))
        if not quiet:
            note("\n".join(str(path) for path in written))
    if as_json:
        documents = {s.label: _document(s.document(), r) for s, r in zip(subjects, results, strict=True)}
        print_json(next(iter(documents.values())) if len(documents) == 1 else {"models": documents})
    else:
        _print(subjects, results)
    if strict and any(finding.verdict == "violated" for result in results for finding in result.claims):
        raise typer.Exit(4)


def _measures(what: list[str] | None) -> "tuple[Measure, ...]":
    from stablebench.errors import UserError, did_you_mean
    from stablebench.probes.probe import MEASURES

    names = options.names_of("--what", what)
    if names is None:
        return MEASURES
    for name in names:
        if name not in MEASURES:
            known = ", ".join(MEASURES)
            raise UserError(f"--what: there is no measure '{name}'.{did_you_mean(name, MEASURES)} Measures: {known}.")
    return tuple(name for name in MEASURES if name in names)


def _document(subject: dict[str, Any], result: "ProbeResult") -> dict[str, Any]:
    document = result.document()
    return document | {"measures": subject | document["measures"]}


def _print(subjects: "list[Subject]", results: "list[ProbeResult]") -> None:
    from stablebench.cli.shared.probe_tables import claims_table, side_by_side, tables_of
    from stablebench.cli.ui.output import print_tables
    from stablebench.report.figures.text_plot import text_plot

    if len(subjects) == 1:
        print_tables(tables_of(results[0], subjects[0].title, subjects[0].card.readout))
    else:
        named = {subject.label: result for subject, result in zip(subjects, results, strict=True)}
        claims = [claims_table(result, f"Claims of {name}") for name, result in named.items()]
        table = side_by_side(named, subjects[0].where, subjects[0].card.readout)
        print_tables([table, *(table for tables in claims for table in tables)])
    flows = {s.label: r.flow for s, r in zip(subjects, results, strict=True) if r.flow is not None}
    if flows:
        say("\n" + text_plot(flows))

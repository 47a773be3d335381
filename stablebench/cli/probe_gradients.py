"""Measure whether gradients vanish or explode along a model's chain, and whether its paper's claims hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.shared import completion, options
from stablebench.cli.shared.commands import MODEL, OUTPUT, option
from stablebench.cli.shared.known_names import check_names
from stablebench.cli.shared.output_file import checked_figure, checked_figure_file, refuse_existing
from stablebench.cli.shared.requests import name_code, run_request, spec_values
from stablebench.cli.ui.output import note, say

if TYPE_CHECKING:
    from stablebench.api.subjects import Subject
    from stablebench.cli.ui.progress import ProbeProgress
    from stablebench.probes.probe import Measure, ProbeResult, Probing
    from stablebench.tables import Table


def probe_gradients(
    *,
    run: options.RunOrNone = None,
    models: Annotated[
        list[str] | None,
        option(
            "Models, or FILE.py:CLASS: a,b or repeated. With RUN, the code of its own model.",
            MODEL,
            "--model",
            earlier=["--models"],
            metavar="A,B",
            autocompletion=completion.models,
        ),
    ] = None,
    tasks: options.OneTask = None,
    recipe: options.Recipe = None,
    sizes: options.ModelOptions,
    seed: options.Seed = None,
    precision: options.Precision = None,
    threads: options.Threads = 1,
    data_dir: options.DataDir = None,
    loss: Annotated[
        Literal["last", "task", "both"],
        option("Of which loss the gradients are: of the last scored step, or the task's own over all of them."),
    ] = "last",
    what: Annotated[
        list[str] | None,
        option(
            "Measures (default: flow, jacobian, lyapunov): also lags, spectra, memory, sensitivity, "
            "learnability, curvature, dimension, schur; or all.",
            metavar="A,B",
        ),
    ] = None,
    batch: Annotated[
        int,
        option("Validation examples for the gradients.", None, "--batch-size", earlier=["--batch"], min=1, metavar="N"),
    ] = 16,
    samples: Annotated[int, option("How many of them for the Jacobian.", min=1, metavar="N")] = 1,
    strict: Annotated[bool, option("Exit code 4 if a claim is violated.", None, "--strict")] = False,
    runs_dir: options.RunsDir = Path("runs"),
    output: Annotated[
        Path | None,
        option(
            "Write figures: of the gradient norms to a .png, .svg or .pdf; or of each measure, with its numbers as "
            "CSV, into a folder.",
            OUTPUT,
            "--output",
            "-o",
            metavar="FILE|DIR",
        ),
    ] = None,
    png: Annotated[Path | None, option("One figure.", OUTPUT, hidden=True, callback=checked_figure)] = None,
    figures: Annotated[Path | None, option("Figures in a folder.", OUTPUT, hidden=True)] = None,
    figure_format: Annotated[
        Literal["png", "svg", "pdf"], option("Format of the figures in a folder.", OUTPUT)
    ] = "png",
    force: Annotated[
        bool, option("Overwrite figures of --output.", OUTPUT, "--force", earlier=["--overwrite"])
    ] = False,
    printed: options.PrintedTables,
    quiet: options.Quiet = False,
) -> None:
    """Probe a model's gradients, untrained (--model, --task) or trained (RUN).

    The first line of a model is a verdict: VANISHES, SURVIVES or EXPLODES, from the singular values of dh_T/dh_1.
    Everything is computed in float64 on the CPU: the norms of dL/dh_t and dL/dx_t for every t, all singular values of
    dh_T/dh_1, Lyapunov exponents, and a verdict on each claim of the model's paper. Where asked for: the lags that the
    parameters' gradient comes from, eigenvalues, Fisher memory, the states' sensitivity to the parameters and their
    dimension, up to which lag N sequences can teach, curvature, and what is left without non-normal parts. Several
    models are put side by side.

    Examples:
        stablebench probe-gradients --model roarnn,lstm --task copy/t100 -o figures
        stablebench probe-gradients last --what all --json
        stablebench probe-gradients --model my_cell.py:MyCell --task copy --T 1000 -o norms.pdf
    """
    names = options.names_of("--model", models) or []
    task = options.one_name("--task", tasks)
    check_names(names if run is None else None, [task] if task else None)
    from stablebench.cli.ui.output import print_json, print_tables
    from stablebench.cli.ui.progress import ProbeProgress
    from stablebench.errors import UserError
    from stablebench.process.settings import prepare_process

    if samples > batch:
        raise UserError(f"`--samples` must be <= {batch}, the value of --batch-size, got {samples}.")
    prepare_process(threads or 1, "float64")
    from stablebench.api.subjects import trained, untrained
    from stablebench.probes.differentiable import check_differentiable
    from stablebench.probes.probe import MEASURES, Probing, listed, measurable
    from stablebench.report.figures import style
    from stablebench.report.figures.probe import check_folder, draw_gradient_norms, pictures, save_pictures
    from stablebench.report.figures.text_plot import text_plot
    from stablebench.report.probe_tables import LOSS

    measures = _measures(what)
    if output is not None and output.suffix:
        png = checked_figure_file("--output", output)
    elif output is not None:
        figures = output
    if png is not None and "flow" not in measures:
        raise UserError(f"{png} draws gradient norms: add flow to --what {','.join(measures)}.")
    if png is not None:
        refuse_existing(png, force)
    if figures is not None:
        check_folder(figures, figure_format, force)
    values = spec_values(sizes, seed=seed, precision=precision)
    if run is None:
        subjects = untrained(
            [run_request(name, task, sizes, values, recipe) for name in names or [None]], data_dir=data_dir, count=batch
        )
    else:
        if [name for name in names if ":" not in name] or task or sizes.settings or recipe or values:
            raise UserError(f"{run}: a run is probed as its own spec says; leave the options that change it out.")
        if len(names) > 1:
            raise UserError(f"--model: {run} has one model; name its code once.")
        own = names[0] if names else None
        subjects = [trained(run, runs_dir, own, sizes.T, data_dir=data_dir, count=batch, load_code=name_code)]
    for subject in subjects:
        check_differentiable(subject.network)
    without = _without_states(subjects, measures, what)
    which: Literal["last", "task"] = "last" if loss == "both" else loss
    progress = ProbeProgress(quiet)
    probings = {
        subject.label: Probing(
            subject.network,
            subject.examples,
            loss=subject.card.loss,
            samples=samples,
            moved=progress.moved,
            lr=subject.spec.optim.lr,
        )
        for subject in subjects
    }
    if "jacobian" in measures:
        _say_verdicts(
            [subject for subject in subjects if subject.label not in without],
            probings,
            progress,
            printed.fmt != "table" or printed.as_json,
        )
    results: dict[str, ProbeResult] = {}
    try:
        for subject in subjects:
            with progress.of(subject.title):
                possible = measurable(subject.network, measures)
                results[subject.label] = probings[subject.label].result(which, possible, loss == "both")
    except KeyboardInterrupt:
        if results and not printed.as_json:
            print_tables(_tables([subject for subject in subjects if subject.label in results], results))
        raise
    flows = {name: result.flow for name, result in results.items() if result.flow is not None}
    if png is not None:
        style.save(png, draw_gradient_norms(flows, f"{subjects[0].where}: gradient of the {LOSS[which]}"))
    if figures is not None:
        written = save_pictures(figures, figure_format, pictures(results, subjects[0].where, LOSS[which]))
        if not quiet:
            note("\n".join(str(path) for path in written))
    if printed.as_json:
        documents = {s.label: _document(s.document(), results[s.label]) for s in subjects}
        print_json(next(iter(documents.values())) if len(documents) == 1 else {"models": documents})
    else:
        print_tables(_tables(subjects, results), printed.fmt)
        if flows and printed.fmt == "table":
            say("\n" + text_plot(flows))
        if without:
            say(f"\n{listed(without)}: no recurrent state, so only ||dL/dx_t||, the gradient in the inputs, is there.")
        elif what is None:
            left_out = ", ".join(name for name in MEASURES if name not in measures)
            say(f"\nNot measured, as it takes longer: {left_out} (--what all).")
    if strict and any(finding.verdict == "violated" for result in results.values() for finding in result.claims):
        raise typer.Exit(4)


def _without_states(subjects: "list[Subject]", measures: "tuple[Measure, ...]", what: list[str] | None) -> list[str]:
    """Return the labels of networks without states, having refused measures of states that were named for them.

    Raises:
        UserError: A measure was named that such a network does not have.
    """
    from stablebench.probes.input_flow import has_no_states, no_states_message
    from stablebench.probes.probe import WITHOUT_STATES, listed, measurable

    without = [subject for subject in subjects if has_no_states(subject.network)]
    named = set(options.names_of("--what", what) or ["all"])
    of_states = [name for name in measures if name not in WITHOUT_STATES]
    for subject in without:
        measurable(subject.network, measures)
        if of_states and "all" not in named:
            raise no_states_message(subject.network, listed(of_states))
    return [subject.label for subject in without]


def _say_verdicts(
    subjects: "list[Subject]", probings: "dict[str, Probing]", progress: "ProbeProgress", silent: bool
) -> None:
    """Compute each model's singular values; say its verdict as soon as they are there, then what the words mean."""
    from stablebench.report.probe_tables import meanings, verdict_line

    jacobians = []
    for subject in subjects:
        with progress.of(subject.title):
            jacobian = probings[subject.label].jacobian
        if jacobian.steps and not silent:
            jacobians.append(jacobian)
            say(verdict_line(jacobian, subject.unit, subject.label if len(subjects) > 1 else ""))
    if jacobians:
        say("\n".join([*meanings(jacobians), ""]))


def _measures(what: list[str] | None) -> "tuple[Measure, ...]":
    from stablebench.probes.probe import QUICK, measures_of

    names = options.names_of("--what", what)
    return QUICK if names is None else measures_of("--what", names)


def _document(subject: dict[str, Any], result: "ProbeResult") -> dict[str, Any]:
    document = result.document()
    return document | {"measures": subject | document["measures"]}


def _tables(subjects: "list[Subject]", results: "dict[str, ProbeResult]") -> "list[Table]":
    from stablebench.report.probe_tables import claims_table, side_by_side, tables_of

    first = subjects[0]
    if len(subjects) == 1:
        return tables_of(results[first.label], first.title, first.card.readout)
    claims = [table for name, result in results.items() for table in claims_table(result, f"Claims of {name}")]
    return [side_by_side(results, first.where, first.card.readout), *claims]

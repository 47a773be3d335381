"""Figures of what was measured along runs, of what a matrix learned or remembers, and of oscillators."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.plot.arguments import FigureFile
from stablebench.cli.shared import completion
from stablebench.cli.shared.commands import MODEL, option
from stablebench.cli.shared.options import Force, RunOrNone, RunsDir, names_of, one_name
from stablebench.cli.shared.output_file import refuse_existing_figure
from stablebench.cli.ui.output import echo, note, say, say_paths
from stablebench.runs.run_paths import run_and_checkpoint, run_folder
from stablebench.schema.seeds import MAX_SEED


def probe(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs; seeds of one spec are drawn together.", metavar="RUN...", autocompletion=completion.runs
        ),
    ],
    what: Annotated[
        list[str] | None,
        option(
            "Only names that begin so: diagnostics,gradient.whole.",
            None,
            "--what",
            earlier=["--show"],
            metavar="A,B",
        ),
    ] = None,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("probe.png"),
    force: Force = False,
) -> None:
    """Draw what `train --probe` measured along runs, a panel for each group of numbers.

    Of several seeds of one spec the mean is drawn, with a band of one standard deviation (as coRNN's figure 3).

    Examples:
        stablebench plot probe runs/copy/roarnn/RUN --what gradient
        stablebench plot probe last --force
    """
    from stablebench.report.figures.monitor import probed_runs, save_figure

    refuse_existing_figure(output, force)
    drawn = probed_runs([run_folder(run, runs_dir) for run in runs], names_of("--what", what) or [])
    written = save_figure(output, drawn)
    for folder in drawn.bare:
        note(f"not in the figure: {folder}: nothing was measured along this run (--probe every=N).")
    say_paths(written)


def structure(
    run: RunOrNone = None,
    models: Annotated[
        list[str] | None,
        option(
            "A model at initialisation, nnrnn; or with RUN the code of its own model, FILE.py:CLASS.",
            MODEL,
            "--model",
            earlier=["--models"],
            metavar="NAME",
            autocompletion=completion.models,
        ),
    ] = None,
    hidden: Annotated[int, option("Its width.", MODEL, metavar="N", min=2)] = 128,
    seed: Annotated[int, option("Its seed.", MODEL, metavar="N", min=0, max=MAX_SEED)] = 0,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("structure.png"),
    force: Force = False,
) -> None:
    """Draw the Schur form that nnRNN has learned: its entries, its angles, and magnitudes by sub-diagonal.

    As figure 3 of its paper, for the first layer of a trained RUN or for a model at initialisation (--model).

    Examples:
        stablebench plot structure --model nnrnn --hidden 64 -o structure.png
        stablebench plot structure copy/nnrnn/last -o learned.pdf
    """
    from stablebench.errors import UserError
    from stablebench.process.settings import prepare_process

    model = one_name("--model", models)
    own_code = model is not None and ":" in model
    if (run is None) == (model is None) and not own_code:
        raise UserError("plot structure needs one of RUN and --model.")
    refuse_existing_figure(output, force)
    prepare_process(1, "float64")
    import torch

    from stablebench.cli.shared.requests import name_code
    from stablebench.models import registry as model_registry
    from stablebench.report.figures.schur import save_figure, schur_structure
    from stablebench.training.score import trained_network

    if run is not None:
        folder, given_file = run_and_checkpoint(run, runs_dir)
        record = folder.read_record()
        name_code(folder, record, model)
        network, weights = trained_network(folder, record, given_file)
        layer = network.models[0]
        title = f"{record.spec.model.label} on {record.spec.task.name}, after {weights.step:,} updates"
    else:
        assert model is not None  # one of the two is given
        entry = model_registry.model_entry(model)
        torch.manual_seed(seed)
        layer = entry.build(1, hidden, entry.resolve({}), horizon=1)
        title = f"{model}, width {hidden}, at initialisation"
    say_paths(save_figure(output, schur_structure(layer), title))


def oscillators(
    dt: Annotated[float, option("The model's time step.", metavar="DT", min=1e-5, max=0.1)] = 1e-3,
    duration: Annotated[
        float,
        option("Simulated time.", None, "--duration", earlier=["--time"], metavar="TIME", min=0.1, max=1000),
    ] = 10.0,
    output: FigureFile = Path("oscillators.png"),
    force: Force = False,
) -> None:
    """Draw what one and two neurons of coRNN do under an oscillating and a stepping signal (figure 6 of its paper).

    The weights are the paper's. The starts and the steps, which it does not print, stand in
    stablebench/report/figures/oscillator_trajectories.py. A trajectory that grows without bound is cut off, and named.

    Example:
        stablebench plot oscillators --dt 1e-3 --duration 20
    """
    from stablebench.report.figures.oscillators import oscillators as trajectories
    from stablebench.report.figures.oscillators import save_figure

    refuse_existing_figure(output, force)
    drawn = trajectories(dt, duration)
    written = save_figure(output, drawn)
    for sentence in drawn.broken_off():
        say(sentence)
    say_paths(written)


def fisher_memory(
    hidden: Annotated[int, option("Units.", MODEL, "--hidden", earlier=["--size"], metavar="N", min=2, max=1000)] = 100,
    starts: Annotated[int, option("Starts on the sphere.", metavar="N", min=1)] = 1000,
    output: FigureFile = Path("fisher-memory.png"),
    force: Force = False,
) -> None:
    """Draw how long lower triangular networks remember, and how they swell (figure 1(b) and (c) of nnRNN's paper).

    Prints the areas under the Fisher memory curves, the table J_tot of its supplement.

    Example:
        stablebench plot fisher-memory --hidden 50 -o memory.png
    """
    from stablebench.report.figures.fisher_memory import forms, save_figure
    from stablebench.tables import Table, render

    refuse_existing_figure(output, force)
    networks = forms(hidden, starts)
    written = save_figure(output, networks)
    rows = [[form.alpha, form.beta, form.d, form.memory.area] for form in networks]
    echo(render([Table(["alpha", "beta", "d", "area of J"], rows, title=f"Fisher memory, {hidden} units")]))
    say_paths(written)

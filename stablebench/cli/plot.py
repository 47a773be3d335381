"""Draw figures: what was measured along runs, what a matrix learned, a network over the plane, oscillators."""

from pathlib import Path
from typing import Annotated

import typer

from stablebench.cli.plot_boards import curves, profiles, time_to_target
from stablebench.cli.plot_measures import fisher_memory, oscillators, probe, structure
from stablebench.cli.plot_trajectories import trajectories
from stablebench.cli.shared.options import DataDir
from stablebench.cli.ui.output import say_paths

plot = typer.Typer(
    help="Draw figures of runs.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


for _command in (curves, profiles, time_to_target, probe, structure, oscillators, fisher_memory):
    plot.command()(_command)


@plot.callback()
def _plot() -> None:
    """Draw figures of runs."""


plot.command("trajectories")(trajectories)


@plot.command("decision-boundary")
def decision_boundary(
    run: Annotated[Path, typer.Argument(help="A run folder, or one checkpoint file in it.", metavar="RUN")],
    own_model: Annotated[
        str | None,
        typer.Option("--model", metavar="FILE.py:CLASS", help="A run's own model; its code runs only if named here."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where: .png, .svg or .pdf; the numbers as .csv too.")
    ] = Path("decision-boundary.png"),
    x1: Annotated[tuple[float, float], typer.Option("--x1", metavar="LOW HIGH", help="Ends of the first input.")] = (
        -20.0,
        30.0,
    ),
    x2: Annotated[tuple[float, float], typer.Option("--x2", metavar="LOW HIGH", help="Ends of the second.")] = (
        -15.0,
        20.0,
    ),
    points: Annotated[int, typer.Option(metavar="N", help="Points a side.", min=2, max=2000)] = 200,
    data_dir: DataDir = None,
    threads: Annotated[int, typer.Option(metavar="N", help="CPU threads.", min=1)] = 1,
) -> None:
    """Draw what a trained network of two static inputs and one output gives out over the plane, and its test examples.

    The plane is that of figure 1 of roaFNN's paper unless --x1 and --x2 say otherwise.
    """
    from stablebench.cli.shared.plot_runs import run_folder
    from stablebench.errors import UserError
    from stablebench.process.settings import prepare_process

    for name, (low, high) in (("--x1", x1), ("--x2", x2)):
        if not low < high:
            raise UserError(f"`{name}` must be LOW HIGH with LOW < HIGH, got {low:g} {high:g}.")
    given_file = run if run.suffix == ".safetensors" else None
    folder = run_folder(run.parent.parent if given_file else run)
    record = folder.read_record()
    prepare_process(threads, record.spec.precision)
    import torch

    from stablebench import engines
    from stablebench.cli.shared.requests import name_code
    from stablebench.data.task import Task
    from stablebench.models.deep_network import DeepNetwork
    from stablebench.report.figures.decision_boundary import plane, save_figure
    from stablebench.report.figures.style import check_figure_path
    from stablebench.specs.limits import checked_card
    from stablebench.training.score import trained_network

    check_figure_path(output, "--output")
    name_code(folder, record, own_model)
    card = checked_card(record)
    task = Task(card, record.spec.task.params, data_dir)
    if card.input != "static" or (task.sizes.inputs, task.sizes.outputs) != (2, 1):
        raise UserError(
            f"{run}: decision-boundary needs a task of two static inputs and one output; {card.task} has "
            f"{task.sizes.inputs} {card.input} inputs and {task.sizes.outputs} outputs."
        )
    network, found = trained_network(folder, record, given_file)
    assert isinstance(network, DeepNetwork)  # as for every task with static inputs
    network.engine = engines.choose("auto", network, torch.device("cpu")).run
    drawn = plane(network, x1, x2, points)
    examples = task.split("test")
    model = record.spec.model
    title = f"{model.label} on {card.task}, {model.layers:,} layers, width {model.hidden}, after {found.step:,} updates"
    say_paths(save_figure(output, drawn, examples.inputs, examples.targets, title))

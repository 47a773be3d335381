"""`plot decision-boundary`: what a network of two inputs gives out over the plane."""

from pathlib import Path
from typing import Annotated

from stablebench.cli.plot.arguments import FigureFile
from stablebench.cli.shared.commands import option
from stablebench.cli.shared.options import DataDir, Force, OwnModel, RunName, RunsDir, Threads
from stablebench.cli.shared.output_file import refuse_existing_figure
from stablebench.cli.ui.output import say_paths
from stablebench.runs.run_paths import run_and_checkpoint


def decision_boundary(
    run: RunName,
    x1: Annotated[tuple[float, float], option("Ends of the first input.", None, "--x1", metavar="LOW HIGH")] = (
        -20.0,
        30.0,
    ),
    x2: Annotated[tuple[float, float], option("Ends of the second input.", None, "--x2", metavar="LOW HIGH")] = (
        -15.0,
        20.0,
    ),
    points: Annotated[int, option("Points a side.", metavar="N", min=2, max=2000)] = 200,
    model: OwnModel = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("decision-boundary.png"),
    force: Force = False,
) -> None:
    """Draw what a trained network of two static inputs and one output gives out over the plane, and its test examples.

    The plane is that of figure 1 of roaFNN's paper unless --x1 and --x2 give another.

    Example:
        stablebench plot decision-boundary runs/double_moon/roafnn/RUN --points 400
    """
    from stablebench.errors import UserError
    from stablebench.process.settings import prepare_process

    for name, (low, high) in (("--x1", x1), ("--x2", x2)):
        if not low < high:
            raise UserError(f"`{name}` must be LOW HIGH with LOW < HIGH, got {low:g} {high:g}.")
    refuse_existing_figure(output, force)
    folder, given_file = run_and_checkpoint(run, runs_dir)
    record = folder.read_record()
    prepare_process(threads or 1, record.spec.precision)
    import torch

    from stablebench import engines
    from stablebench.cli.shared.requests import name_code
    from stablebench.data.task import Task
    from stablebench.models.deep_network import DeepNetwork
    from stablebench.report.figures.decision_boundary import plane, save_figure
    from stablebench.specs.limits import checked_card
    from stablebench.training.score import trained_network

    name_code(folder, record, model)
    card = checked_card(record)
    task = Task(card, record.spec.task.params, data_dir)
    if card.input != "static" or (task.sizes.inputs, task.sizes.outputs) != (2, 1):
        raise UserError(
            f"{run}: decision-boundary needs a task of two static inputs and one output; {card.task} has "
            f"{task.sizes.inputs} {card.input} inputs and {task.sizes.outputs} outputs."
        )
    network, weights = trained_network(folder, record, given_file)
    assert isinstance(network, DeepNetwork)  # as for every task with static inputs
    network.engine = engines.choose("auto", network, torch.device("cpu")).run
    drawn = plane(network, x1, x2, points)
    examples = task.split("test")
    of = record.spec.model
    title = f"{of.label} on {card.task}, {of.layers:,} layers, width {of.hidden}, after {weights.step:,} updates"
    say_paths(save_figure(output, drawn, examples.inputs, examples.targets, title))

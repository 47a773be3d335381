"""`plot trajectories`: the Lorenz-96 system in the plane of two variables, and a network's prediction of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from stablebench.cli.plot.arguments import FigureFile
from stablebench.cli.shared import completion
from stablebench.cli.shared.commands import MODEL, option
from stablebench.cli.shared.options import DataDir, Force, OwnModel, RunOrNone, RunsDir, Threads, one_name
from stablebench.cli.shared.output_file import refuse_existing_figure
from stablebench.cli.ui.output import say_paths
from stablebench.runs.run_paths import run_and_checkpoint

if TYPE_CHECKING:
    from stablebench.data.task import Task
    from stablebench.runs.store import RunFolder

_TASK = "lorenz96"
_VARIABLES = 5


def trajectories(
    run: RunOrNone = None,
    tasks: Annotated[
        list[str] | None,
        option(
            "Draw only the data; without a variant each of them.",
            MODEL,
            "--task",
            earlier=["--tasks"],
            metavar="TASK[/VARIANT]",
            autocompletion=completion.tasks,
        ),
    ] = None,
    which: Annotated[int, option("Which test trajectory.", None, "--trajectory", metavar="N", min=0)] = 0,
    variables: Annotated[
        tuple[int, int], option("The plane's variables, x1 to x5.", metavar="I J", min=1, max=_VARIABLES)
    ] = (1, 2),
    model: OwnModel = None,
    data_dir: DataDir = None,
    threads: Threads = 1,
    runs_dir: RunsDir = Path("runs"),
    output: FigureFile = Path("trajectories.png"),
    force: Force = False,
) -> None:
    """Draw a test trajectory of lorenz96, and with a RUN what it predicts of it and its error over time.

    `--task lorenz96` draws figure 5 of coRNN's paper: x1 against x2 for both forces.

    Example:
        stablebench plot trajectories --task lorenz96 -o figure5.png
    """
    from stablebench.errors import UserError

    task = one_name("--task", tasks)
    if (run is None) == (task is None):
        raise UserError("plot trajectories needs one of RUN and --task.")
    if task is not None and model is not None:
        raise UserError("--model: it names the code of a RUN; --task draws only the data.")
    refuse_existing_figure(output, force)
    plane = (variables[0] - 1, variables[1] - 1)
    if run is not None:
        given = run_and_checkpoint(run, runs_dir)
        written = _draw_prediction(given, model, output, which, plane, data_dir, threads or 1)
    else:
        assert task is not None
        written = _draw_data(task, output, which, plane, data_dir)
    say_paths(written)


def _draw_data(task: str, output: Path, which: int, plane: tuple[int, int], data_dir: Path | None) -> list[Path]:
    import torch

    from stablebench import registry
    from stablebench.data.task import Task, resolve_params
    from stablebench.report.figures.lorenz96 import Trajectory, save_trajectories

    name, _, variant = task.partition("/")
    card = registry.task_card(name)
    _refuse_others(card.task)
    drawn = []
    for one in [variant] if variant else card.variants:
        data = Task(card, resolve_params(card, variant=one), data_dir)
        times, states, targets = _example(data, which)
        last = targets[-data.params["ahead"] :]  # which are no inputs
        drawn.append(Trajectory(_force(data), times, torch.cat([states, last]).double()))
    return save_trajectories(output, drawn, plane)


def _draw_prediction(
    run: "tuple[RunFolder, Path | None]",
    own_model: str | None,
    output: Path,
    which: int,
    plane: tuple[int, int],
    data_dir: Path | None,
    threads: int,
) -> list[Path]:
    from stablebench.cli.shared.requests import name_code
    from stablebench.process.settings import prepare_process

    folder, given_file = run
    record = folder.read_record()
    _refuse_others(record.spec.task.name)
    prepare_process(threads, record.spec.precision)
    import torch

    from stablebench import engines
    from stablebench.data.task import Task
    from stablebench.report.figures.lorenz96 import predicted, save_prediction
    from stablebench.specs.limits import checked_card
    from stablebench.training.score import trained_network

    task = Task(checked_card(record), record.spec.task.params, data_dir)
    times, *_ = _example(task, which)
    name_code(folder, record, own_model)
    network, weights = trained_network(folder, record, given_file)
    network.engine = engines.choose("auto", network, torch.device("cpu")).run
    of_targets = times[task.params["ahead"] :]
    prediction = predicted(network, task.pieces("test"), which, of_targets, f"{_force(task)}, test trajectory {which}")
    model = record.spec.model
    title = (
        f"{model.label}, {model.hidden} units, after {weights.step:,} updates: "
        f"NRMSE {prediction.pooled:.4f}, {task.params['ahead']} points ahead"
    )
    return save_prediction(output, prediction, plane, title)


def _refuse_others(task: str) -> None:
    from stablebench.errors import UserError

    if task != _TASK:
        raise UserError(f"plot trajectories draws the states of {_TASK}, got the task {task}.")


def _force(task: "Task") -> str:
    return f"F = {task.params['F']:g}"


def _example(task: "Task", which: int):
    """Return the times of all points of a trajectory, and the states and targets of one example."""
    import torch

    from stablebench.data.tasks.lorenz96 import DT
    from stablebench.errors import UserError

    test = task.split("test")
    if which >= len(test.inputs):
        raise UserError(f"--trajectory: there are {len(test.inputs)} test trajectories, from 0 on, got {which}.")
    times = torch.arange(task.params["length"], dtype=torch.float64) * DT
    return times, test.inputs[which], test.targets[which]

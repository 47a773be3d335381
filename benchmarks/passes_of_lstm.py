"""Prints what a pass of each model of today costs, forward and backward, in passes of lstm.

    python benchmarks/passes_of_lstm.py                             # two minutes of one core
    python benchmarks/passes_of_lstm.py --model s5 --engine fused   # one model, with another engine

All contenders run in turn in one process, each round; the ratio of a round is that of its own processor seconds, so
that what else runs on the machine moves it less than the times. Outputs of every step get the gradient 1.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from stablebench import engines
from stablebench.data.task import Task
from stablebench.errors import StablebenchError
from stablebench.models.build import build_network
from stablebench.process.settings import hardware, prepare_process
from stablebench.specs.request import RunRequest
from stablebench.specs.resolve import resolve
from stablebench.tables import Table, render

BASE = "lstm"
MODELS = (
    *("deltanet", "gated_deltanet", "deltaproduct", "mamba2", "mamba3", "mlstm"),
    *("rg_lru", "s5", "linoss", "d_linoss", "rotrnn", "transformer"),
)


SYMBOLS = 10
"""That copy repeats: its sequences have so many steps twice, and the lag."""


def pass_of(model: str, engine: str, batch: int, hidden: int, steps: int) -> tuple[Callable[[], None], str]:
    """Return what runs one pass of a model with its own defaults, and the engine that runs it."""
    options = {"model.hidden": hidden, "model.layers": 1}
    resolved = resolve(RunRequest(model, "copy", T=steps - 2 * SYMBOLS, options=options, registered=False))
    task = Task(resolved.card, resolved.spec.task.params)
    network = build_network(resolved.spec, resolved.card, task.sizes)
    choice = engines.choose(engine, network, torch.device("cpu"))
    network.engine = choice.run
    inputs = task.train_batch(0, 0, batch).inputs

    def run() -> None:
        outputs = network(inputs)[0]
        outputs.backward(torch.ones_like(outputs))

    return run, choice.name


def ratios_of(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return each contender's processor seconds over those of lstm, a number a round."""
    for run in contenders.values():  # compiles, tunes and fills caches
        run()
    ratios: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        seconds = {}
        for name, run in contenders.items():
            began = time.process_time()
            run()
            seconds[name] = time.process_time() - began
        for name, taken in seconds.items():
            ratios[name].append(taken / seconds[BASE])
    return ratios


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default=",".join(MODELS), help="names: a,b")
    parser.add_argument("--engine", default="auto", help="of the models; lstm has auto")
    parser.add_argument("--size", default="50,128,256", help="batch, hidden, steps")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    batch, hidden, steps = map(int, asked.size.split(","))
    prepare_process(1, "float32", False)
    contenders, rows = {BASE: pass_of(BASE, "auto", batch, hidden, steps)}, []
    for name in asked.model.split(","):
        try:
            contenders[name] = pass_of(name, asked.engine, batch, hidden, steps)
        except StablebenchError as error:
            rows.append([name, asked.engine, str(error)])
    ratios = ratios_of({name: run for name, (run, _) in contenders.items()}, asked.rounds)
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        rows.append([name, contenders[name][1], f"{middle:.2f} [{low:.2f}, {high:.2f}]"])
    title = f"Passes of {BASE} at B {batch}, H {hidden}, T {steps}, median [quartiles] of {asked.rounds} rounds"
    print(render([Table(["model", "engine", "passes"], rows, title=title, notes=[hardware("cpu")])], "table"))


if __name__ == "__main__":
    main()

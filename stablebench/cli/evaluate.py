"""Score a trained run on its test or validation examples, at its own length or another, or generate text with it."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from stablebench.cli.shared.commands import MODEL, option
from stablebench.cli.shared.options import (
    DataDir,
    Device,
    Engine,
    OwnModel,
    OwnTask,
    PrintedText,
    RunName,
    RunsDir,
    Threads,
)
from stablebench.cli.ui.output import note, say

if TYPE_CHECKING:
    from stablebench.schema.run_record import RunRecord
    from stablebench.training.score import Score

_OVERFLOWS = "the {} is not a finite number: states or outputs overflow, and the other metrics say little"


def evaluate(
    *,
    run: RunName,
    model: OwnModel = None,
    task: OwnTask = None,
    T: Annotated[int | None, option("Another length than in training.", MODEL, "--T", metavar="N", min=1)] = None,
    lengths: Annotated[
        list[str] | None, option("Score at each of these lengths: a,b or repeated.", MODEL, metavar="A,B")
    ] = None,
    split: Annotated[Literal["test", "validation"], option("Which examples.")] = "test",
    n_tokens: Annotated[
        int | None, option("Generate N tokens of text instead of scoring.", None, "--sample", metavar="N", min=1)
    ] = None,
    prompt: Annotated[str | None, option("The beginning of the text; a line is a sentence.", metavar="TEXT")] = None,
    temperature: Annotated[
        float | None, option("Divides the logits before the softmax: 0 takes the likeliest token.", metavar="X", min=0)
    ] = None,
    seed: Annotated[int | None, option("Seed of --sample.", metavar="N", min=0)] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: Threads = 1,
    runs_dir: RunsDir = Path("runs"),
    printed: PrintedText,
) -> None:
    """Score a trained run, or with --sample generate text with it.

    The run is not changed. The model keeps the horizon it was trained with when --T or --lengths give other lengths.

    Text needs a run on a stream of text. It begins a sentence; each token is drawn from the softmax of the logits and
    fed back, and the same seed draws the same text. Words of --prompt that are not in the vocabulary are read as <unk>.

    Examples:
        stablebench evaluate runs/copy/roarnn/RUN --T 200 --split validation
        stablebench evaluate last --lengths 40,64,128,256 --json
        stablebench evaluate ptb_char/last --sample 200 --prompt "the " --temperature 0.7
    """
    from stablebench.cli.shared.options import numbers_of
    from stablebench.cli.shared.requests import name_code
    from stablebench.cli.ui.output import print_json
    from stablebench.errors import UserError
    from stablebench.runs.run_paths import run_and_checkpoint

    _check_options(n_tokens, T, prompt, temperature, seed)
    several = numbers_of("--lengths", lengths)
    if several is not None and (T is not None or n_tokens is not None):
        raise UserError("--lengths: leave --T and --sample out.")
    folder, given_file = run_and_checkpoint(run, runs_dir)
    record = folder.read_record()
    from stablebench.process.settings import prepare_process

    prepare_process(threads or 1, record.spec.precision, record.spec.deterministic)
    name_code(folder, record, model, task)
    from stablebench.training.score import EvaluationOptions, score

    options = EvaluationOptions(data_dir, device or "auto", engine or "auto", given_file)
    if n_tokens is not None:
        from stablebench.training.sample import sample

        divisor = 1.0 if temperature is None else temperature
        sampled = sample(folder, record, n_tokens, options, prompt=prompt or "", temperature=divisor, seed=seed or 0)
        if printed.as_json:
            print_json(record.model_dump(mode="json") | {"sample": asdict(sampled)})
            return
        if sampled.unknown:
            note(f"read as <unk>, not being in the vocabulary: {' '.join(sampled.unknown)}")
        say(sampled.text.rstrip("\n"))
        return
    if several is not None:
        scores = {length: score(folder, record, options, T=length, split=split) for length in sorted(several)}
        _print_lengths(record, scores, split, as_json=printed.as_json)
        return
    scored = score(folder, record, options, T=T, split=split)
    if printed.as_json:
        print_json(record.model_dump(mode="json") | {"evaluation": asdict(scored)})
        return
    say(f"{record.spec.model.label} on {record.spec.task.name}, {split} split, weights of step {scored.step}")
    for name, value in scored.params.items():
        say(f"  {name}: {value}")
    for name, value in scored.metrics.items():
        baseline = scored.baselines.get(name)
        say(f"{name} {value:.6g}" + ("" if baseline is None else f" (baseline {baseline:.4g})"))
    if scored.not_finite:
        say(f"{_OVERFLOWS.format(', '.join(scored.not_finite))}.")


def _print_lengths(record: "RunRecord", scores: "dict[int, Score]", split: str, *, as_json: bool) -> None:
    """Print what a run scores at several lengths, the shortest first."""
    from stablebench.cli.ui.output import print_json, print_tables
    from stablebench.stats.lengths import HELD, longest_held
    from stablebench.tables import Table

    first = next(iter(scores.values()))
    held = None
    if "accuracy" in first.metrics:
        held = longest_held(
            {length: 0.0 if scored.not_finite else scored.metrics["accuracy"] for length, scored in scores.items()}
        )
    if as_json:
        document = {"lengths": {str(length): asdict(scored) for length, scored in scores.items()}}
        print_json(record.model_dump(mode="json") | document | {"longest_held": held})
        return
    title = f"{record.spec.model.label} on {record.spec.task.name}, {split} split, weights of step {first.step}"
    rows = [[length, *scored.metrics.values()] for length, scored in scores.items()]
    notes = []
    if "accuracy" in first.metrics:
        notes.append(f"Longest length held at {HELD:.0%}: {'none' if held is None else held}, of those asked for.")
    for length, scored in scores.items():
        if scored.not_finite:
            notes.append(f"At {length} {_OVERFLOWS.format(', '.join(scored.not_finite))}; it counts as not held.")
    print_tables([Table(["length", *first.metrics], rows, title=title, notes=notes)])


def _check_options(
    n_tokens: int | None, T: int | None, prompt: str | None, temperature: float | None, seed: int | None
) -> None:
    """Refuse options of the mode, scoring or sampling, that was not chosen."""
    from stablebench.errors import UserError

    of_text = {"--prompt": prompt, "--temperature": temperature, "--seed": seed}
    given = [name for name, value in of_text.items() if value is not None]
    if n_tokens is None and given:
        raise UserError(f"{', '.join(given)}: only with --sample N, which generates text.")
    if temperature is not None and not math.isfinite(temperature):
        raise UserError(f"--temperature: must be a finite number >= 0, got {temperature}.")
    if n_tokens is not None and T is not None:
        raise UserError("--T: text has no length but --sample's; leave one of the two out.")

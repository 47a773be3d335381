"""Score a trained run on its test or validation examples, at its own length or another; or let it write text."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stablebench.cli.shared.options import DataDir
from stablebench.cli.ui.output import note, say

if TYPE_CHECKING:
    from stablebench.training.sample import Sample


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or one checkpoint file in it.", metavar="RUN")],
    model: Annotated[
        str | None, typer.Option(metavar="FILE.py:CLASS", help="A run's own model; its code runs only if named here.")
    ] = None,
    T: Annotated[int | None, typer.Option("--T", help="Another length than the run was trained on.", min=1)] = None,
    split: Annotated[Literal["test", "validation"], typer.Option(help="The examples.")] = "test",
    n_tokens: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", help="Write N tokens of text instead of scoring it.", min=1),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the text begins with; a line is a sentence.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="X", help="Divides the scores before the softmax: 0 takes the likeliest token.", min=0),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Decides what is drawn.", min=0)] = None,
    data_dir: DataDir = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    engine: Annotated[
        Literal["auto", "reference", "scan", "fused"], typer.Option(help="How the chain is run.")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record and the evaluation or text as JSON.")
    ] = False,
) -> None:
    """Score a trained run, or with --sample write text with it.

    Nothing of the run is changed. The model keeps the horizon it was trained with when --T gives another length.

    Text needs a run on a stream of text. It begins a sentence, each token is drawn from the softmax of the scores and
    fed back, and the same seed draws the same text. Words of --prompt that are not in the vocabulary are read as <unk>.
    """
    from stablebench.cli.shared.requests import name_code
    from stablebench.cli.ui.output import print_json
    from stablebench.process.settings import prepare_process
    from stablebench.runs.store import RunFolder

    _check_options(n_tokens, T, prompt, temperature, seed)
    given_file = run if run.suffix == ".safetensors" else None
    folder = RunFolder(run.parent.parent if given_file else run)
    record = folder.read_record()
    prepare_process(threads, record.spec.precision, record.spec.deterministic)
    name_code(folder, record, model)
    from stablebench.training.score import EvaluationOptions, score

    options = EvaluationOptions(data_dir, device, engine, given_file)
    if n_tokens is not None:
        from stablebench.training.sample import sample

        sampled = sample(
            folder,
            record,
            n_tokens,
            options,
            prompt=prompt or "",
            temperature=1.0 if temperature is None else temperature,
            seed=seed or 0,
        )
        if as_json:
            print_json(record.model_dump(mode="json") | {"sample": sampled.document()})
        else:
            _print_text(sampled)
        return
    scored = score(folder, record, options, T=T, split=split)
    if as_json:
        print_json(record.model_dump(mode="json") | {"evaluation": scored.document()})
        return
    say(f"{record.spec.model.label} on {record.spec.task.name}, {split} split, weights of step {scored.step}")
    for name, value in scored.params.items():
        say(f"  {name}: {value}")
    for name, value in scored.metrics.items():
        baseline = scored.baselines.get(name)
        say(f"{name} {value:.6g}" + ("" if baseline is None else f" (baseline {baseline:.4g})"))


def _check_options(
    n_tokens: int | None, T: int | None, prompt: str | None, temperature: float | None, seed: int | None
) -> None:
    """Refuse options that say something about what is not asked for."""
    from stablebench.errors import UserError

    of_text = {"--prompt": prompt, "--temperature": temperature, "--seed": seed}
    given = [name for name, value in of_text.items() if value is not None]
    if n_tokens is None and given:
        raise UserError(f"{', '.join(given)}: only with --sample N, which writes text.")
    if temperature is not None and not math.isfinite(temperature):
        raise UserError(f"--temperature: must be a finite number >= 0, got {temperature}.")
    if n_tokens is not None and T is not None:
        raise UserError("--T: text has no length but --sample's; leave one of the two out.")


def _print_text(sampled: "Sample") -> None:
    if sampled.unknown:
        note(f"read as <unk>, not being in the vocabulary: {' '.join(sampled.unknown)}")
    say(sampled.text.rstrip("\n"))

"""Score a trained run on its test or validation examples, at its own length or another."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or one checkpoint file in it.", metavar="RUN")],
    T: Annotated[int | None, typer.Option("--T", help="Another length than the run was trained on.", min=1)] = None,
    split: Annotated[Literal["test", "validation"], typer.Option(help="The examples.")] = "test",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the real data sets.", envvar="STABLEBENCH_DATA")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    engine: Annotated[
        Literal["auto", "reference", "scan", "fused"], typer.Option(help="How the chain is run.")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record and the evaluation as JSON.")] = False,
) -> None:
    """Score a trained run.

    Nothing of the run is changed. The model keeps the horizon it was trained with when --T gives another length.
    """
    from stablebench.cli.output import print_json
    from stablebench.training.process import prepare_process
    from stablebench.training.run_store import RunFolder

    given_file = run if run.suffix == ".safetensors" else None
    folder = RunFolder(run.parent.parent if given_file else run)
    record = folder.read_record()
    prepare_process(threads, record.spec.precision)
    from stablebench.training.scoring import score

    scored = score(folder, record, T=T, split=split, data_dir=data_dir, device=device, engine=engine, file=given_file)
    if as_json:
        print_json(record.model_dump(mode="json") | {"evaluation": scored.document()})
        return
    print(f"{record.spec.model.label} on {record.spec.task.name}, {split} split, weights of step {scored.step}")
    for name, value in scored.params.items():
        print(f"  {name}: {value}")
    for name, value in scored.metrics.items():
        baseline = scored.baselines.get(name)
        print(f"{name} {value:.6g}" + ("" if baseline is None else f" (baseline {baseline:.4g})"))

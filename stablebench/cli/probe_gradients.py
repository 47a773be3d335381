"""Measure whether gradients vanish or explode along a model's chain, and whether its paper's claims hold."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stablebench.cli.options import RunOptions, run_options

if TYPE_CHECKING:
    from torch import Tensor

    from stablebench.probes.probe import ProbeResult
    from stablebench.tables import Table

_ROWS = 20
"""Rows of the table of norms, the last step not counted."""
_LOSS = {"task": "task's loss", "last": "loss at the last scored step"}
_MANY_LOSSES = "The loss has a term at every step; --loss last follows one term back through all of them."


@run_options
def probe_gradients(
    options: RunOptions,
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder, or one checkpoint file in it: its trained weights.", metavar="[RUN]"),
    ] = None,
    loss: Annotated[
        Literal["task", "last"], typer.Option(help="The task's own loss, or that of the last scored step alone.")
    ] = "task",
    batch: Annotated[int, typer.Option(help="Validation examples for the gradients.", min=1, metavar="N")] = 16,
    samples: Annotated[
        int | None, typer.Option(help="How many of them for the Jacobian; 4 unless said.", min=1, metavar="N")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write a figure: .png, .svg or .pdf.", metavar="FILE")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 4 if a claim is violated.")] = False,
) -> None:
    """Probe a model's gradients, untrained (--model, --task) or trained (RUN).

    Everything is computed in float64 on the CPU: the norm of dL/dh_t for every t, the extreme singular values of
    dh_T/dh_1, and a verdict on each claim of the model's paper. --model takes several names with commas between.
    """
    from stablebench.cli.output import note, print_json, print_tables
    from stablebench.errors import UserError
    from stablebench.training.process import prepare_process

    if samples is not None and samples > batch:
        raise UserError(f"`--samples` must be <= {batch}, the value of --batch, got {samples}.")
    if options.device == "cuda":
        raise UserError("--device cuda: probe-gradients computes on the CPU; leave --device out.")
    prepare_process(options.threads or 1, "float64")
    from stablebench.cli.probe_subjects import trained, untrained
    from stablebench.probes.plot import check_figure_path, save_figure, text_plot
    from stablebench.probes.probe import probe

    if png is not None:
        check_figure_path(png)
    subjects = untrained(options, batch) if run is None else [trained(run, options, batch)]
    results: list[ProbeResult] = []
    for subject in subjects:
        if not options.quiet:
            note(f"probing {subject.title}")
        few = min(4, batch) if samples is None else samples
        results.append(probe(subject.network, subject.examples, loss=subject.card.loss, which=loss, samples=few))
    flows = {subject.label: result.flow for subject, result in zip(subjects, results, strict=True)}
    if png is not None:
        save_figure(png, flows, f"{subjects[0].where}: gradient of the {_LOSS[loss]}")
    if options.json:
        documents = [_document(s.document(), r) for s, r in zip(subjects, results, strict=True)]
        named = {s.label: d for s, d in zip(subjects, documents, strict=True)}
        print_json(documents[0] if len(documents) == 1 else {"models": named})
    else:
        for subject, result in zip(subjects, results, strict=True):
            print_tables(_tables(result, subject.title, subject.card.readout))
            typer.echo("\n" + "\n".join(_summary(result)) + "\n")
        typer.echo(text_plot(flows))
    if strict and any(finding.verdict == "violated" for result in results for finding in result.claims):
        raise typer.Exit(4)


def _document(subject: dict[str, Any], result: "ProbeResult") -> dict[str, Any]:
    document = result.document()
    return document | {"measures": subject | document["measures"]}


def _tables(result: "ProbeResult", title: str, readout: str) -> "list[Table]":
    """Return the norms at some t, and the verdicts."""
    from stablebench.tables import Table

    rows, zeros = result.flow.quantiles(), result.flow.zeros()
    end = len(zeros) - 1
    shown = sorted({round(end * i / _ROWS) for i in range(_ROWS + 1)})
    norms = [[t, _power(rows["median"][t]), _power(rows["p5"][t]), _power(rows["p95"][t]), zeros[t]] for t in shown]
    heading = f"{title}: ||dL/dh_t|| of the {_LOSS[result.flow.loss]}, {len(result.flow.log_norms)} samples"
    notes = [_MANY_LOSSES] if readout == "every" and result.flow.loss == "task" else []
    tables = [Table(["t", "median", "5 %", "95 %", "exactly 0"], norms, title=heading, notes=notes)]
    if result.claims:
        columns = ["claim", "verdict", "measured", "bound", "hypothesis"]
        found = [[f.claim, f.verdict, _value(f.measured), _value(f.bound), f.hypothesis] for f in result.claims]
        tables.append(Table(columns, found, title="Claims", wrap=frozenset({"claim", "hypothesis"})))
    return tables


def _summary(result: "ProbeResult") -> list[str]:
    flow, jacobian = result.flow, result.jacobian
    rate, ratio = flow.growth_rate(), flow.log10_first_over_last()
    lines = []
    if rate.mean is None:
        lines.append("growth rate: none, the gradients are exactly 0")
    else:
        interval = "" if rate.interval_95 is None else ", 95 % [{:.3g}, {:.3g}]".format(*rate.interval_95)
        lines.append(f"growth rate, ln per step back in time: {rate.mean:.4g}{interval}")
    at_zero = "not defined, a gradient is exactly 0" if ratio is None else _power(ratio)
    lines.append(f"||dL/dh_0|| / ||dL/dh_{flow.log_norms.shape[1] - 1}||, median: {at_zero}")
    lines.append(
        f"dh_{jacobian.steps + 1}/dh_1 ({jacobian.size} x {jacobian.size}, {len(jacobian.log_largest)} samples): "
        f"sigma_max {_range(jacobian.log_largest)}, sigma_min {_range(jacobian.log_smallest)}"
    )
    return lines


def _range(logs: "Tensor") -> str:
    low, high = (_power(v / math.log(10) if math.isfinite(v) else None) for v in (logs.min().item(), logs.max().item()))
    return low if low == high else f"{low} ... {high}"


def _power(log10: float | None) -> str:
    """Return 10^log10 in four digits, also where no float can hold it; None is 0."""
    if log10 is None:
        return "0"
    if -4 <= log10 < 5:
        return f"{10**log10:.4g}"
    whole = math.floor(log10)
    digits = f"{10 ** (log10 - whole):.3f}"
    return f"{digits}e{whole:+03d}" if digits != "10.000" else f"1.000e{whole + 1:+03d}"


def _value(value: float | tuple[float, float]) -> str:
    return f"[{value[0]:.4g}, {value[1]:.4g}]" if isinstance(value, tuple) else f"{value:.4g}"

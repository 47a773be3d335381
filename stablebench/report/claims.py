"""What the papers claim of their models, and what we measure: every claim, at initialisation and after some training.

A chain is a model on a task's inputs. Some have the settings of the model's paper and are measured at initialisation;
on copy and adding every model is measured at initialisation and after a short training with its recipe there.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stablebench.data.metrics import is_better
from stablebench.data.task import Task
from stablebench.errors import StablebenchError
from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel
from stablebench.models.build import build_network, start_embedding
from stablebench.models.claims.claim import DECADE
from stablebench.models.network import AnyNetwork
from stablebench.probes.measurements import ChainMeasurements, ClaimVerdict, check_claims
from stablebench.probes.spectra import spectrum
from stablebench.runs.progress import Silent
from stablebench.specs.resolve import Resolved, RunRequest, resolve
from stablebench.training import run as session
from stablebench.training.monitor import undisturbed, validation_examples
from stablebench.training.score import trained_network

MODELS = (
    "roarnn",
    "eyernn",
    "eyernn_isometric",
    "roafnn",
    "dizzy",
    "nnrnn",
    "urnn",
    "ugru",
    "cornn",
    "exprnn",
    "lstm",
    "rnn",
)
"""The papers' models, and two without a claim for contrast."""


@dataclass(frozen=True)
class StudySizes:
    """How large the study is.

    Args:
        copy: Blanks of the copying task that models are trained on.
        adding: Steps of the adding task that they are trained on.
        steps: Updates of the training.
        batch: Validation examples for gradients.
        samples: How many of them for the Jacobian.
        hidden: Replaces every width, if given.
        longest: Replaces every longer length, if given.
        layers: Replaces the depth of the deep model, if given.
        batch_size: Replaces the recipes' batch, if given.
    """

    copy: int = 100
    adding: int = 200
    steps: int = 200
    batch: int = 8
    samples: int = 2
    hidden: int | None = None
    longest: int | None = None
    layers: int | None = None
    batch_size: int | None = None


FULL = StudySizes()
QUICK = StudySizes(8, 10, 5, 4, 1, hidden=12, longest=16, layers=8, batch_size=4)
"""For a first look and for tests: the sizes are not the papers'."""


@dataclass(frozen=True)
class Setting:
    """A model with a paper's settings.

    Args:
        model: Its name.
        task: The task whose inputs it gets; its recipe there gives what is not set here.
        T: The task's length; None where it has only one.
        says: What the settings are.
        values: Values of the run spec by dotted key.
    """

    model: str
    task: str
    T: int | None
    says: str
    values: dict[str, Any] = field(default_factory=dict)


PAPERS = (
    Setting("roarnn", "copy", 400, "its paper's copying memory, L 400"),
    Setting("roarnn", "adding", 1000, "its paper's adding problem, T 1000"),
    Setting(
        "roarnn",
        "adding",
        784,
        "its paper's psMNIST settings, on inputs of adding",
        {"model.hidden": 256, "model.rho": 0.5},
    ),
    Setting("roafnn", "double_moon", None, "its paper's 50 layers of width 2"),
    Setting("dizzy", "copy_masked", None, "its paper's copy task, our start"),
    Setting("nnrnn", "copy", 200, "its paper's copy task"),
    Setting("urnn", "first_recall", None, "its poster's first-term recall"),
    Setting(
        "cornn",
        "adding",
        500,
        "its paper's adding problem, the constants of T 5000",
        {"model.dt": 0.016, "model.gamma": 94.5, "model.epsilon": 9.5},
    ),
    Setting(
        "cornn",
        "adding",
        784,
        "its paper's psMNIST constants at 128 units, on inputs of adding",
        {"model.dt": 0.083, "model.gamma": 0.13, "model.epsilon": 4.1},
    ),
    Setting("exprnn", "copy", 400, "190 units, as its paper has them on longer copies"),
    Setting("lstm", "copy", 400, "as roaRNN's paper has it"),
)


@dataclass(frozen=True)
class Measured:
    """What was measured of one chain.

    Args:
        model: The model's name.
        where: The task, its length and the width.
        says: Where the settings come from.
        updates: Of the weights; 0 at initialisation.
        claims: Verdicts.
        log10_gradient: Median over samples of log10 ||dL/dh_t||, t = 0 ... E, L at the last scored step; NaN for 0.
        log10_singular: log10 of the singular values of dh_T/dh_1 of the first sample, the largest first; NaN for 0.
        eigenvalues: Of the recurrent matrix, (real, imaginary); empty where the model has none.
        test: What a trained one reached on its task: metric and value.
        problem: Why nothing was measured, or None.
    """

    model: str
    where: str
    says: str
    updates: int
    claims: list[ClaimVerdict] = field(default_factory=list)
    log10_gradient: list[float] = field(default_factory=list)
    log10_singular: list[float] = field(default_factory=list)
    eigenvalues: list[tuple[float, float]] = field(default_factory=list)
    test: dict[str, float] = field(default_factory=dict)
    problem: str | None = None

    @property
    def state(self) -> str:
        """At initialisation, or after how many updates."""
        return f"after {self.updates:,} updates" if self.updates else "at initialisation"

    @property
    def learnt(self) -> bool | None:
        """Whether a trained one beats the trivial baseline; None where that is not known."""
        metric = next(iter(self.test), None)
        if metric is None or "trivial baseline" not in self.test:
            return None
        return is_better(metric, self.test[metric], self.test["trivial baseline"])


def measure_all(
    models: Sequence[str], sizes: StudySizes, runs_dir: Path, note: Callable[[str], None]
) -> Iterator[Measured]:
    """Yield every chain, model by model; runs that have ended are not run again.

    Args:
        models: Of `MODELS`.
        sizes: How large.
        runs_dir: The run store of the trained ones.
        note: Called with what is being measured.
    """
    for setting, trained in chains_of(models, sizes):
        length = "" if setting.T is None else f" {setting.T}"
        state = "after training" if trained else "at initialisation"
        note(f"{setting.model}: {setting.task}{length}, {setting.says}, {state}")
        yield _trained(setting, sizes, runs_dir) if trained else _at_initialisation(setting, sizes)


def chains_of(models: Sequence[str], sizes: StudySizes) -> Iterator[tuple[Setting, bool]]:
    """Yield the chains that are measured of models, each with whether it is trained first.

    Args:
        models: Of `MODELS`.
        sizes: How large.
    """
    for model in models:
        yield from ((setting, False) for setting in PAPERS if setting.model == model)
        if not is_recurrent(model):
            yield Setting(model, "double_moon", None, "its recipe"), True
            continue
        for task, length in (("copy", sizes.copy), ("adding", sizes.adding)):
            setting = Setting(model, task, length, "its recipe")
            yield setting, False
            yield setting, True


def is_recurrent(model: str) -> bool:
    """Whether a model's chain runs over time."""
    return model in model_registry.model_names(family="recurrent")


def _resolved(setting: Setting, sizes: StudySizes, extra: dict[str, Any]) -> Resolved:
    T = setting.T if setting.T is None or sizes.longest is None else min(setting.T, sizes.longest)
    options: dict[str, Any] = {"device": "cpu"} | extra
    if not is_recurrent(setting.model):
        options["model.layers"] = 50 if sizes.layers is None else sizes.layers
    elif sizes.hidden is not None:
        options["model.hidden"] = sizes.hidden
    return resolve(RunRequest(setting.model, setting.task, T=T, options=options, settings=setting.values))


def _where(resolved: Resolved) -> str:
    spec, name = resolved.spec, resolved.card.length
    length = "" if name is None else f" {spec.task.params[name]}"
    depth = f", {spec.model.layers} layers" if spec.model.layers > 1 else ""
    return f"{spec.task.name}{length}, width {spec.model.hidden}{depth}"


def _at_initialisation(setting: Setting, sizes: StudySizes) -> Measured:
    resolved = _resolved(setting, sizes, {"precision": "float64"})
    task = Task(resolved.card, resolved.spec.task.params)
    network = build_network(resolved.spec, resolved.card, task.sizes)
    start_embedding(network, task)
    empty = Measured(setting.model, _where(resolved), setting.says, 0)
    return _measured(empty, network, task, sizes)


def _trained(setting: Setting, sizes: StudySizes, runs_dir: Path) -> Measured:
    extra: dict[str, Any] = {"train.steps": sizes.steps, "train.eval_every": sizes.steps}
    if sizes.batch_size is not None:
        extra["train.batch_size"] = sizes.batch_size
    resolved = _resolved(setting, sizes, extra)
    where = _where(resolved)
    try:
        outcome = session.train(resolved, session.ExecutionOptions(runs_dir, is_part=True), Silent())
        record = outcome.record
        network, checkpoint = trained_network(outcome.folder, record)
    except StablebenchError as error:
        return Measured(setting.model, where, setting.says, sizes.steps, problem=str(error))
    if record.status != "finished":
        problem = f"{record.status}: {record.error}"
        return Measured(setting.model, where, setting.says, record.step, problem=problem)
    test = {record.metric: (record.result.test or {}).get(record.metric, math.nan)}
    if record.baseline is not None:
        test["trivial baseline"] = record.baseline
    empty = Measured(setting.model, where, setting.says, checkpoint.step, test=test)
    return _measured(empty, network, Task(resolved.card, resolved.spec.task.params), sizes)


def _measured(empty: Measured, network: AnyNetwork, task: Task, sizes: StudySizes) -> Measured:
    with undisturbed():
        try:
            evidence = ChainMeasurements(network, validation_examples(task, sizes.batch), task.card.loss, sizes.samples)
            with torch.no_grad():
                claims = check_claims(evidence)
                flow = evidence.flow("last").quantiles()["median"]
                singular = (evidence.jacobian.logs[0] / DECADE).tolist()
        except StablebenchError as error:
            return replace(empty, problem=str(error))
        layer = evidence.network.models[0]
        matrix = layer.recurrent_matrix() if isinstance(layer, RecurrentModel) else None
        eigenvalues = [] if matrix is None else torch.view_as_real(spectrum(matrix, "W").eigenvalues).tolist()
    return replace(
        empty,
        claims=claims,
        log10_gradient=[math.nan if v is None else v for v in flow],
        log10_singular=[v if math.isfinite(v) else math.nan for v in singular],
        eigenvalues=[(re, im) for re, im in eigenvalues],
    )


def numbers(chains: Sequence[Measured]) -> str:
    """Return everything as JSON, numbers to six digits; NaN is null."""

    def rounded(digits: str) -> float:
        return float(f"{float(digits):.6g}")

    exact = json.dumps([asdict(chain) for chain in chains])
    plain = json.loads(exact, parse_float=rounded, parse_constant=lambda _: None)
    return json.dumps(plain, separators=(",", ":")) + "\n"

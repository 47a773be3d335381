"""The task card, `tasks/<task>.yaml`: what a task is, how it is scored, and what has been published on it."""

import hashlib
import re
from typing import Any, Literal

from pydantic import model_validator

from stablebench.schema.expression import evaluate
from stablebench.schema.optim import OptimSpec
from stablebench.schema.strict import Count, Strict

MetricName = Literal["loss", "accuracy", "mse", "nrmse", "bpc", "perplexity"]
LossName = Literal["cross_entropy", "binary_cross_entropy", "mse"]
NAME = re.compile(r"[a-z][a-z0-9_]*$")


class DataSpec(Strict):
    """Where the examples come from: one of the three.

    Args:
        generator: Module of `stablebench.data` with `generate` and `sizes`; batches are drawn on the fly.
        dataset: Module of `stablebench.data` with `load` and `sizes`; a fixed set of examples.
        stream: Module of `stablebench.data` with `stream` and `sizes`; one long sequence of tokens of which the next is
            to be told, read in parallel streams by truncated backpropagation with the states carried on.
        params: Arguments of `generate`, `load` or `stream`.
    """

    generator: str | None = None
    dataset: str | None = None
    stream: str | None = None
    params: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        if sum(source is not None for source in (self.generator, self.dataset, self.stream)) != 1:
            raise ValueError("exactly one of `generator`, `dataset` and `stream` must be given.")
        return self

    @property
    def module(self) -> str:
        """The module's name."""
        return self.generator or self.dataset or self.stream or ""

    @property
    def function(self) -> str:
        """What the module's source of examples is called."""
        return "generate" if self.generator else "load" if self.dataset else "stream"


class Protocol(Strict):
    """Sizes, selection and the defaults of a run without a recipe.

    Args:
        train: Examples of the training set, or tokens of a stream; None where examples are drawn on the fly.
        validation: Examples of the validation split.
        test: Examples of the test split.
        select_on: `last`: the last weights are tested; `validation`: those best on validation.
        validation_from: Where validation examples come from: drawn anew (`generator`), held out of `train`, a part of
            their `own`, or the `test` examples themselves, as some papers do (said in the leaderboard).
        evaluation_streams: Parallel streams in which the validation and test tokens of a stream are read.
        eval_every: Updates between two evaluations.
        steps: Updates of a run whose recipe says none.
        batch_size: Examples of an update where the recipe says none.
        hidden: Width where the recipe says none.
        layers: Layers where the recipe says none: stacked ones, or the depth of a deep model.
        seeds: Seeds of a full protocol.
        optim: The optimiser of a run whose recipe has none.
    """

    train: Count | None = None
    validation: Count
    test: Count
    select_on: Literal["last", "validation"] = "last"
    validation_from: Literal["generator", "train", "own", "test"] = "generator"
    evaluation_streams: Count = 10
    eval_every: Count = 50
    steps: Count = 1000
    batch_size: Count = 128
    hidden: Count = 128
    layers: Count = 1
    seeds: Count = 5
    optim: OptimSpec = OptimSpec()


class Baseline(Strict):
    """A score that needs no learning.

    Args:
        name: What it does.
        metric: What it scores in.
        value: A number, or arithmetic over the task's parameters.
        why: The derivation.
    """

    name: str
    metric: MetricName
    value: float | str
    why: str


class Target(Strict):
    """The score at which the task counts as solved.

    Args:
        metric: What it is measured in.
        value: A number, or arithmetic over the task's parameters.
        why: Where it comes from.
    """

    metric: MetricName
    value: float | str
    why: str = ""


class Published(Strict):
    """A published number, at its one home.

    Args:
        key: What recipes and suites call it: `<paper>_<model>_<where>`.
        model: The model's name here, or the paper's own where there is none.
        variant: The card's variant it belongs to.
        metric: What was measured.
        value: The number; None where the paper has only a curve or words.
        units: Hidden size.
        params: Number of parameters.
        source: The paper.
        where: Table, figure or section.
        protocol: Whether our protocol is the paper's.
        differs: In what it differs.
        note: What else matters.
    """

    key: str
    model: str
    variant: str | None = None
    metric: str
    value: float | bool | None
    units: Count | None = None
    params: Count | None = None
    source: str
    where: str
    protocol: Literal["same", "differs", "unknown"]
    differs: str | None = None
    note: str | None = None


class TaskCard(Strict):
    """A task.

    Args:
        task: The name, equal to the file's stem.
        version: Raised when old scores stop being comparable.
        summary: One sentence.
        reference: Where the task comes from.
        variant: Which of the public variants of the task this is.
        data: The examples.
        length: The parameter that `--T` sets; None for a task of fixed length.
        length_means: What that length counts.
        variants: Named sets of parameters, addressed as `task/variant`.
        input: `tokens` (integers, fed one-hot), `values` (features per step) or `static` (features, no time).
        readout: Whether the `last` output or `every` one is read.
        loss: What training minimises.
        metric: What the leaderboard ranks by.
        also: What else is measured.
        protocol: Sizes and defaults.
        baselines: Scores without learning; the first with the metric of `metric` is the one to beat.
        target: When the task counts as solved.
        published: What papers report.
        changes: One line a version.
    """

    task: str
    version: Count
    summary: str
    reference: str
    variant: str = ""
    data: DataSpec
    length: str | None = None
    length_means: str = ""
    variants: dict[str, dict[str, Any]] = {}
    input: Literal["tokens", "values", "static"]
    readout: Literal["last", "every"]
    loss: LossName
    metric: MetricName
    also: list[MetricName] = []
    protocol: Protocol
    baselines: list[Baseline]
    target: Target | None = None
    published: list[Published] = []
    changes: list[str]

    @model_validator(mode="after")
    def _consistent(self) -> "TaskCard":
        wrong = []
        if not NAME.match(self.task):
            wrong.append(f"`task` must be snake_case, got '{self.task}'")
        metrics = {self.metric, *self.also}
        if not any(b.metric == self.metric for b in self.baselines):
            wrong.append(f"`baselines` must have one in the task's metric, {self.metric}")
        wrong += [f"`baselines`: {b.metric} is not measured" for b in self.baselines if b.metric not in metrics]
        if self.target and self.target.metric not in metrics:
            wrong.append(f"`target`: {self.target.metric} is not measured")
        wrong += [
            f"`published`: no variant named '{p.variant}'"
            for p in self.published
            if p.variant is not None and p.variant not in self.variants
        ]
        if self.input == "static" and (self.readout == "every" or self.length is not None):
            wrong.append("`input`: static inputs have no time, so `readout` must be last and `length` left out")
        keys = [p.key for p in self.published]
        wrong += [f"`published`: the key {key} stands twice" for key in sorted({k for k in keys if keys.count(k) > 1})]
        if wrong:
            raise ValueError("; ".join(wrong) + ".")
        return self

    def baseline(self, metric: str, params: dict[str, Any]) -> float | None:
        """Return the first baseline in `metric` at these parameters, or None."""
        return next((evaluate(b.value, params) for b in self.baselines if b.metric == metric), None)

    def sha256(self) -> str:
        """Return the digest of the card's content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def selection(self) -> str:
        """Return in words how validation and test examples were used."""
        source = {
            "generator": "validation drawn apart",
            "train": "validation held out of train",
            "own": "validation is a part of its own",
            "test": "validation looks at test examples",
        }[self.protocol.validation_from]
        tested = "the last weights" if self.protocol.select_on == "last" else "the weights best on validation"
        return f"{tested} tested; {source}"

    def target_value(self, params: dict[str, Any]) -> float | None:
        """Return the target at these parameters, or None."""
        return None if self.target is None else evaluate(self.target.value, params)

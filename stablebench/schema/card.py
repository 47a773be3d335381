"""The task card, `tasks/<task>.yaml`: what a task is, how it is scored, and what has been published on it."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from stablebench.errors import UserError, did_you_mean
from stablebench.schema.expression import evaluate
from stablebench.schema.optim import OptimSpec
from stablebench.schema.published import Comparison, MetricName, Published
from stablebench.schema.strict import Count, Strict

LossName = Literal["cross_entropy", "binary_cross_entropy", "mse"]
NAME = re.compile(r"[a-z][a-z0-9_]*$")
Number = float | str | dict[str, float | str]
"""A number, arithmetic over a task's parameters, or one of the two for each of a card's variants."""


class DataSpec(Strict):
    """Where the examples come from: one of the three.

    Args:
        generator: Module of `stablebench.data` with `generate` and `sizes`; batches are drawn on the fly.
        dataset: Module of `stablebench.data` with `load` and `sizes`; a fixed set of examples.
        stream: Module of `stablebench.data` with `stream` and `sizes`; one long sequence of tokens of which the next is
            to be predicted, read in parallel streams by truncated backpropagation with the states carried on.
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
        validation_from: Where validation examples come from: newly drawn (`generator`), held out of `train`, a part of
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


class Split(Strict):
    """Another use of the same data: fields of the protocol, None where they stay, and `why`: whose it is."""

    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None
    validation_from: Literal["train", "own", "test"] | None = None
    select_on: Literal["last", "validation"] | None = None
    why: str


class Baseline(Strict):
    """A score that needs no learning.

    Args:
        name: What it does.
        metric: What it scores in.
        value: A number, arithmetic over the task's parameters, or a mapping of variants to these.
        derivation: How the value follows from the task.
    """

    name: str
    metric: MetricName
    value: Number
    derivation: str = Field(serialization_alias="why")


class Target(Strict):
    """The score at which the task counts as solved.

    Args:
        metric: What it is measured in.
        value: A number, arithmetic over the task's parameters, or a mapping of variants to these.
        why: Where it comes from.
        tried: What was tried to reach it, where no recipe records that it was reached; no part of the card's digest.
    """

    metric: MetricName
    value: Number
    why: str
    tried: str | None = None


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
        length_description: What that length counts.
        variants: Named sets of parameters, addressed as `task/variant`; `split` may be one of them.
        optional: Parameters that a run has only where they are set, their default being None. Variants that set one are
            no part of the card's digest, so that a task may get them when runs of it are there.
        splits: Named uses of the data next to the protocol's own; the parameter `split` names one.
        conditions: What else decides the scores and is no parameter, to compare with what papers report.
        input: `tokens` (integers, fed one-hot), `values` (features per step) or `static` (features, no time).
        readout: Whether the `last` output or `every` one is read.
        loss: What training minimises.
        metric: What the leaderboard ranks by.
        extra_metrics: What else is measured.
        protocol: Sizes and defaults.
        baselines: Scores without learning; the first with the metric of `metric` is the one to beat.
        target: When the task counts as solved.
        published: What papers report. The numbers that are shipped lie in `published/<paper>.yaml` and are added by
            `registry.task_card`.
        changelog: One line a version.
    """

    needs_baseline: ClassVar[bool] = True
    earlier_keys: ClassVar[dict[str, str]] = {
        "length_means": "length_description",
        "facts": "conditions",
        "also": "extra_metrics",
        "baselines.*.why": "derivation",
        "published.*.states": "reported_protocol",
        "changes": "changelog",
    }

    task: str
    version: Count
    summary: str
    reference: str
    variant: str = ""
    data: DataSpec
    length: str | None = None
    length_description: str = Field(default="", serialization_alias="length_means")
    variants: dict[str, dict[str, Any]] = {}
    optional: list[str] = []
    splits: dict[str, Split] = {}
    conditions: dict[str, bool | int | float | str] = Field(default={}, serialization_alias="facts")
    input: Literal["tokens", "values", "static"]
    readout: Literal["last", "every"]
    loss: LossName
    metric: MetricName
    extra_metrics: list[MetricName] = Field(default=[], serialization_alias="also")
    protocol: Protocol
    baselines: list[Baseline]
    target: Target | None = None
    published: list[Published] = []
    changelog: list[str]

    @model_validator(mode="after")
    def _consistent(self) -> "TaskCard":
        wrong = []
        if not NAME.match(self.task):
            wrong.append(f"`task` must be snake_case, got '{self.task}'")
        metrics = {self.metric, *self.extra_metrics}
        if self.needs_baseline and not any(b.metric == self.metric for b in self.baselines):
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
        wrong += self._misnamed()
        if wrong:
            raise ValueError("; ".join(wrong) + ".")
        return self

    def _misnamed(self) -> list[str]:
        """Return what names a variant, a split or a field that there is not."""
        scores = [("baselines", b.value) for b in self.baselines] + (
            [("target", self.target.value)] if self.target else []
        )
        wrong = [
            f"`{where}`: no variant named '{name}'"
            for where, value in scores
            if isinstance(value, dict)
            for name in value
            if name not in self.variants
        ]
        if self.splits and self.data.dataset is None:
            wrong.append("`splits`: only a `dataset` has them")
        wrong += [
            f"`variants`: {name}: no split named '{values['split']}'"
            for name, values in self.variants.items()
            if values.get("split") is not None and values["split"] not in self.splits
        ]
        return wrong

    @property
    def source(self) -> str | None:
        """The digest of a card of the user's own with its code or data; None for a registered task."""
        return None

    def unknown_variant(self, name: str) -> UserError:
        """Return the error for a variant that the card does not have."""
        known = ", ".join(self.variants) or "none"
        return UserError(
            f"Task {self.task} has no variant '{name}'.{did_you_mean(name, self.variants)} Its variants: {known}."
        )

    def has_params(self, variant: str | None, params: Mapping[str, Any]) -> bool:
        """Return whether a variant (None: the card itself) has these resolved parameters."""
        values = self.data.params | (self.variants.get(variant, {}) if variant else {})
        others = any(name in params and name not in values for name in self.optional)
        return not others and all(name in params and params[name] == value for name, value in values.items())

    def value_at(self, value: Number, params: Mapping[str, Any]) -> float | None:
        """Return a baseline's or target's number at these parameters; None where it has none for them."""
        if not isinstance(value, dict):
            return evaluate(value, dict(params))
        return next((evaluate(v, dict(params)) for name, v in value.items() if self.has_params(name, params)), None)

    def baseline(self, metric: str, params: Mapping[str, Any]) -> float | None:
        """Return the first baseline in `metric` at these parameters, or None."""
        values = (self.value_at(b.value, params) for b in self.baselines if b.metric == metric)
        return next((value for value in values if value is not None), None)

    def target_value(self, params: Mapping[str, Any]) -> float | None:
        """Return the target at these parameters, or None."""
        return None if self.target is None else self.value_at(self.target.value, params)

    def protocol_at(self, params: Mapping[str, Any]) -> Protocol:
        """Return the protocol at these parameters: the card's own, or that of the named split."""
        if params.get("split") is None:
            return self.protocol
        split = self.splits[params["split"]]
        return self.protocol.model_copy(update=split.model_dump(exclude={"why"}, exclude_none=True))

    def sha256(self) -> str:
        """Return the digest of the whole card but its published numbers, its changelog and what was tried on it.

        It is taken under the key names of version 0.1.0 (the serialisation aliases), so that runs of that version and
        of this one have the same digest.
        """
        later = {name for name, values in self.variants.items() if not values.keys().isdisjoint(self.optional)}
        decides_no_run = {"published": True, "changelog": True, "target": {"tried"}, "optional": True}
        decides_no_run["variants"] = later
        content = self.model_dump_json(by_alias=True, exclude=decides_no_run)
        return hashlib.sha256(content.encode()).hexdigest()

    def selection(self, params: Mapping[str, Any]) -> str:
        """Return in words how validation and test examples were used."""
        protocol = self.protocol_at(params)
        source = {
            "generator": "validation drawn apart",
            "train": "validation held out of train",
            "own": "validation is a part of its own",
            "test": "validation looks at test examples",
        }[protocol.validation_from]
        tested = "the last weights" if protocol.select_on == "last" else "the weights best on validation"
        return f"{tested} tested; {source}"

    def fields(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that is compared with what papers report: parameters, examples, selection, conditions."""
        protocol = self.protocol_at(params)
        best = "best_on_test" if protocol.validation_from == "test" else "best_on_validation"
        selection = "last" if protocol.select_on == "last" else best
        own_validation = 0 if protocol.validation_from == "test" else protocol.validation
        examples = {"train": protocol.train, "validation": own_validation, "test": protocol.test}
        if self.data.generator:
            examples = {"train": params.get("train_sequences", "fresh")}
        named = {name: value for name, value in params.items() if name not in ("split", "train_sequences")}
        return {**named, **examples, "selection": selection, **self.conditions}

    def decided(self) -> dict[str, list[str]]:
        """Return the names of the fields that this card decides, as `Published.needed` takes them."""
        data = [name for name in self.data.params if name != "split"]
        examples = [] if self.data.generator else ["train", "validation", "test"]
        return {"data": [*data, *self.conditions], "examples": examples, "selection": ["selection"]}

    def compare(self, entry: Published, params: Mapping[str, Any], run: Mapping[str, Any] | None = None) -> Comparison:
        """Return how far a published entry's protocol is ours at these parameters.

        Args:
            entry: The entry.
            params: All parameters of the task.
            run: Fields of a run, by the names of `RUN_FIELDS`; None leaves them out.
        """
        return entry.compare(self.fields(params) | dict(run or {}), self.decided())


def measured_metrics(card: TaskCard) -> set[str]:
    """Return the names of the metrics that a run on a task has."""
    names = {card.metric, *card.extra_metrics}
    return names | {"scaled_accuracy"} if "accuracy" in names else names

"""Published numbers, `published/<paper>.yaml`, and how far a paper's protocol is ours, field by field."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from stablebench.schema.strict import Count, NonNegative, Strict

MetricName = Literal["loss", "accuracy", "sequence_accuracy", "scaled_accuracy", "mse", "nrmse", "bpc", "perplexity"]
Statistic = Literal[
    "exact", "count", "mean", "best", "worst", "best_on_validation", "curve", "range_low", "range_high", "unknown"
]
Event = Literal["steps_to_baseline", "steps_to_convergence", "diverged", "solved"]
Flag = Literal["same", "differs", "unknown"]
RUN_FIELDS = ("units", "layers", "epochs", "steps", "batch_size")
"""Fields that a run decides, not a card: they are compared where there is a run."""


class Comparison(NamedTuple):
    """How far a paper's protocol is ours.

    Args:
        flag: `differs` where a stated field differs; else `unknown` where a needed one is not stated; else `same`.
        differs: Fields that differ, as `field theirs, ours ...`.
        unstated: Needed fields that the paper does not state.
    """

    flag: Flag
    differs: list[str]
    unstated: list[str]


class Published(Strict):
    """A published number.

    Args:
        key: What recipes and suites call it: `<paper>_<model>_<where>`.
        model: The model's name here, or the paper's own where there is none.
        variant: The card's variant it belongs to.
        metric: What was measured, by our name and in our unit; None for an event or another quantity.
        event: What happened: updates until the baseline was beaten or the loss converged, trials that diverged, or
            whether the task was solved.
        quantity: What was measured where it is neither.
        statistic: How the number comes from the paper's trials: `exact` (a formula), a `count` of them, their `mean`,
            `best` or `worst`, the test score of the one `best_on_validation`, a `curve` without a number, an end of a
            range, or `unknown`.
        value: The number; None where the paper has only a curve or words.
        bound: The number is given as `at_least` or `at_most` this.
        part: The examples it was measured on.
        std: Standard deviation over trials.
        stderr: Standard error of their mean.
        runs: Trials.
        units: Hidden size.
        params: Number of parameters.
        source: The paper.
        where: Table, figure or section.
        quoted: The paper that the source quotes; its own protocol is then not stated.
        settings: Values of the model that it belongs to, where the paper has several variants of one model:
            `{activation: abs}`.
        reported_protocol: What the source, or its authors' published code, says of its protocol, by the names of the
            card's fields or of `RUN_FIELDS`.
        note: What else matters.
    """

    key: str
    model: str
    variant: str | None = None
    metric: MetricName | None = None
    event: Event | None = None
    quantity: str | None = None
    statistic: Statistic
    value: float | bool | None
    bound: Literal["at_least", "at_most"] | None = None
    part: Literal["train", "validation", "test"] = "test"
    std: NonNegative | None = None
    stderr: NonNegative | None = None
    runs: Count | None = None
    units: Count | None = None
    params: Count | None = None
    source: str
    where: str
    quoted: str | None = None
    settings: dict[str, bool | int | float | str] = {}
    reported_protocol: dict[str, bool | int | float | str | list[int]] = {}
    note: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Published":
        if sum(kind is not None for kind in (self.metric, self.event, self.quantity)) != 1:
            raise ValueError("exactly one of `metric`, `event` and `quantity` must be given.")
        if self.value is None and self.statistic not in ("curve", "unknown"):
            raise ValueError(f"`statistic`: {self.statistic} needs a `value`.")
        return self

    @property
    def what(self) -> str:
        """What was measured, in a word."""
        return str(self.metric or self.event or self.quantity)

    def needed(self, decided: Mapping[str, list[str]]) -> list[str]:
        """Return the fields that must be stated before a protocol can be called the same.

        Args:
            decided: Names of the card's fields under `data`, `examples` and `selection`.
        """
        if self.statistic == "exact":  # a formula knows no training
            return list(decided["data"])
        names = [*decided["data"], *decided["examples"]]
        ends = self.metric is not None and self.statistic != "curve"  # a curve and an event are of no chosen weights
        return [*names, *decided["selection"]] if ends else names

    def compare(self, fields: Mapping[str, Any], decided: Mapping[str, list[str]]) -> Comparison:
        """Compare what is stated with our fields.

        Args:
            fields: Our fields at some parameters; fields of a run only where there is one.
            decided: As for `needed`.
        """
        theirs = ({"units": self.units} if self.units else {}) | self.reported_protocol
        differs = [
            f"{name} {format_value(value)}, ours {format_value(fields[name])}"
            for name, value in theirs.items()
            if name in fields and fields[name] != value
        ]
        unstated = [name for name in self.needed(decided) if name not in self.reported_protocol]
        flag: Flag = "differs" if differs else "unknown" if unstated else "same"
        return Comparison(flag, differs, unstated)


def format_value(value: Any) -> str:
    """Return the value of a field in words: `yes`, `1,000`, `0.5`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


class PublishedTable(Strict):
    """What one table or figure of a paper says of one task.

    Args:
        task: The task's name.
        where: Table, figure or section.
        defaults: Keys of an entry that hold for all of the table's; of `reported_protocol` each value by itself.
        entries: The numbers, completed by the defaults.
    """

    task: str
    where: str
    defaults: dict[str, Any] = {}
    entries: list[Published] = Field(min_length=1)


class Paper(Strict):
    """The numbers that a paper has published.

    Args:
        paper: The paper's short name, equal to the file's stem.
        source: The paper, as it is cited.
        tables: Its tables and figures, one for each task that they are about.
    """

    paper: str
    source: str
    tables: list[PublishedTable]

    @model_validator(mode="before")
    @classmethod
    def _complete_entries(cls, data: Any) -> Any:
        """Fill the paper's, the table's and the default values into every entry."""
        if not isinstance(data, dict) or not isinstance(data.get("tables"), list):
            return data
        return data | {"tables": [_completed(table, data.get("source")) for table in data["tables"]]}


def _completed(table: Any, source: Any) -> Any:
    """Return a table with whole entries; one of another form is left to the schema to refuse."""
    defaults = table.get("defaults", {}) if isinstance(table, dict) else None
    entries = table.get("entries") if isinstance(table, dict) else None
    if not isinstance(defaults, dict) or not isinstance(entries, list):
        return table
    shared = {"source": source, "where": table.get("where")} | defaults
    return table | {"entries": [_over(shared, entry) if isinstance(entry, dict) else entry for entry in entries]}


def _over(defaults: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry laid over its defaults."""
    shared, own = defaults.get("reported_protocol"), entry.get("reported_protocol")
    merged = {"reported_protocol": shared | own} if isinstance(shared, dict) and isinstance(own, dict) else {}
    return defaults | entry | merged

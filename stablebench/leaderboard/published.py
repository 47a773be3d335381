"""Published numbers beside ours: the same statistic of our seeds, and how far the protocol is the same."""

from collections.abc import Mapping
from typing import Any

from stablebench.schema.card import TaskCard
from stablebench.schema.published import Published


def published(card: TaskCard, params: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what has been published at these parameters, each number beside that of our row of the same model.

    Of several rows of a model the one of the paper's width is taken, else the best. Where papers do not say how a
    number comes from their trials, ours is the median.
    """
    found = []
    for entry in card.published:
        if entry.value is None or isinstance(entry.value, bool) or not card.has_params(entry.variant, params):
            continue
        row = _row_for(entry, rows)
        compared = card.compare(entry, params, None if row is None else _ran(card, params, row))
        value, statistic = (None, None) if row is None else _ours(entry, row)
        found.append(
            {
                "key": entry.key,
                "model": entry.model,
                "metric": entry.what,
                "statistic": entry.statistic,
                "published": entry.value,
                "bound": entry.bound,
                "part": entry.part,
                "ours": value,
                "our_statistic": statistic,
                "units": entry.units,
                "protocol": compared.flag,
                "differs": compared.differs,
                "unstated": compared.unstated,
                "source": entry.source,
                "quoted": entry.quoted,
                "where": entry.where,
            }
        )
    return found


def _row_for(entry: Published, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    of_model = [row for row in rows if row["model"] == entry.model]
    of_width = [row for row in of_model if row["hidden"] == entry.units]
    return next(iter(of_width or of_model), None)


def _ran(card: TaskCard, params: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a row's runs decide, and their epochs where the task has a data set."""
    fields = dict(row["ran"])
    examples = card.protocol_at(params).train
    if card.data.dataset is not None and examples is not None:
        epochs = fields["steps"] / -(-examples // fields["batch_size"])
        fields["epochs"] = int(epochs) if epochs.is_integer() else round(epochs, 3)
    return fields


def _ours(entry: Published, row: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """Return our number and its statistic."""
    if entry.event == "diverged":
        return row["diverged"], "count"
    if entry.event == "steps_to_baseline":
        return row["steps_to_baseline"], "median"
    if entry.metric is None or entry.part != "test":
        return None, None
    statistics = row["statistics"].get(entry.metric, {})
    if entry.statistic in statistics:
        return statistics[entry.statistic], entry.statistic
    median = row["score"] if entry.metric == row["metric"] else row["others"].get(entry.metric)
    return median, "median"


def in_words(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a published entry of the leaderboard as a table's cells."""
    sign = {"at_least": ">= ", "at_most": "<= "}.get(entry["bound"] or "", "")
    ours = _said(entry["ours"])
    if ours is not None and entry["our_statistic"] != entry["statistic"]:
        ours += f" ({entry['our_statistic']})"
    differs = [*entry["differs"], *([f"not stated: {', '.join(entry['unstated'])}"] if entry["unstated"] else [])]
    source = f"{entry['source']}, quoting {entry['quoted']}" if entry["quoted"] else entry["source"]
    metric = entry["metric"] + ("" if entry["part"] == "test" else f" ({entry['part']})")
    words = {"metric": metric, "published": f"{sign}{_said(entry['published'])}", "ours": ours}
    return {**entry, **words, "differs": "; ".join(differs), "source": source}


def _said(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"

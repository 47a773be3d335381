"""A task in full: its card, its variants with protocol and baselines, and published results."""

from typing import Any

from stablebench import registry
from stablebench.cli.shared.known_names import check_names
from stablebench.cli.shared.text import counted, format_value, format_values
from stablebench.cli.show.description import WRAPPED_COLUMNS, Description
from stablebench.data.task import resolve_params, sizes_of
from stablebench.errors import unknown_name
from stablebench.schema.card import TaskCard
from stablebench.schema.published import Published
from stablebench.specs.own_task import card_named
from stablebench.tables import Table


def describe(name: str) -> Description:
    """Return a task's card, the protocols and baselines of its variants, and what has been published on it."""
    check_names(tasks=[registry.task_parts(name)[0]])
    card, variant = card_named(name)
    if variant and variant not in card.variants:
        raise unknown_name(f"{card.task} variant", variant, card.variants)
    scores = [_scores(card, v) for v in ([variant] if variant else [None, *card.variants])]
    published = [
        _published(card, entry, resolve_params(card, variant=variant or entry.variant))
        for entry in card.published
        if not variant or entry.variant in (None, variant)
    ]
    document = {**card.model_dump(mode="json"), "name": card.task, "by_variant": scores, "published": published}
    tables = [_variants_table(scores), *_scores_tables(card, scores), _published_table(published)]
    return Description(document, _task_text(card, variant or None), tables)


def _task_text(card: TaskCard, variant: str | None) -> str:
    params = resolve_params(card, variant=variant)
    lines = [
        f"{card.task}{f'/{variant}' if variant else ''}, version {card.version}: {card.summary}",
        "",
        f"From: {card.reference}",
        *([_sizes(card, params)] if card.source else []),
        *([f"Variant: {card.variant.strip()}"] if card.variant else []),
        f"Input {card.input}, readout {card.readout}, loss {card.loss}, metric {card.metric}"
        + (f" (also {', '.join(card.extra_metrics)})" if card.extra_metrics else ""),
        f"--T sets {': '.join(filter(None, (card.length, card.length_description)))}"
        if card.length
        else "Fixed length; --T is refused.",
        f"Examples: {_examples(card, params)}",
        *[f"Split {key}: {split.why}" for key, split in card.splits.items()],
        *([f"Conditions: {format_values(card.conditions)}"] if card.conditions else []),
        f"Run without a recipe: {_defaults(card)}",
        *[f"Version {change}" for change in card.changelog],
    ]
    return "\n".join(lines)


def _sizes(card: TaskCard, params: dict[str, Any]) -> str:
    sizes = sizes_of(card, params)
    inputs = counted(sizes.inputs, "token" if card.input == "tokens" else "feature")
    outputs = counted(sizes.outputs, "value") if card.loss == "mse" else f"{max(sizes.outputs, 2)} classes"
    return f"Sizes: {inputs} in, {outputs} out, {counted(sizes.steps, 'step')}"


def _examples(card: TaskCard, params: dict[str, Any]) -> str:
    p = card.protocol_at(params)
    train = "drawn for each update" if p.train is None else f"{p.train:,}"
    return f"train {train}, validation {p.validation:,}, test {p.test:,}; {card.selection(params)}"


def _defaults(card: TaskCard) -> str:
    """Return a card's optimiser, budget, width and seeds in words."""
    p = card.protocol
    optim = p.optim.model_dump(exclude_defaults=True, exclude={"name"})
    return (
        f"{p.optim.name} {format_values({'lr': p.optim.lr} | optim)}; {p.steps:,} updates of {p.batch_size}, evaluated "
        f"every {p.eval_every}; width {p.hidden}, {p.layers} layer{'s' * (p.layers > 1)}; "
        f"{p.seeds} seeds in a full protocol"
    )


def _scores(card: TaskCard, variant: str | None) -> dict[str, Any]:
    """Return a variant's parameters and protocol, its baseline in each metric, and its target."""
    params = resolve_params(card, variant=variant)
    scores = {metric: card.baseline(metric, params) for metric in [card.metric, *card.extra_metrics]}
    named = {"variant": variant or "(default)", "params": params, "examples": _examples(card, params)}
    return named | scores | {"target": card.target_value(params)}


def _variants_table(scores: list[dict[str, Any]]) -> Table:
    names = [key for key in scores[0] if key not in ("variant", "params", "examples")]
    same = len({s["examples"] for s in scores}) == 1
    columns = ["variant", "parameters", *names] + ([] if same else ["examples"])
    rows = [[s["variant"], format_values(s["params"]), *(s[n] for n in names), s["examples"]] for s in scores]
    title = "Variants, what they score without learning, and the target"
    return Table(
        columns, [row[: len(columns)] for row in rows], title=title, wrap=frozenset({"parameters", "examples"})
    )


def _scores_tables(card: TaskCard, scores: list[dict[str, Any]]) -> list[Table]:
    rows = [["baseline", b.name, b.metric, _number(b.value), b.derivation] for b in card.baselines]
    if not rows:
        value = format_value(scores[0][card.metric])
        rows.append(["baseline", "best constant answer", card.metric, value, "computed from the test examples"])
    if card.target is not None:
        tried = "" if card.target.tried is None else f". No recorded run reached it: {card.target.tried}"
        rows.append(["target", "solved", card.target.metric, _number(card.target.value), f"{card.target.why}{tried}"])
    columns = ["", "name", "metric", "value", "why"]
    return [Table(columns, rows, title="Baselines and target", wrap=WRAPPED_COLUMNS | {"value", "name"})]


def _number(value: Any) -> str:
    return format_values(value) if isinstance(value, dict) else str(value)


def _published(card: TaskCard, entry: Published, params: dict[str, Any]) -> dict[str, Any]:
    compared = card.compare(entry, params)
    comparison = {"protocol": compared.flag, "differs": compared.differs, "unstated": compared.unstated}
    return {**entry.model_dump(mode="json"), **comparison}


def _published_table(published: list[dict[str, Any]]) -> Table:
    columns = ("key", "model", "variant", "what", "statistic", "value", "units", "params", "protocol", "differs")
    columns += ("source", "where", "reported_protocol", "note")
    return Table(
        columns,
        [[cells[column] for column in columns] for cells in map(_published_cells, published)],
        title="Published",
        wrap=WRAPPED_COLUMNS | {"key", "model", "reported_protocol", "what"},
    )


def _published_cells(entry: dict[str, Any]) -> dict[str, Any]:
    sign = {"at_least": ">= ", "at_most": "<= "}.get(entry["bound"] or "", "")
    value = entry["value"]
    text = value if value is None else f"{sign}{format_value(value)}"
    for name in ("std", "stderr"):
        if entry[name] is not None:
            text = f"{text} ({name} {format_value(entry[name])})"
    unstated = [f"not stated: {', '.join(entry['unstated'])}"] if entry["unstated"] else []
    return {
        **entry,
        "what": (entry["metric"] or entry["event"] or entry["quantity"])
        + ("" if entry["part"] == "test" else f" ({entry['part']})"),
        "statistic": entry["statistic"] + (f" of {entry['runs']}" if entry["runs"] else ""),
        "value": text,
        "differs": "; ".join([*entry["differs"], *unstated]),
        "source": f"{entry['source']}, quoting {entry['quoted']}" if entry["quoted"] else entry["source"],
        "reported_protocol": format_values(entry["reported_protocol"]),
    }

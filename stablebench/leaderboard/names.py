"""What tells two rows, or two tables, of one name apart."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from stablebench.schema.run_record import RunRecord


def settings_of(record: RunRecord) -> dict[str, Any]:
    """Return what may tell two rows of one model apart, by dotted key."""
    spec = record.spec
    ran = {"engine": record.environment.engine, "device": record.environment.device}
    asked = {"precision": spec.precision, "threads": spec.threads, "asked engine": spec.engine}
    code = {"file": spec.model.source[:6]} if spec.model.source else {}
    train = spec.train.model_dump(exclude={"checkpoint_every"})
    return {
        "revision": spec.model.revision,
        **code,
        "hidden": spec.model.hidden,
        "layers": spec.model.layers,
        **spec.model.params,
        **ran,
        **{f"optim.{k}": v for k, v in spec.optim.model_dump().items()},
        **train,
        **asked,
    }


def disambiguate(items: list[dict[str, Any]], key: str, settings: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Append to equal names what differs between them."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        by_name[item[key]].append(item)
    for same in by_name.values():
        if len(same) < 2:
            continue
        all_settings = [settings(item) for item in same]
        names = list(dict.fromkeys(name for values in all_settings for name in values))
        differing = [n for n in names if len({json.dumps(v.get(n), sort_keys=True) for v in all_settings}) > 1]
        for item, values in zip(same, all_settings, strict=True):
            said = ", ".join(f"{name} {_short(values.get(name))}" for name in differing[:4])
            item[key] += f" ({said or item.get('spec_hash', '')})"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')

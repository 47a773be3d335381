"""What tells two rows, or two tables, of one name apart."""

import json
from collections import defaultdict
from collections.abc import Sequence
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


def disambiguate(
    names: Sequence[str], settings: Sequence[dict[str, Any]], otherwise: Sequence[str] | None = None
) -> list[str]:
    """Return the names, equal ones followed by what differs between them.

    Args:
        names: Of rows or of tables.
        settings: By name, what may differ.
        otherwise: What follows an equal name where none of that differs.
    """
    unique = list(names)
    by_name: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        by_name[name].append(i)
    for same in by_name.values():
        if len(same) < 2:
            continue
        keys = list(dict.fromkeys(key for i in same for key in settings[i]))
        differing = [k for k in keys if len({json.dumps(settings[i].get(k), sort_keys=True) for i in same}) > 1]
        for i in same:
            words = ", ".join(f"{key} {_short(settings[i].get(key))}" for key in differing[:4])
            unique[i] += f" ({words or (otherwise[i] if otherwise else '')})"
    return unique


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value).strip('"')

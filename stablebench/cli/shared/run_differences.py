"""Two runs side by side: the settings in which they differ, where each came from, and what came out."""

from typing import Any

from stablebench.cli.shared.requests import origin_text
from stablebench.schema.dotted import dotted
from stablebench.schema.run_record import RunRecord


def differences(a: RunRecord, b: RunRecord) -> list[dict[str, Any]]:
    """Return each setting that differs: `key`, `a`, `b`, and in plain words `from_a` and `from_b`.

    The digest of a user's own code is `model.source`; what computed it (version, engine, hardware) follows.
    """
    values = [dotted(record.spec.model_dump(mode="json")) for record in (a, b)]
    ran = [_environment(record) for record in (a, b)]
    different = []
    for first, second, records in ((*values, (a, b)), (*ran, None)):
        for key in dict.fromkeys([*first, *second]):
            one, other = first.get(key), second.get(key)
            if one != other:
                origins = (
                    ["", ""]
                    if records is None
                    else [_origin(r, key, v) for r, v in zip(records, (one, other), strict=True)]
                )
                different.append({"key": key, "a": one, "b": other, "from_a": origins[0], "from_b": origins[1]})
    return different


def _origin(record: RunRecord, key: str, value: Any) -> str:
    if value is None:
        return ""
    origin = record.origin.get(key.replace(".params.", ".", 1), "default" if record.origin else "")
    return origin_text(key, origin, value)


def _environment(record: RunRecord) -> dict[str, Any]:
    ran = record.environment
    own = {"engine used": ran.engine, "device used": ran.device, "hardware": ran.hardware, "commit": ran.commit}
    return own | {f"version of {name}": version for name, version in ran.versions.items()}


def results(a: RunRecord, b: RunRecord) -> list[dict[str, Any]]:
    """Return what came out of both: `what`, `a`, `b`."""
    columns = [_results(record) for record in (a, b)]
    return [
        {"what": key, "a": columns[0].get(key), "b": columns[1].get(key)}
        for key in dict.fromkeys([*columns[0], *columns[1]])
    ]


def _results(record: RunRecord) -> dict[str, Any]:
    result = record.result
    tests = {f"test {name}": value for name, value in (result.test or {}).items()}
    return {
        "status": record.status,
        "updates": record.step,
        **tests,
        "updates to baseline": result.steps_to_baseline,
        "updates to target": result.steps_to_target,
        "seconds of training": round(record.train_s, 1),
        "updates/s": result.steps_per_s,
        "parameters": record.parameters,
    }

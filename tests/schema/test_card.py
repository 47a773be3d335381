"""Cards: values by variant, splits, and how far a published protocol is ours."""

from typing import Any

import pytest
from pydantic import ValidationError

from stablebench import registry
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.schema.card import TaskCard
from stablebench.schema.published import Published
from stablebench.specs.resolve import RunRequest, resolve

CARD: dict[str, Any] = {
    "task": "toy",
    "version": 1,
    "summary": "s",
    "reference": "r",
    "data": {"dataset": "psmnist", "params": {"permutation": "lmu"}},
    "variants": {"a": {"permutation": "lmu"}, "b": {"permutation": "cornn", "split": "less"}},
    "splits": {
        "less": {"train": 50, "validation": 10, "validation_from": "train", "select_on": "validation", "why": "w"}
    },
    "facts": {"pixels": "0 to 1"},
    "input": "values",
    "readout": "last",
    "loss": "cross_entropy",
    "metric": "accuracy",
    "protocol": {"train": 60, "validation": 1, "test": 10, "validation_from": "test"},
    "baselines": [{"name": "n", "metric": "accuracy", "value": {"a": 0.1, "b": "1 / 5"}, "why": "w"}],
    "target": {"metric": "accuracy", "value": {"b": 0.9}, "why": "w"},
    "changes": ["1: first"],
}


def card(**changes: Any) -> TaskCard:
    return TaskCard.model_validate(CARD | changes)


def entry(**changes: Any) -> Published:
    said = {"key": "k", "model": "m", "metric": "accuracy", "statistic": "mean", "value": 0.5} | changes
    return Published.model_validate({"source": "s", "where": "w"} | said)


ALL = {"permutation": "lmu", "pixels": "0 to 1", "train": 60, "validation": 0, "test": 10, "selection": "last"}


def test_a_value_by_variant_holds_at_its_parameters_and_nowhere_else() -> None:
    assert card().baseline("accuracy", {"permutation": "lmu"}) == 0.1
    assert card().baseline("accuracy", {"permutation": "cornn", "split": "less"}) == pytest.approx(0.2)
    assert card().target_value({"permutation": "cornn", "split": "less"}) == 0.9
    for params in ({"permutation": "nnrnn"}, {"permutation": "cornn"}):
        assert card().baseline("accuracy", params) is None
        assert card().target_value(params) is None


def test_lorenz96_has_no_score_between_its_two_forces() -> None:
    lorenz = registry.task_card("lorenz96")
    scores = {F: lorenz.baseline("nrmse", resolve_params(lorenz, settings={"F": F})) for F in (0.9, 4.0, 8.0)}
    assert scores == {0.9: 0.0505, 4.0: None, 8.0: 0.8498}
    assert lorenz.target_value(resolve_params(lorenz, settings={"F": 4.0})) is None


def test_a_split_changes_the_protocol_and_nothing_else() -> None:
    own, less = card().protocol, card().protocol_at({"permutation": "lmu", "split": "less"})
    assert card().protocol_at({"permutation": "lmu"}) == own
    assert (less.train, less.validation, less.test) == (50, 10, own.test)
    assert (less.validation_from, less.select_on) == ("train", "validation")
    assert less.steps == own.steps and less.optim == own.optim
    assert card().selection({}) == "the last weights tested; validation looks at test examples"
    assert card().selection({"split": "less"}) == "the weights best on validation tested; validation held out of train"


def test_a_split_is_in_the_spec_and_its_hash_and_leaves_a_spec_without_one_alone() -> None:
    own, other = (resolve(RunRequest("rnn", name)).spec for name in ("psmnist/lmu", "psmnist/lmu_50k"))
    assert "split" not in own.task.params
    assert other.task.params["split"] == "50k"
    assert own.spec_hash() != other.spec_hash()
    by_hand = resolve(RunRequest("rnn", "psmnist", settings={"task.split": "50k"})).spec
    assert by_hand.spec_hash() == other.spec_hash()
    undone = resolve(RunRequest("rnn", "psmnist/lmu_50k", settings={"task.split": None})).spec
    assert undone.spec_hash() == own.spec_hash()


def test_epochs_of_a_split_are_of_its_own_training_examples() -> None:
    options = {"train.epochs": 1, "train.batch_size": 100}
    steps = {
        name: resolve(RunRequest("rnn", name, options=options)).spec.train.steps for name in ("smnist", "smnist/cornn")
    }
    assert steps == {"smnist": 600, "smnist/cornn": 570}


@pytest.mark.parametrize("name", ["smnist", "psmnist"])
def test_splits_of_mnist_use_no_image_twice(name: str) -> None:
    found = registry.task_card(name)
    for split in found.splits:
        protocol = found.protocol_at({"split": split})
        held = protocol.validation if protocol.validation_from == "train" else 0
        assert (protocol.train or 0) + held <= 60_000
        assert Task(found, resolve_params(found, settings={"split": split})).protocol == protocol


def test_an_unknown_split_is_one_message() -> None:
    with pytest.raises(UserError, match=r"Task psmnist has no split '57'. Did you mean 57k\?"):
        resolve_params(registry.task_card("psmnist"), settings={"split": "57"})
    with pytest.raises(UserError, match="Task copy has no split '57k'. Its splits: none beside the card's own"):
        resolve_params(registry.task_card("copy"), settings={"split": "57k"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"a": {}, "b": {"split": "more"}}}, "no split named 'more'"),
        ({"variants": {"b": {}}, "splits": {}}, "`baselines`: no variant named 'a'"),
        ({"variants": {"a": {}}, "splits": {}}, "`target`: no variant named 'b'"),
        ({"data": {"generator": "copy"}}, "`splits`: only a `dataset` has them"),
    ],
)
def test_what_a_card_names_must_be_there(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        card(**changes)


def test_a_protocol_is_the_same_only_where_all_that_decides_is_stated_and_equal() -> None:
    params = {"permutation": "lmu"}
    assert card().compare(entry(states=ALL), params).flag == "same"
    for name in ALL:
        left_out = {k: v for k, v in ALL.items() if k != name}
        compared = card().compare(entry(states=left_out), params)
        assert (compared.flag, compared.unstated) == ("unknown", [name])
    other = card().compare(entry(states={"train": 50, "permutation": "lmu"}), params)
    assert (other.flag, other.differs) == ("differs", ["train 50, ours 60"])


def test_a_curve_has_no_chosen_weights_and_a_formula_no_training() -> None:
    chosen = {k: v for k, v in ALL.items() if k != "selection"}
    assert card().compare(entry(statistic="curve", value=None, states=chosen), {"permutation": "lmu"}).flag == "same"
    formula = entry(statistic="exact", states={"permutation": "lmu", "pixels": "0 to 1"})
    assert card().compare(formula, {"permutation": "lmu"}).flag == "same"


def test_what_a_run_decides_is_compared_where_there_is_one() -> None:
    stated = entry(states=ALL | {"epochs": 20}, units=64)
    assert card().compare(stated, {"permutation": "lmu"}).flag == "same"
    compared = card().compare(stated, {"permutation": "lmu"}, {"epochs": 10, "units": 64})
    assert compared.differs == ["epochs 20, ours 10"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event": "solved"}, "exactly one of `metric`, `event` and `quantity`"),
        ({"metric": None}, "exactly one of `metric`, `event` and `quantity`"),
        ({"value": None}, "`statistic`: mean needs a `value`"),
        ({"metric": "test_accuracy_pct"}, "metric"),
    ],
)
def test_an_entry_is_one_kind_of_number(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        entry(**changes)


def test_a_published_number_leaves_the_cards_digest_alone() -> None:
    published = entry().model_dump()
    assert card(published=[published]).sha256() == card().sha256()
    assert card(facts={"pixels": "other"}).sha256() != card().sha256()

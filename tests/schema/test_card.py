"""Cards: values by variant, splits, and how far a published protocol is ours."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stablebench import registry
from stablebench.data.task import Task, resolve_params
from stablebench.errors import UserError
from stablebench.execution.validate import check_file
from stablebench.schema.card import TaskCard
from stablebench.schema.published import Paper, Published
from stablebench.schema.strict import load
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
    "conditions": {"pixels": "0 to 1"},
    "input": "values",
    "readout": "last",
    "loss": "cross_entropy",
    "metric": "accuracy",
    "protocol": {"train": 60, "validation": 1, "test": 10, "validation_from": "test"},
    "baselines": [{"name": "n", "metric": "accuracy", "value": {"a": 0.1, "b": "1 / 5"}, "derivation": "w"}],
    "target": {"metric": "accuracy", "value": {"b": 0.9}, "why": "w"},
    "changelog": ["1: first"],
}


def card(**changes: Any) -> TaskCard:
    return TaskCard.model_validate(CARD | changes)


def entry(**changes: Any) -> Published:
    said = {"key": "k", "model": "m", "metric": "accuracy", "statistic": "mean", "value": 0.5} | changes
    return Published.model_validate({"source": "s", "where": "w"} | said)


ALL = {"permutation": "lmu", "pixels": "0 to 1", "train": 60, "validation": 0, "test": 10, "selection": "last"}


def test_value_by_variant_holds_at_parameters_and_nowhere_else() -> None:
    """A value by variant holds at its parameters and nowhere else."""
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


def test_split_is_in_spec_and_hash() -> None:
    """A split is in the spec and its hash and leaves a spec without one alone."""
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
    with pytest.raises(UserError, match="Task copy has no split '57k'. Its splits: none but the card's own"):
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


def test_protocol_is_same_only_where_all_that_decides_is_stated() -> None:
    """A protocol is the same only where all that decides is stated and equal."""
    params = {"permutation": "lmu"}
    assert card().compare(entry(reported_protocol=ALL), params).flag == "same"
    for name in ALL:
        left_out = {k: v for k, v in ALL.items() if k != name}
        compared = card().compare(entry(reported_protocol=left_out), params)
        assert (compared.flag, compared.unstated) == ("unknown", [name])
    other = card().compare(entry(reported_protocol={"train": 50, "permutation": "lmu"}), params)
    assert (other.flag, other.differs) == ("differs", ["train 50, ours 60"])


def test_a_curve_has_no_chosen_weights_and_a_formula_no_training() -> None:
    chosen = {k: v for k, v in ALL.items() if k != "selection"}
    assert (
        card().compare(entry(statistic="curve", value=None, reported_protocol=chosen), {"permutation": "lmu"}).flag
        == "same"
    )
    formula = entry(statistic="exact", reported_protocol={"permutation": "lmu", "pixels": "0 to 1"})
    assert card().compare(formula, {"permutation": "lmu"}).flag == "same"


def test_what_a_run_decides_is_compared_where_there_is_one() -> None:
    stated = entry(reported_protocol=ALL | {"epochs": 20}, units=64)
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
    assert card(conditions={"pixels": "other"}).sha256() != card().sha256()
    target = {"metric": "accuracy", "value": {"b": 0.9}, "why": "w"}
    assert card(target=target | {"tried": "much"}).sha256() == card(target=target).sha256()
    assert card(target=target | {"why": "v"}).sha256() != card(target=target).sha256()


CARD_DIGESTS = {
    "adding": "8465910e50c461bb",
    "copy": "968ba2e8c0eeecd7",
    "copy_masked": "03a216ae136c0fc1",
    "denoise": "e4bf96e830d38cbf",
    "digits": "e22e57f406bbdfa6",
    "digits_flat": "4a4cb3ed08f3b8a4",
    "double_moon": "1f2afafc57acad3e",
    "first_recall": "82c67b2cb8eac591",
    "har2": "0c338ee3c2266855",
    "har6": "edc0e5cbf0087387",
    "imdb": "573b996551328118",
    "kth_highest": "476f275faf331bdc",
    "lorenz96": "37609a65674f7167",
    "mqar": "ba99d55cf8d7af37",
    "noisy_cifar10": "68aeb0fe3bcfad72",
    "psmnist": "31a60906501608f2",
    "ptb_char": "f9a4a98a1abb6bcf",
    "ptb_word": "55c8f3790cd63fcb",
    "scifar10": "899ea98113908cf8",
    "selective_copy": "1c9c443e4500ee1f",
    "smnist": "afb86594e1aa10d7",
}
"""The beginnings of what version 0.1.0 wrote as `card_sha256` into the records of its runs."""


def test_runs_of_version_0_1_0_have_the_card_of_now() -> None:
    assert {name: registry.task_card(name).sha256()[:16] for name in CARD_DIGESTS} == CARD_DIGESTS
    assert CARD_DIGESTS.keys() <= set(registry.task_names())


def test_earlier_card_loads_under_the_names_of_now() -> None:
    """An earlier card loads under the names of now with a warning for each."""
    path = Path(__file__).parents[1] / "store_0_1_0" / "denoise.yaml"
    with pytest.warns(FutureWarning) as caught:
        earlier = load(path, TaskCard)
    lines = [str(warning.message).removeprefix(f"{path}:") for warning in caught]
    assert lines == [
        "11: `length_means` is now called `length_description`.",
        "19: `facts` is now called `conditions`.",
        "24: `also` is now called `extra_metrics`.",
        "37: `why` is now called `derivation`.",
        "41: `why` is now called `derivation`.",
        "47: `states` is now called `reported_protocol`.",
        "48: `changes` is now called `changelog`.",
    ]
    now = registry.task_card("denoise")
    assert earlier.target is not None and now.target is not None
    target = earlier.target.model_copy(update={"tried": now.target.tried})  # said since
    assert earlier.model_copy(update={"target": target}) == now
    assert earlier.sha256() == now.sha256()


def test_file_with_earlier_key_has_no_problem(tmp_path: Path) -> None:
    """A file with an earlier key has no problem and an error in it keeps its line."""
    path = tmp_path / "suite.yaml"
    path.write_text("summary: s\ntasks:\n  - task: copy\n    params: none\nmodels: [rnn]\nseeds: [0]\n")
    with pytest.warns(FutureWarning, match="suite.yaml:4: `params` is now called `match_parameters`."):
        (problem,) = check_file(path)
    assert problem.startswith(f"{path}:4: tasks.0.match_parameters: must be a whole number, got 'none'")
    path.write_text(path.read_text().replace("params: none", "set: {}\n    overrides: {}"))
    (problem,) = check_file(path)
    assert problem.startswith(f"{path}:4: tasks.0.set: unknown key.")


def test_an_earlier_suite_loads(tmp_path: Path) -> None:
    with pytest.warns(FutureWarning) as caught:
        suite = registry.suite(str(Path(__file__).parents[1] / "store_0_1_0" / "suite.yaml"))
    assert len(caught) == 3
    assert suite.tasks[0].overrides["train.steps"] == 20
    assert suite.model_overrides == {"rnn": {"model.activation": "tanh"}}
    assert suite.short_overrides == {"train.steps": 10}


PAPER = """\
paper: ours
source: "Ours (2026)"
tables:
  - task: copy
    where: Table 1
    defaults: {metric: loss, statistic: mean, reported_protocol: {length: 100, S: 10}}
    entries:
      - {key: a, model: rnn, value: 0.5}
      - {key: b, model: lstm, statistic: best, value: 0.25, reported_protocol: {S: 5}, source: "Theirs"}
"""


def test_entries_of_paper_are_completed_by_tables_defaults(tmp_path: Path) -> None:
    """The entries of a paper are completed by their tables defaults."""
    path = tmp_path / "ours.yaml"
    path.write_text(PAPER)
    first, second = load(path, Paper).tables[0].entries
    assert (first.source, first.where, first.metric, first.statistic) == ("Ours (2026)", "Table 1", "loss", "mean")
    assert first.reported_protocol == {"length": 100, "S": 10}
    assert (second.source, second.where, second.metric, second.statistic) == ("Theirs", "Table 1", "loss", "best")
    assert second.reported_protocol == {"length": 100, "S": 5}
    assert check_file(path) == []


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("paper: ours", "paper: theirs"), 1, "paper: must be the file's name, 'ours'"),
        (("task: copy", "task: copi"), 4, "tables.0.task: No task named 'copi'. Did you mean copy?"),
        (("value: 0.5", "value: half"), 8, "tables.0.entries.0.value: must be a number"),
        (("key: b", "kee: b"), 9, "tables.0.entries.1.kee: unknown key. Did you mean key?"),
        (("key: b", "key: a"), 9, "tables.0.entries.1.key: the key a stands twice for the task copy."),
        (("{S: 5}", "{Z: 5}"), 9, "tables.0.entries.1.reported_protocol: unknown field 'Z'."),
        (("metric: loss", "metric: bpc"), 8, "tables.0.entries.0.metric: the task copy does not measure bpc."),
        (("metric: loss", "metrik: loss"), 8, "tables.0.entries.0.metrik: unknown key. Did you mean metric?"),
        (("model: rnn", "model: rnn, variant: t99"), 8, "tables.0.entries.0: Task copy has no variant 't99'."),
    ],
)
def test_a_papers_problem_is_named(change: tuple[str, str], line: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    assert change[0] in PAPER
    path.write_text(PAPER.replace(*change))
    problems = check_file(path)
    assert any(problem.startswith(f"{path}:{line}: {message}") for problem in problems), problems

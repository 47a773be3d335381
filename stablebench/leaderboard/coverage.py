"""Which of the numbers that papers have published have been repeated: from leaderboards of suites, and nothing else.

Runs at a suite's own budget decide before those that a suite had a part of: a short budget, other settings. What no
run stands for names the suites that would run it, with what they take.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from stablebench import registry
from stablebench.leaderboard.board import Cards, registered_card
from stablebench.leaderboard.published import has_number, is_measured
from stablebench.leaderboard.reproduction import number_line
from stablebench.schema.card import TaskCard
from stablebench.schema.leaderboard import Leaderboard
from stablebench.schema.model_name import base_of
from stablebench.schema.published import Published
from stablebench.schema.reproduction import ReproductionLine
from stablebench.schema.suite import Suite

State = Literal[
    "reproduced",
    "better",
    "not reproduced",
    "undecided",
    "not comparable",
    "run in part",
    "by formula",
    "not run",
    "no suite",
    "not measured",
    "curve or words",
]
"""`within interval` counts as reproduced; its line says which it was."""
STATES: dict[State, str] = {
    "reproduced": "equal within what is printed, or in our interval from five seeds on, or both fail the baseline",
    "better": "ours lies beyond it on the good side",
    "not reproduced": "ours lies beyond it on the bad side, or a model that fails there learns here",
    "undecided": "one seed, or it is in the range of a few, or their best trial is of more than we have: no verdict",
    "not comparable": "ours is of another variant of the task",
    "run in part": "only with a part of the suite's budget or other settings: no verdict",
    "by formula": "a baseline that needs no training, equal to the task card's",
    "not run": "a suite has it; its hours of one core stand next to it",
    "no suite": "a number of a model, or of a size, that no suite of ours has",
    "not measured": "a quantity that leaderboards do not have",
    "curve or words": "no number; what a figure shows is a statement of its suite",
}
_BASELINE_DIGITS = 0.02
"""Relative difference up to which a printed baseline is the card's: papers print two to four digits of it."""


@dataclass(frozen=True)
class PublishedState:
    """What has become of one published number.

    Args:
        paper: The paper's short name.
        task: The task's name.
        entry: The number.
        state: What has become of it.
        line: Ours with it; None where there is nothing of ours.
        board: The leaderboard that ours is from; None for none.
        suites: Suites that run it.
    """

    paper: str
    task: str
    entry: Published
    state: State
    line: ReproductionLine | None = None
    board: str | None = None
    suites: list[str] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether runs at a whole budget decide it."""
        return self.state in ("reproduced", "better", "not reproduced")

    @property
    def of_its_paper(self) -> bool:
        """Whether the runs are those of a suite of its own paper, so at that paper's budget."""
        return self.board is not None and self.board.split("/")[0] == self.paper


def coverage(boards: Mapping[str, Leaderboard], cards: Cards = registered_card) -> list[PublishedState]:
    """Return what has become of every published number, in the order of the papers.

    Args:
        boards: Leaderboards of suites, by name.
        cards: Where published numbers stand.
    """
    suites = {name: registry.suite(name) for name in registry.suite_names()}
    states = []
    for name in registry.paper_names():
        for table in registry.paper(name).tables:
            card = cards(table.task)
            if card is not None:
                states += [_state(name, card, entry, boards, suites) for entry in table.entries]
    return states


def _state(
    paper: str, card: TaskCard, entry: Published, boards: Mapping[str, Leaderboard], suites: Mapping[str, Suite]
) -> PublishedState:
    if not has_number(entry):
        return PublishedState(paper, card.task, entry, "curve or words")
    if entry.statistic == "exact":
        return PublishedState(paper, card.task, entry, "by formula" if _is_baseline(card, entry) else "not measured")
    if not is_measured(card, entry):
        return PublishedState(paper, card.task, entry, "not measured")
    runs_it = [name for name, suite in suites.items() if _runs(suite, card, entry)]
    lines = [(name, _in_part(board), _line(card, entry, board)) for name, board in boards.items()]
    lines = [one for one in lines if one[2].verdict != "not run"]
    if not lines:
        return PublishedState(paper, card.task, entry, "not run" if runs_it else "no suite", suites=runs_it)

    def distance(one: tuple[str, bool, ReproductionLine]) -> tuple[bool, bool, bool, bool]:
        board, in_part, line = one
        return in_part, line.verdict == "not comparable", line.verdict == "undecided", board.split("/")[0] != paper

    board, in_part, line = min(lines, key=distance)
    return PublishedState(paper, card.task, entry, "run in part" if in_part else _word(line), line, board, runs_it)


def _word(line: ReproductionLine) -> State:
    if line.verdict in ("better", "not reproduced", "undecided", "not comparable"):
        return line.verdict
    return "reproduced"


def _line(card: TaskCard, entry: Published, board: Leaderboard) -> ReproductionLine:
    entries = [one for one in card.published if has_number(one)]
    return number_line(card, entry, entries, [table for table in board.tables if table.name == card.task])


def _in_part(board: Leaderboard) -> bool:
    part = board.reproduction
    return part is not None and (part.budget == "short" or bool(part.changed))


def _is_baseline(card: TaskCard, entry: Published) -> bool:
    """Whether a number that needs no training is the card's baseline at the paper's parameters."""
    params = card.data.params | (card.variants.get(entry.variant, {}) if entry.variant else {})
    ours = card.baseline(str(entry.metric), params)
    return ours is not None and abs(ours - float(entry.value or 0)) <= _BASELINE_DIGITS * abs(ours)


def _runs(suite: Suite, card: TaskCard, entry: Published) -> bool:
    """Whether a suite of a paper has runs of a number's model at its variant and size."""
    if suite.source is None:
        return False
    if entry.key in suite.published.get(card.task, []):
        return True
    for part in suite.tasks:
        task, variant = registry.table_of(part.task)
        models = {base_of(model) for model in part.models or suite.models}
        hidden = {**suite.overrides, **part.overrides}.get("model.hidden")
        same_size = part.match_parameters is not None or entry.units in (None, hidden) or hidden is None
        if task == card.task and variant == entry.variant and entry.model in models and same_size:
            return True
    return False

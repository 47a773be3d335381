"""Turns a traced step into a program: matmuls, and loops over units with their derivative."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

from stablebench.engines.fused.adjoint import differentiate
from stablebench.engines.fused.gradient_writes import order_gradient_writes
from stablebench.engines.fused.program import (
    MATMUL,
    MATMUL_LHS,
    NEW,
    OLD,
    SAVED,
    Buffer,
    Expressions,
    Kind,
    Loop,
    Matmul,
    Program,
    Slice,
    Stage,
    Store,
)
from stablebench.engines.fused.step_graph import Node, Operand, operands

_INPUTS = ("state", "projection", "vector")
_CHEAP = ("add", "sub", "mul", "neg", "abs", "sign", "relu", "leaky_relu", "maximum", "minimum", "round", "detach")
"""Operations that cost less than loading a stored result."""


def lower(
    states: tuple[Node, ...],
    projections_need_grad: tuple[bool, ...],
    vectors_need_grad: tuple[bool, ...],
    by_step: frozenset[Buffer] = frozenset(),
) -> Program:
    """Return the program of a step.

    Args:
        states: The new states.
        projections_need_grad: Which projected inputs need a gradient.
        vectors_need_grad: Which vectors do.
        by_step: Matrices and vectors that differ from step to step (`Program.by_step`).
    """
    return replace(_Lowering(states, projections_need_grad, vectors_need_grad).program(), by_step=by_step)


@dataclass
class _Draft:
    """A loop while it is built: its expressions, and what it stores."""

    width: int
    expressions: Expressions = field(default_factory=Expressions)
    stores: list[Store] = field(default_factory=list)
    positions: dict[tuple[Node, int], int] = field(default_factory=dict)


class _Lowering:
    def __init__(
        self, states: tuple[Node, ...], projections_need_grad: tuple[bool, ...], vectors_need_grad: tuple[bool, ...]
    ) -> None:
        self.states = states
        widths = [state.width for state in states]
        self.offsets = [sum(widths[:i]) for i in range(len(widths))]
        self.needs_grad = {Kind.PROJECTION: projections_need_grad, Kind.VECTOR: vectors_need_grad}
        self.widths: dict[Buffer, int] = {OLD: sum(widths), NEW: sum(widths)}
        self.nodes = _reachable(states)
        self.levels = _levels(self.nodes)
        self.leader = _summed_matmuls(states, self.nodes, self.levels)
        self.slots: dict[Node, Slice] = {}
        self.lhs_slices: dict[Node, Slice] = {}
        for node in self.nodes:
            if node.op == "matmul":
                (lhs,) = operands(node)
                if self._input_slice(lhs) is None and lhs not in self.lhs_slices:
                    self.lhs_slices[lhs] = self._allocate(MATMUL_LHS, lhs.width)
                if self.leader[node] is node:
                    self.slots[node] = self._allocate(MATMUL, node.width)

    def program(self) -> Program:
        stages = [self._stage(level) for level in range(max(self.levels[s] for s in self.states) + 1)]
        widths = self.widths | {
            buffer.gradient: width
            for buffer, width in self.widths.items()
            if buffer in (OLD, NEW, MATMUL, MATMUL_LHS) or (buffer.kind is Kind.PROJECTION and self._needs_grad(buffer))
        }
        for store in (store for stage in stages for loop in stage.backward for store in loop.stores):
            target = store.target
            whole = self.widths[target.buffer.value] if target.buffer.is_vector_gradient else 0
            widths[target.buffer] = max(widths.get(target.buffer, whole), target.offset + target.width)
        stages, zeroed = order_gradient_writes(stages, widths)
        return Program(tuple(stages), widths, zeroed)

    def _allocate(self, buffer: Buffer, width: int) -> Slice:
        offset = self.widths.get(buffer, 0)
        self.widths[buffer] = offset + width
        return Slice(buffer, offset, width)

    def _input_slice(self, node: Node) -> Slice | None:
        """Return where `node` lies among the projections or the states before the step, if it is a part of one."""
        if node.op == "state":
            return Slice(OLD, self.offsets[node.index], node.width)
        if node.op == "projection":
            buffer = Buffer(Kind.PROJECTION, node.index)
            self.widths[buffer] = node.width
            return Slice(buffer, 0, node.width)
        if node.op == "slice" and (whole := self._input_slice(operands(node)[0])) is not None:
            return Slice(whole.buffer, whole.offset + node.offset, node.width)
        return None

    def _stage(self, level: int) -> Stage:
        matmuls = []
        for node in self.nodes:
            if node.op == "matmul" and self.levels[node] == level:
                (lhs,) = operands(node)
                leader = self.leader[node]
                source = self._input_slice(lhs) or self.lhs_slices[lhs]
                matmul = Matmul(
                    source, node.index, self.slots[leader], node is not leader, self._needs_grad(source.buffer)
                )
                matmuls.append(matmul)
        matmuls.sort(key=lambda matmul: matmul.accumulate)  # the one that stores, before those that add
        sinks = [(node, target) for node, target in self.lhs_slices.items() if self.levels[node] == level]
        for state, offset in zip(self.states, self.offsets, strict=True):
            if self.levels[state] == level:
                sinks.append((state, Slice(NEW, offset, state.width)))
        drafts: dict[int, _Draft] = {}
        for node, target in sinks:
            edges = sorted({0, node.width, *_cuts(node, 0, node.width)})
            for start, stop in pairwise(edges):
                draft = drafts.setdefault(stop - start, _Draft(stop - start))
                value = self._value(draft, node, start)
                draft.stores.append(Store(value, Slice(target.buffer, target.offset + start, stop - start)))
        loops = [self._loops(draft) for draft in drafts.values()]
        return Stage(tuple(matmuls), tuple(f for f, _ in loops), tuple(r for _, r in loops))

    def _value(self, draft: _Draft, operand: Operand, offset: int) -> int:
        """Return the position, in the draft's expressions, of feature offset + j of an operand."""
        if not isinstance(operand, Node):
            return draft.expressions.constant(operand)
        key = (operand, offset)
        if key not in draft.positions:
            draft.positions[key] = self._new_value(draft, operand, offset)
        return draft.positions[key]

    def _new_value(self, draft: _Draft, node: Node, offset: int) -> int:
        e, width = draft.expressions, draft.width
        if node.op == "state":
            return e.load(Slice(OLD, self.offsets[node.index] + offset, width))
        if node.op == "matmul":
            return e.load(Slice(MATMUL, self.slots[self.leader[node]].offset + offset, width))
        if node.op in ("projection", "vector"):
            buffer = Buffer(Kind(node.op), node.index)
            self.widths[buffer] = node.width
            return e.load(
                Slice(buffer, 0, 1) if node.op == "vector" and node.width == 1 else Slice(buffer, offset, width)
            )
        if node.op == "slice":
            return self._value(draft, node.args[0], node.offset + offset)
        if node.op == "concatenate":
            for part in operands(node):
                if offset < part.width:
                    return self._value(draft, part, offset)
                offset -= part.width
        remaining = [arg for arg in node.args if not self._is_in_another_matmul(arg)]
        if node.op == "add" and len(remaining) == 1:
            return self._value(draft, remaining[0], offset)
        args = tuple(self._value(draft, arg, offset) for arg in node.args)
        return e.apply(node.op, *args, number=node.number)

    def _is_in_another_matmul(self, operand: Operand) -> bool:
        """Return whether an operand of a sum is already part of what another matmul stores."""
        if not isinstance(operand, Node) or operand.op not in ("matmul", "add"):
            return False
        if operand.op == "matmul":
            return self.leader[operand] is not operand
        return all(self._is_in_another_matmul(arg) for arg in operand.args)

    def _needs_grad(self, buffer: Buffer) -> bool:
        """Return whether what is read from a buffer needs a gradient."""
        flags = self.needs_grad.get(buffer.kind)
        return True if flags is None or buffer.index is None else flags[buffer.index]

    def _loops(self, draft: _Draft) -> tuple[Loop, Loop]:
        """Return the loop and its derivative."""
        e = draft.expressions
        n_values = len(e.instructions)
        backward = differentiate(e, draft.stores, self._needs_grad)
        at_hand = {store.value: store.target for store in draft.stores if e.instructions[store.value].op != "load"}
        saved = []
        for value in _to_save(e, n_values, backward.needed, at_hand):
            at_hand[value] = self._allocate(SAVED, draft.width)
            saved.append(Store(value, at_hand[value]))
        forward = e.loop(draft.width, draft.stores + saved, lambda value: None)
        # the gradient of a value which all units share stays per unit
        gradients = [replace(store, target=replace(store.target, width=draft.width)) for store in backward.stores]
        return forward, e.loop(draft.width, gradients, at_hand.get)


def _reachable(states: tuple[Node, ...]) -> list[Node]:
    """Return all nodes that the states are computed from, operands first."""
    order: dict[Node, None] = {}
    waiting = list(reversed(states))
    while waiting:
        node = waiting[-1]
        missing = [arg for arg in operands(node) if arg not in order]
        if missing:
            waiting.extend(missing)
        else:
            order[waiting.pop()] = None
    return list(order)


def _levels(nodes: list[Node]) -> dict[Node, int]:
    """Return how many matmuls lie one after the other between the inputs and each node."""
    levels: dict[Node, int] = {}
    for node in nodes:
        levels[node] = max((levels[arg] for arg in operands(node)), default=0) + (node.op == "matmul")
    return levels


def _summed_matmuls(states: tuple[Node, ...], nodes: list[Node], levels: dict[Node, int]) -> dict[Node, Node]:
    """Return for each matmul the first of those that only their sum is used of, usually the matmul itself."""
    users: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for arg in operands(node):
            users[arg].append(node)

    def sum_of(node: Node) -> Node:
        while len(users[node]) == 1 and node not in states and users[node][0].op == "add":
            node = users[node][0]
        return node

    first: dict[tuple[Node, int], Node] = {}
    leader = {}
    for node in nodes:
        if node.op == "matmul":
            leader[node] = first.setdefault((sum_of(node), levels[node]), node)
    return leader


def _cuts(operand: Operand, start: int, width: int) -> set[int]:
    """Return where, relative to `start`, an operand passes from one part of a concatenation to the next."""
    if not isinstance(operand, Node) or operand.op in (*_INPUTS, "matmul"):
        return set()
    if operand.op == "slice":
        return _cuts(operand.args[0], operand.offset + start, width)
    if operand.op != "concatenate":
        return set().union(*(_cuts(arg, start, width) for arg in operand.args))
    cuts, begin = set(), 0
    for part in operands(operand):
        low, high = max(start, begin), min(start + width, begin + part.width)
        if low < high:
            cuts |= {low - start, high - start} | {low - start + c for c in _cuts(part, low - begin, high - low)}
        begin += part.width
    return cuts - {0, width}


def _to_save(e: Expressions, n_values: int, needed: list[int], at_hand: dict[int, Slice]) -> list[int]:
    """Return what to save so that the needed values follow from it, the inputs and what is at hand."""
    known = _known(e, n_values, at_hand, [])
    # Two values that follow cheaply from a third (modReLU: a sign and a relu) are better served by saving that one.
    candidates = sorted({_origin(e, value, known) for value in needed if not known[value]})
    saved: list[int] = []
    for value in candidates:
        if not _known(e, n_values, at_hand, saved)[value]:
            saved.append(value)
    return saved


def _known(e: Expressions, n_values: int, at_hand: dict[int, Slice], saved: list[int]) -> list[bool]:
    """Return which values follow from inputs, what is at hand and what is saved; results of matmuls do not."""
    known: list[bool] = []
    for value, instruction in enumerate(e.instructions[:n_values]):
        if instruction.source is not None:
            known.append(value in saved or instruction.source.buffer != MATMUL)
        else:
            known.append(value in at_hand or value in saved or all(known[arg] for arg in instruction.args))
    return known


def _origin(e: Expressions, value: int, known: list[bool]) -> int:
    """Return the value from which `value` follows by cheap operations, the one next to the matmuls."""
    while e.instructions[value].op in _CHEAP:
        unknown = {arg for arg in e.instructions[value].args if not known[arg]}
        if len(unknown) != 1 or e.instructions[min(unknown)].source is not None:
            break
        value = unknown.pop()
    return value

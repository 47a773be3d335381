"""Turns a traced step into a program: products, and loops over units with their derivative."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

from stablebench.engines.fused.adjoint import differentiate
from stablebench.engines.fused.gradient_writes import order_gradient_writes
from stablebench.engines.fused.program import Expressions, Loop, Product, Program, Slice, Stage, Store
from stablebench.engines.fused.step_graph import Node, Operand, operands

_INPUTS = ("state", "drive", "vector")
_CHEAP = ("add", "sub", "mul", "neg", "abs", "sign", "relu", "leaky_relu", "maximum", "minimum", "round", "detach")
"""Operations that cost less than loading a stored result."""


def lower(
    states: tuple[Node, ...],
    drives_wanted: tuple[bool, ...],
    vectors_wanted: tuple[bool, ...],
    by_step: frozenset[str] = frozenset(),
) -> Program:
    """Return the program of a step.

    Args:
        states: The new states.
        drives_wanted: Which drives need a gradient.
        vectors_wanted: Which vectors do.
        by_step: Matrices and vectors that differ from step to step (`Program.by_step`).
    """
    return replace(_Lowering(states, drives_wanted, vectors_wanted).program(), by_step=by_step)


@dataclass
class _Draft:
    """A loop while it is built: its expressions, and what it stores."""

    width: int
    expressions: Expressions = field(default_factory=Expressions)
    stores: list[Store] = field(default_factory=list)
    positions: dict[tuple[Node, int], int] = field(default_factory=dict)


class _Lowering:
    def __init__(
        self, states: tuple[Node, ...], drives_wanted: tuple[bool, ...], vectors_wanted: tuple[bool, ...]
    ) -> None:
        self.states = states
        widths = [state.width for state in states]
        self.offsets = [sum(widths[:i]) for i in range(len(widths))]
        self.wanted = {"drive": drives_wanted, "vector": vectors_wanted}
        self.widths: dict[str, int] = {"old": sum(widths), "new": sum(widths)}
        self.nodes = _reachable(states)
        self.levels = _levels(self.nodes)
        self.leader = _summed_products(states, self.nodes, self.levels)
        self.slots: dict[Node, Slice] = {}
        self.lefts: dict[Node, Slice] = {}
        for node in self.nodes:
            if node.op == "product":
                (left,) = operands(node)
                if self._input_slice(left) is None and left not in self.lefts:
                    self.lefts[left] = self._allocate("left", left.width)
                if self.leader[node] is node:
                    self.slots[node] = self._allocate("product", node.width)

    def program(self) -> Program:
        stages = [self._stage(level) for level in range(max(self.levels[s] for s in self.states) + 1)]
        widths = self.widths | {
            f"d_{buffer}": width
            for buffer, width in self.widths.items()
            if buffer in ("old", "new", "product", "left") or (buffer.startswith("drive") and self._wanted(buffer))
        }
        for store in (store for stage in stages for loop in stage.reverse for store in loop.stores):
            target = store.target
            widths[target.buffer] = max(widths.get(target.buffer, 0), target.offset + target.width)
        stages, zeroed = order_gradient_writes(stages, widths)
        return Program(tuple(stages), widths, zeroed)

    def _allocate(self, buffer: str, width: int) -> Slice:
        offset = self.widths.get(buffer, 0)
        self.widths[buffer] = offset + width
        return Slice(buffer, offset, width)

    def _input_slice(self, node: Node) -> Slice | None:
        """Return where `node` lies among the drives or the states before the step, if it is a part of one."""
        if node.op == "state":
            return Slice("old", self.offsets[node.index], node.width)
        if node.op == "drive":
            self.widths[f"drive{node.index}"] = node.width
            return Slice(f"drive{node.index}", 0, node.width)
        if node.op == "slice" and (whole := self._input_slice(operands(node)[0])) is not None:
            return Slice(whole.buffer, whole.offset + node.offset, node.width)
        return None

    def _stage(self, level: int) -> Stage:
        products = []
        for node in self.nodes:
            if node.op == "product" and self.levels[node] == level:
                (left,) = operands(node)
                leader = self.leader[node]
                source = self._input_slice(left) or self.lefts[left]
                product = Product(
                    source, node.index, self.slots[leader], node is not leader, self._wanted(source.buffer)
                )
                products.append(product)
        products.sort(key=lambda product: product.accumulate)  # the one that stores, before those that add
        sinks = [(node, target) for node, target in self.lefts.items() if self.levels[node] == level]
        for state, offset in zip(self.states, self.offsets, strict=True):
            if self.levels[state] == level:
                sinks.append((state, Slice("new", offset, state.width)))
        drafts: dict[int, _Draft] = {}
        for node, target in sinks:
            edges = sorted({0, node.width, *_cuts(node, 0, node.width)})
            for start, stop in pairwise(edges):
                draft = drafts.setdefault(stop - start, _Draft(stop - start))
                value = self._value(draft, node, start)
                draft.stores.append(Store(value, Slice(target.buffer, target.offset + start, stop - start)))
        loops = [self._loops(draft) for draft in drafts.values()]
        return Stage(tuple(products), tuple(f for f, _ in loops), tuple(r for _, r in loops))

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
            return e.load(Slice("old", self.offsets[node.index] + offset, width))
        if node.op == "product":
            return e.load(Slice("product", self.slots[self.leader[node]].offset + offset, width))
        if node.op in ("drive", "vector"):
            buffer = f"{node.op}{node.index}"
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
        kept = [arg for arg in node.args if not self._is_in_another_product(arg)]
        if node.op == "add" and len(kept) == 1:
            return self._value(draft, kept[0], offset)
        args = tuple(self._value(draft, arg, offset) for arg in node.args)
        return e.apply(node.op, *args, number=node.number)

    def _is_in_another_product(self, operand: Operand) -> bool:
        """Return whether an operand of a sum is already part of what another product stores."""
        if not isinstance(operand, Node) or operand.op not in ("product", "add"):
            return False
        if operand.op == "product":
            return self.leader[operand] is not operand
        return all(self._is_in_another_product(arg) for arg in operand.args)

    def _wanted(self, buffer: str) -> bool:
        """Return whether what is read from a buffer needs a gradient."""
        for kind, wanted in self.wanted.items():
            if buffer.startswith(kind):
                return wanted[int(buffer.removeprefix(kind))]
        return True

    def _loops(self, draft: _Draft) -> tuple[Loop, Loop]:
        """Return the loop and its reverse."""
        e = draft.expressions
        n_values = len(e.instructions)
        reverse = differentiate(e, draft.stores, self._wanted)
        at_hand = {store.value: store.target for store in draft.stores if e.instructions[store.value].op != "load"}
        saved = []
        for value in _to_save(e, n_values, reverse.needed, at_hand):
            at_hand[value] = self._allocate("saved", draft.width)
            saved.append(Store(value, at_hand[value]))
        forward = e.loop(draft.width, draft.stores + saved, lambda value: None)
        gradients = [replace(store, target=_whole_loop(store.target, draft.width)) for store in reverse.stores]
        return forward, e.loop(draft.width, gradients, at_hand.get)


def _whole_loop(target: Slice, width: int) -> Slice:
    """Return where a loop leaves a gradient; that of a value which all units share is left per unit."""
    return replace(target, width=width)


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
    """Return how many products lie one after the other between the inputs and each node."""
    levels: dict[Node, int] = {}
    for node in nodes:
        levels[node] = max((levels[arg] for arg in operands(node)), default=0) + (node.op == "product")
    return levels


def _summed_products(states: tuple[Node, ...], nodes: list[Node], levels: dict[Node, int]) -> dict[Node, Node]:
    """Return for each product the first of those that only their sum is used of, usually the product itself."""
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
        if node.op == "product":
            leader[node] = first.setdefault((sum_of(node), levels[node]), node)
    return leader


def _cuts(operand: Operand, start: int, width: int) -> set[int]:
    """Return where, relative to `start`, an operand passes from one part of a concatenation to the next."""
    if not isinstance(operand, Node) or operand.op in (*_INPUTS, "product"):
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
    """Return which values follow from inputs, what is at hand and what is saved; results of products do not."""
    known: list[bool] = []
    for value, instruction in enumerate(e.instructions[:n_values]):
        if instruction.source is not None:
            known.append(value in saved or instruction.source.buffer != "product")
        else:
            known.append(value in at_hand or value in saved or all(known[arg] for arg in instruction.args))
    return known


def _origin(e: Expressions, value: int, known: list[bool]) -> int:
    """Return the value from which `value` follows by cheap operations, the one next to the products."""
    while e.instructions[value].op in _CHEAP:
        unknown = {arg for arg in e.instructions[value].args if not known[arg]}
        if len(unknown) != 1 or e.instructions[min(unknown)].source is not None:
            break
        value = unknown.pop()
    return value

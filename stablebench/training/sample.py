"""Text from a trained network: each token is drawn from what the network gives for the next one, and fed back."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stablebench import registry
from stablebench.data.sources import WritesText
from stablebench.data.task import generator_for, source_module
from stablebench.data.tasks.ptb_text import Text
from stablebench.errors import UserError
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.base import State, layer_outputs
from stablebench.models.blocks.residual import enter, leave
from stablebench.models.build import resolve_device
from stablebench.models.network import Network
from stablebench.runs.store import RunFolder
from stablebench.schema.run_record import RunRecord
from stablebench.specs.limits import checked_card
from stablebench.training.checked_engine import engine_for_evaluation
from stablebench.training.score import EvaluationOptions, trained_network

_DEFAULT = EvaluationOptions()


@dataclass(frozen=True)
class Sample:
    """Text that a network wrote.

    Args:
        step: Updates that the weights had.
        prompt: The beginning that it was given, as it was read.
        text: The prompt and the text that it wrote after it, a sentence a line.
        tokens: Its own text, as single tokens.
        unknown: Words of the prompt that it read as `<unk>`.
        temperature: The divisor of the scores.
        seed: Decided the draws.
    """

    step: int
    prompt: str
    text: str
    tokens: list[str]
    unknown: list[str]
    temperature: float
    seed: int


class Reader:
    """A network that reads one sequence of tokens bit by bit, its states carried on.

    The recurrent matrices are built once. The network's mode (train, eval) is set to eval.

    Args:
        network: Of tokens, every step of which is read.
    """

    def __init__(self, network: Network) -> None:
        self.network: Network = network.eval()
        self.states: list[State] = [layer.initial_state(1) for layer in network.recurrent_layers]
        self.transitions = [layer.recurrent_weights() for layer in network.recurrent_layers]

    @torch.no_grad()
    def read(self, tokens: Sequence[int]) -> Tensor:
        """Read more tokens, at least one, and return the scores of the one behind them, (alphabet,)."""
        network = self.network
        x = network.encode(torch.tensor([tokens], device=network.head.weight.device))
        layers = zip(network.recurrent_layers, network.layer_blocks, self.states, self.transitions, strict=True)
        self.states = []
        for layer, block, state, recurrent_weights in layers:
            u, v = enter(block, x)
            output, state = network.engine(layer, v, state, "every", recurrent_weights)
            x = leave(block, layer_outputs(layer, output, v), u)
            self.states.append(state)
        return network.head(x)[0, -1]


class WindowReader:
    """A network without states that reads one sequence of tokens: at each token its last ones are looked at again.

    The network's mode (train, eval) is set to eval.

    Args:
        network: Of tokens, every step of which is read.
        window: How many tokens are looked at, >= 1: as many as in training.
    """

    def __init__(self, network: AttentionNetwork, window: int) -> None:
        self.network, self.window = network.eval(), window
        self.tokens: list[int] = []

    @torch.no_grad()
    def read(self, tokens: Sequence[int]) -> Tensor:
        """Read more tokens, at least one, and return the scores of the one behind them, (alphabet,)."""
        self.tokens = [*self.tokens, *tokens][-self.window :]
        scores, _ = self.network(torch.tensor([self.tokens], device=self.network.head.weight.device))
        return scores[0, -1]


def drawn(scores: Tensor, temperature: float, generator: torch.Generator) -> int:
    """Return a token drawn from softmax(scores / temperature); at temperature 0 the one of the highest score.

    Args:
        scores: (alphabet,).
        temperature: >= 0.
        generator: Gives one uniform number.
    """
    if temperature == 0:
        return int(scores.argmax())
    scores = scores.cpu().double()
    shares = ((scores - scores.max()) / temperature).exp().cumsum(0)
    point = torch.rand((), generator=generator, dtype=torch.float64) * shares[-1]
    return int(torch.searchsorted(shares, point, right=True).clamp(max=len(shares) - 1))


def continued(
    network: Network | AttentionNetwork,
    tokens: Sequence[int],
    n: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    window: int | None = None,
) -> list[int]:
    """Return `n` tokens that the network writes after others.

    The draw of a token depends only on the seed and on its place in the whole sequence: more tokens begin with the
    same ones, and a sequence that is given as far as it was written continues as it did.

    Args:
        network: Of tokens, every step of which is read.
        tokens: The beginning, at least one.
        n: How many to write.
        temperature: Divides the scores, >= 0; see `drawn`.
        seed: Decides the draws.
        window: How many tokens a network without states looks at; None for all.
    """
    if isinstance(network, AttentionNetwork):
        reader = WindowReader(network, len(tokens) + n if window is None else window)
    else:
        reader = Reader(network)
    unread, written = list(tokens), []
    for place in range(len(tokens), len(tokens) + n):
        token = drawn(reader.read(unread), temperature, generator_for("sample", seed, place))
        written.append(token)
        unread = [token]
    return written


def sample(
    folder: RunFolder,
    record: RunRecord,
    n: int,
    options: EvaluationOptions = _DEFAULT,
    *,
    prompt: str = "",
    temperature: float = 1.0,
    seed: int = 0,
) -> Sample:
    """Return text that a trained run writes, at the start of a sentence.

    Args:
        folder: The run.
        record: Its record.
        n: Tokens.
        options: Where and with what it is evaluated; the vocabulary comes from its folder of data.
        prompt: The beginning of the text.
        temperature: Divides the scores, >= 0; at 0 the likeliest token is taken.
        seed: Decides the draws.

    Raises:
        UserError: The run's task is no stream of text, its data are missing, or there is no whole checkpoint.
    """
    text = _text(record, options.data_dir)
    begun, unknown = text.read(prompt)
    network, saved = trained_network(folder, record, options.file)
    assert isinstance(network, Network | AttentionNetwork)  # as for every task of tokens
    where = resolve_device(options.device)
    network = network.to(where)
    engine_for_evaluation(options.engine, network, where, torch.tensor([[text.end, *begun]]))
    horizon = record.spec.horizon
    written = continued(network, [text.end, *begun], n, temperature=temperature, seed=seed, window=horizon)
    tokens = [text.vocabulary[number] for number in written]
    whole = text.write([*begun, *written])
    return Sample(saved.step, text.write(begun), whole, tokens, unknown, temperature, seed)


def _text(record: RunRecord, data_dir: Path | None) -> Text:
    """Return how the tokens of a run's task are written."""
    card = checked_card(record)
    module = source_module(card)
    if card.data.stream is None or not isinstance(module, WritesText):
        streams = [name for name in registry.task_names() if registry.task_card(name).data.stream]
        raise UserError(
            f"--sample: {card.task} is no stream of text; it needs a run of one of {', '.join(streams)}. Leave it out."
        )
    wanted = inspect.signature(module.text).parameters
    return module.text(data_dir=data_dir, **{k: v for k, v in record.spec.task.params.items() if k in wanted})

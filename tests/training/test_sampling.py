"""Text from a network: what certainty writes, what is drawn, and that the states are carried."""

import pytest
import torch

from stablebench import engines
from stablebench.data.task import generator_for
from stablebench.data.tasks.ptb_text import Text
from stablebench.errors import UserError
from stablebench.models.attention.transformer import Transformer
from stablebench.models.attention_model import AttentionModel
from stablebench.models.attention_network import AttentionNetwork
from stablebench.models.network import Network
from stablebench.models.recurrent.bn_lstm import BNLSTM
from stablebench.models.recurrent.dilated_rnn import DilatedRNN
from stablebench.models.recurrent.exprnn import ExpRNN
from stablebench.models.recurrent.lstm import LSTM
from stablebench.models.recurrent.rnn import Rnn
from stablebench.training.sample import Reader, WindowReader, continued, drawn

ALPHABET = 7


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def network(kind: str = "lstm") -> Network:
    embedding = torch.nn.Embedding(ALPHABET, 3)
    layers = {
        "lstm": lambda: [LSTM(3, 5)],
        "two": lambda: [ExpRNN(3, 6), LSTM(6, 5)],
        "dilated": lambda: [DilatedRNN(3, 6)],
        "bn_lstm": lambda: [BNLSTM(3, 5, horizon=4)],
    }[kind]()
    return Network(layers, ALPHABET, readout="every", input="tokens", embedding=embedding)


def certain(cycle: list[int]) -> Network:
    """A network without memory that gives nearly all to the token that follows in a cycle over the alphabet."""
    layer = Rnn(ALPHABET, ALPHABET, activation="identity")
    found = Network([layer], ALPHABET, readout="every", input="tokens")
    following = torch.zeros(ALPHABET, ALPHABET)
    for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        following[there, here] = 50.0
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.zero_()
        layer.V.copy_(following)
        found.head.weight.copy_(torch.eye(ALPHABET))
    return found


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_certainty_writes_its_cycle(temperature: float) -> None:
    cycle = [3, 0, 6, 2, 5, 1, 4]
    expected = (cycle * 4)[1:22]
    # at temperature 1 another token has a chance of exp(-50) a draw
    assert continued(certain(cycle), [3], 21, temperature=temperature, seed=5) == expected
    assert continued(certain(cycle), [4, 3, 0], 5, temperature=temperature) == [6, 2, 5, 1, 4]


@pytest.mark.parametrize("kind", ["lstm", "two", "dilated", "bn_lstm"])
@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_states_are_carried_as_in_one_long_pass(kind: str, engine: str) -> None:
    subject = network(kind).eval()
    subject.engine = engines.choose(engine, subject, torch.device("cpu")).run
    tokens = torch.randint(ALPHABET, (23,))
    reader = Reader(subject)
    parts = [tokens[:6], *tokens[6:].split(1)]
    found = torch.stack([reader.read(part.tolist()) for part in parts])
    with torch.no_grad():
        whole, _ = subject(tokens[None])
    # the same sums in another order: rounding of float64
    assert torch.allclose(found, whole[0, 5:], rtol=1e-10, atol=1e-12)


def test_longer_text_begins_with_shorter_and_written_one_goes_on() -> None:
    """A longer text begins with the shorter and a written one goes on."""
    subject = network()
    long = continued(subject, [2, 4], 40, seed=1)
    assert continued(subject, [2, 4], 15, seed=1) == long[:15]
    assert continued(subject, [2, 4, *long[:15]], 25, seed=1) == long[15:]
    assert continued(subject, [2, 4], 40, seed=1) == long
    assert continued(subject, [2, 4], 40, seed=2) != long
    assert len(set(long)) > 3


def test_draws_ignore_and_leave_the_global_generator() -> None:
    subject = network()
    torch.manual_seed(1)
    first = continued(subject, [0], 10)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert continued(subject, [0], 10) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_have_the_frequencies_of_the_softmax(temperature: float) -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 1.5])
    n = 4000
    counts = torch.bincount(
        torch.tensor([drawn(scores, temperature, generator_for("frequency", i)) for i in range(n)]), minlength=4
    )
    expected = n * (scores / temperature).softmax(0)
    chi_square = ((counts - expected).square() / expected).sum().item()
    assert chi_square < 16.3  # three degrees of freedom, exceeded by chance in one of a thousand


def test_temperature_zero_takes_likeliest() -> None:
    """Temperature zero takes the likeliest and huge scores do no harm."""
    generator = generator_for(0)
    assert drawn(torch.tensor([1.0, 3.0, 2.0]), 0.0, generator) == 1
    assert drawn(torch.tensor([-1e5, 1e5, 0.0]), 1e-3, generator) == 1
    assert drawn(torch.tensor([-1e300, -1e300, -5.0]), 1.0, generator) == 2


WORDS = Text("word", "no it was n't <unk> <eos> but 's N".split())
CHARACTERS = Text("char", [*"no_it<unk>", "<eos>"])


def test_words_are_read_and_written_a_sentence_a_line() -> None:
    numbers, unknown = WORDS.read("it was yesterday\nbut N <eos> no yesterday maybe\n")
    assert unknown == ["yesterday", "maybe"]
    tokens = [WORDS.vocabulary[number] for number in numbers]
    assert tokens == "it was <unk> <eos> but N <eos> no <unk> <unk> <eos>".split()
    assert WORDS.write(numbers) == "it was <unk>\nbut N\nno <unk> <unk>\n"
    assert WORDS.read(WORDS.write(numbers)) == (numbers, [])
    assert WORDS.read("") == ([], []) and WORDS.write([]) == ""
    assert WORDS.write([WORDS.end, 0, 1, WORDS.end, WORDS.end, 2]) == "\nno it\n\nwas"


def test_characters_are_read_and_written() -> None:
    numbers, unknown = CHARACTERS.read("no it\ntin<eos>")
    assert unknown == []
    assert [CHARACTERS.vocabulary[number] for number in numbers] == [*"no_it", "<eos>", *"tin", "<eos>"]
    assert CHARACTERS.write(numbers) == "no it\ntin\n"


def test_a_character_that_is_no_token_is_refused() -> None:
    with pytest.raises(UserError, match=r"--prompt: N ä must be among the characters of the text: <>_iknotu"):
        CHARACTERS.read("No ätN")


def test_a_network_without_states_looks_at_its_window() -> None:
    """It reads its last tokens again, as many as in training, and nothing before them."""
    torch.manual_seed(0)
    layers: list[AttentionModel] = [Transformer(5, 8)]
    network = AttentionNetwork(layers, 5, readout="every", input="tokens")
    reader = WindowReader(network, 3)
    first = reader.read([1, 2, 3, 4])
    with torch.no_grad():
        torch.testing.assert_close(first, network(torch.tensor([[2, 3, 4]]))[0][0, -1])
        torch.testing.assert_close(reader.read([0]), network(torch.tensor([[3, 4, 0]]))[0][0, -1])
    written = continued(network, [1, 2], 6, seed=3, window=3)
    assert written == continued(network, [1, 2], 8, seed=3, window=3)[:6]

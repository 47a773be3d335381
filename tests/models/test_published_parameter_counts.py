"""Numbers of trainable parameters, readout included, beside those that the papers print.

`printed` is the paper's number. Ours must be within `tolerance` of it, which is the rounding of a number in thousands;
where that cannot be, `footnote` says why and `ours` is what is asserted.
"""

from typing import NamedTuple

import pytest

from stablebench.models import registry as model_registry
from stablebench.models.base import count_parameters
from stablebench.models.network import Network


class Row(NamedTuple):
    """A published count.

    Args:
        model: The model.
        hidden: Units.
        sizes: Inputs and outputs.
        printed: The paper's number.
        source: Where it stands.
        tolerance: Relative.
        ours: Our number where it is another.
        footnote: Why it is another.
    """

    model: str
    hidden: int
    sizes: tuple[int, int]
    printed: int
    source: str
    tolerance: float = 0.0
    ours: int | None = None
    footnote: str = ""


PIXELS, CIFAR, HAR2, REVIEWS, LORENZ = (1, 10), (96, 10), (9, 1), (100, 1), (5, 5)
ROA, CO1, CO2 = "roaRNN figure 5", "coRNN table 1", "coRNN table 2"
CO3, CO4, CO6 = "coRNN table 3", "coRNN table 4", "coRNN table 6"
K = 0.03  # of a number that is printed in thousands
NO_INPUTS = "the printed number is met without the input matrices"
RECURRENT = "the printed number is that of the recurrent matrices alone"
WIDER = "the printed number is met with inputs of 300 features, not the 100 of the embedding that the paper names"

ROWS = [
    Row("cornn", 128, PIXELS, 34_314, "coRNN, psMNIST: its code"),
    Row("cornn", 256, PIXELS, 134_154, "coRNN, psMNIST: its code"),
    Row("roarnn", 178, PIXELS, 33_830, "roaRNN, psMNIST: by its equation"),
    Row("roarnn", 256, PIXELS, 68_618, "roaRNN, psMNIST: by its equation"),
    Row("roarnn", 512, PIXELS, 268_298, "roaRNN, psMNIST: by its equation"),
    Row("lipschitz", 128, PIXELS, 34_314, "LipschitzRNN, psMNIST: its code"),
    Row("rnn", 256, PIXELS, 68_000, ROA, K),
    Row("lstm", 256, PIXELS, 270_000, ROA, K),
    Row("gru", 256, PIXELS, 200_000, ROA, K),
    Row("exprnn", 512, PIXELS, 137_000, ROA, K),
    Row("dtriv", 512, PIXELS, 137_000, CO1, K),
    Row("antisymmetric", 128, PIXELS, 10_000, CO1, 0.05),
    Row("fastgrnn", 128, PIXELS, 18_000, CO1, K),
    Row("urnn_arjovsky", 512, PIXELS, 16_000, "uRNN paper, MNIST", K),
    Row(
        "urnn_arjovsky", 512, PIXELS, 9_000, CO1, ours=16_394, footnote="the uRNN paper itself prints 16k for this size"
    ),
    Row(
        "fcurnn",
        512,
        PIXELS,
        270_000,
        ROA,
        ours=537_098,
        footnote="the printed number counts the n^2 dimensions of the unitary group; stored are the 2 n^2 real entries",
    ),
    Row("cornn", 128, CIFAR, 46_000, CO2, K),
    Row("lipschitz", 128, CIFAR, 46_000, "wRNN paper, noise-padded CIFAR-10", K),
    Row("lipschitz", 256, CIFAR, 134_000, CO2, ours=158_474, footnote="the printed number is met with one input"),
    Row("lstm", 128, CIFAR, 116_000, "wRNN paper, noise-padded CIFAR-10", K),
    Row("lstm", 128, CIFAR, 64_000, CO2, ours=116_490, footnote=RECURRENT),
    Row("gru", 128, CIFAR, 88_000, "wRNN paper, noise-padded CIFAR-10", K),
    Row("fastrnn", 128, CIFAR, 16_000, CO2, ours=30_092, footnote=RECURRENT),
    Row("antisymmetric", 256, CIFAR, 36_000, CO2, ours=60_042, footnote=NO_INPUTS),
    Row("antisymmetric_gated", 256, CIFAR, 37_000, CO2, ours=84_874, footnote=NO_INPUTS),
    Row("incremental_rnn", 128, CIFAR, 12_000, CO2, ours=30_095, footnote="the input matrix alone has 12,288"),
    Row("incremental_rnn", 64, HAR2, 4_000, CO3, ours=4_806, footnote=RECURRENT),
    Row("cornn", 64, HAR2, 8_897, "coRNN, HAR-2: its code"),
    Row("cornn", 20, HAR2, 1_021, "coRNN, HAR-2: its code"),
    Row("gru", 75, HAR2, 19_000, CO3, K),
    Row("lstm", 64, HAR2, 16_000, CO3, ours=19_009, footnote=RECURRENT),
    Row("fastrnn", 80, HAR2, 7_000, CO3, 0.06),
    Row("fastgrnn", 80, HAR2, 7_000, CO3, 0.06),
    Row("antisymmetric", 120, HAR2, 8_000, CO3, 0.06),
    Row("cornn", 128, REVIEWS, 46_000, CO4, K),
    Row("lstm", 128, REVIEWS, 220_000, CO4, ours=117_377, footnote=WIDER),
    Row("lstm", 128, (300, 1), 220_000, CO4 + ", wider inputs", K),
    Row("skip_lstm", 128, (300, 1), 220_000, CO4 + ", wider inputs", K),
    Row("gru", 128, (300, 1), 164_000, CO4 + ", wider inputs", K),
    Row("skip_gru", 128, (300, 1), 164_000, CO4 + ", wider inputs", K),
    Row("relu_gru", 128, REVIEWS, 99_000, CO4, ours=88_065, footnote="the printed number is met with 128 inputs"),
    Row("cornn", 64, LORENZ, 8_901, CO6),
    Row("lstm", 44, LORENZ, 9_201, CO6, ours=9_201 - 4 * 44, footnote="torch's two biases are one here"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}-{row.hidden}-{row.printed}")
def test_parameters_are_the_published_number_or_explained(row: Row) -> None:
    """The number of parameters is the published one or a footnote says why not."""
    entry = model_registry.model_entry(row.model)
    layer = entry.build(row.sizes[0], row.hidden, entry.resolve({}), horizon=784)
    found = count_parameters(Network([layer], row.sizes[1], readout="last", input="values").parameters())
    assert (row.ours is None) == (not row.footnote)
    assert found == pytest.approx(row.ours or row.printed, rel=row.tolerance)


@pytest.mark.parametrize(
    ("model", "params", "printed"),
    [("lmu", {"order": 256}, 102_000), ("nru", {"memory": 256, "heads": 4}, 165_000)],
)
def test_models_with_the_memory_that_psmnist_papers_give(model: str, params: dict[str, int], printed: int) -> None:
    """Models with a memory of the size that psmnist papers give them."""
    entry = model_registry.model_entry(model)
    layer = entry.build(1, 212, entry.resolve(params), horizon=784)
    found = count_parameters(Network([layer], 10, readout="last", input="values").parameters())
    assert found == pytest.approx(printed, rel=K)

"""The starts of published code that models offer: their distributions in numbers, and who takes them."""

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from stablebench.models import registry as model_registry
from stablebench.models.blocks.unitary import as_real
from stablebench.models.network import Network
from stablebench.models.recurrent.eunn import EUNN
from stablebench.models.recurrent.lipschitz import Lipschitz
from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.models.recurrent.urnn_arjovsky import composed
from stablebench.specs.resolve import RunRequest, resolve

UNIFORM = 1 / math.sqrt(3)
"""Standard deviation of U(-1, 1)."""


@pytest.fixture(autouse=True)
def _double() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)


def model_of(name: str, in_features: int, hidden: int, **params: Any) -> Any:
    entry = model_registry.model_entry(name)
    return entry.build(in_features, hidden, entry.resolve(params), horizon=784)


def readout_of(name: str, hidden: int = 256, outputs: int = 128, **params: Any) -> nn.Linear:
    return Network([model_of(name, 2, hidden, **params)], outputs, readout="last", input="values").head


def is_uniform(tensor: Tensor, bound: float) -> None:
    values = tensor.detach()
    assert 0.9 * bound < values.abs().max().item() <= bound
    assert values.std().item() == pytest.approx(bound * UNIFORM, rel=0.1)


def is_normal(tensor: Tensor, std: float) -> None:
    values = tensor.detach()
    assert values.std().item() == pytest.approx(std, rel=0.1)
    assert values.abs().max().item() > 2.5 * std  # no uniform distribution of this deviation reaches as far


@pytest.mark.parametrize("gated", [False, True])
def test_lipschitz_starts_as_its_published_code(gated: bool) -> None:
    model = Lipschitz(3, 400, init="code", gated=gated)
    bound = 1 / math.sqrt(3)
    for matrix in (model.M_A, model.M_W):
        is_normal(matrix, 0.1 / 400)
    is_uniform(model.U, bound)
    is_uniform(model.b, bound)
    assert model.U.shape == ((2 if gated else 1) * 400, 3)
    is_normal(Lipschitz(3, 400, init="code", sigma=2.0).M_A, 2 / 400)


def test_lipschitz_starts_as_before_by_default() -> None:
    model = Lipschitz(3, 400)
    is_normal(model.M_A, 6 / 400)
    is_normal(model.U, math.sqrt(2 / 403))
    assert not model.b.any()


def jacobian_spread(model: Lipschitz, steps: int) -> tuple[float, float]:
    """Return the logarithms of the smallest and largest singular value of dh_T/dh_0, on inputs U(0, 1)."""
    (A, W), eye = (m.detach() for m in model.A_and_W()), torch.eye(model.hidden)
    projected, recurrent_weights = (
        model.input_projection(torch.rand(1, steps, 1)).detach(),
        model.recurrent_weights().detach(),
    )
    h, product = torch.zeros(1, model.hidden), eye
    for t in range(steps):
        slope = 1 - torch.tanh(h @ W.T + projected[:, t]) ** 2
        product = (eye + model.epsilon * (A + slope.T * W)) @ product
        (h,) = model.step(projected[:, t], (h,), recurrent_weights)
    values = torch.linalg.svdvals(product).log()
    return values.min().item(), values.max().item()


def test_published_lipschitz_start_keeps_gradients() -> None:
    """The published lipschitz start keeps gradients over 784 steps and the wide one does not."""
    low, high = jacobian_spread(Lipschitz(1, 128, epsilon=0.03, beta=0.75, gamma=0.001, init="code"), 784)
    assert low == pytest.approx(-0.24, abs=0.03) and high == pytest.approx(0.16, abs=0.03)
    low, high = jacobian_spread(Lipschitz(1, 128, epsilon=0.03, beta=0.75, gamma=0.001), 784)
    assert low == pytest.approx(-5.6, abs=0.6) and high == pytest.approx(5.3, abs=0.6)


@pytest.mark.parametrize("inputs", [1, 10])
def test_nnrnn_starts_as_the_shipped_cell(inputs: int) -> None:
    is_uniform(NnRNN(inputs, 512, input_init="linear").U, 1 / math.sqrt(inputs))
    is_normal(NnRNN(inputs, 512).U, math.sqrt(2 / (inputs + 512)))


def test_nnrnns_input_map_is_nine_times_larger_in_shipped_cell() -> None:
    """Nnrnns input map is nine times larger in the shipped cell."""
    shipped, given = NnRNN(1, 512, input_init="linear").U.std().item(), NnRNN(1, 512).U.std().item()
    assert shipped == pytest.approx(0.577, abs=0.03) and given == pytest.approx(0.062, abs=0.005)


def test_nnrnns_readout_is_xavier_normal_with_torchs_bias() -> None:
    readout = readout_of("nnrnn", readout_init="xavier")
    is_normal(readout.weight, math.sqrt(2 / (256 + 128)))
    is_uniform(readout.bias, 1 / math.sqrt(256))
    is_uniform(readout_of("nnrnn").weight, 1 / math.sqrt(256))


@pytest.mark.parametrize("name", ["exprnn", "dtriv", "indrnn", "nru"])
@pytest.mark.parametrize(("init", "std"), [("kaiming", math.sqrt(2 / 256)), ("xavier", math.sqrt(2 / (256 + 128)))])
def test_readouts_of_published_scripts(name: str, init: str, std: float) -> None:
    readout = readout_of(name, readout_init=init)
    is_normal(readout.weight, std)
    assert not readout.bias.any()
    default = readout_of(name)
    is_uniform(default.weight, 1 / math.sqrt(256))
    is_uniform(default.bias, 1 / math.sqrt(256))


@pytest.mark.parametrize("name", ["urnn_arjovsky", "fcurnn"])
def test_urnns_start_by_the_paper_and_by_the_code(name: str) -> None:
    paper, code = (model_of(name, 10, 200, init=init) for init in ("paper", "code"))
    is_uniform(paper.V, math.sqrt(6 / (10 + 200)))
    is_uniform(code.V, math.sqrt(6 / (10 + 400)))
    assert not paper.b.any()
    is_uniform(code.b, 0.01)
    for model in (paper, code):
        is_uniform(model.h_0, math.sqrt(3 / 400))
        W = as_real(model.unitary()).detach()
        torch.testing.assert_close(W.T @ W, torch.eye(400), rtol=0, atol=1e-12)
    readout = readout_of(name, init="code")
    is_uniform(readout.weight, math.sqrt(6 / (512 + 128)))
    assert not readout.bias.any()
    is_uniform(readout_of(name).weight, 1 / math.sqrt(512))


def test_codes_reflections_are_smaller_of_same_directions() -> None:
    """The codes reflections are smaller vectors of the same directions."""
    is_uniform(model_of("urnn_arjovsky", 2, 400, init="code").v, math.sqrt(6 / 802))
    is_uniform(model_of("urnn_arjovsky", 2, 400).v, 1.0)


def test_fcurnn_starts_from_urnns_product_in_code() -> None:
    """Fcurnn starts from urnns product in the code and from a haar matrix in ours."""
    torch.manual_seed(3)
    code = model_of("fcurnn", 2, 64, init="code").unitary()
    torch.manual_seed(3)
    w, v = torch.empty(3, 64).uniform_(-math.pi, math.pi), torch.empty(2, 2, 64).uniform_(-1, 1)
    torch.testing.assert_close(code, composed(w, v, torch.randperm(64)))
    moduli = model_of("fcurnn", 2, 64).unitary().abs().detach()
    assert moduli.std().item() == pytest.approx(
        math.sqrt((1 - math.pi / 4) / 64), rel=0.05
    )  # as of a Rayleigh variable


@pytest.mark.parametrize(("capacity", "layout"), [(2, "tunable"), (5, "tunable"), (2, "fft")])
def test_eunn_applies_its_layers_in_either_order(capacity: int, layout: Literal["tunable", "fft"]) -> None:
    paper = EUNN(2, 8, capacity=capacity, layout=layout)
    code = EUNN(2, 8, capacity=capacity, layout=layout, order="code")
    code.load_state_dict(paper.state_dict())
    D = torch.diag(torch.polar(torch.ones(8), paper.omega.detach()))
    layers = [layer_of(paper, index) for index in range(len(paper.partner))]
    state, first_first, last_first = torch.randn(8, 1).to(torch.complex128), D, D
    for layer in layers:
        last_first = last_first @ layer
    for layer in reversed(layers):
        first_first = first_first @ layer
    torch.testing.assert_close(paper.unitary() @ state, last_first @ state, rtol=0, atol=1e-13)
    torch.testing.assert_close(code.unitary() @ state, first_first @ state, rtol=0, atol=1e-13)
    assert (paper.unitary() - code.unitary()).abs().max().item() > 0.1


def layer_of(model: EUNN, index: int) -> Tensor:
    """Return F of one layer, (n, n), from its pairs."""
    n, F = model.hidden, torch.eye(model.hidden, dtype=torch.complex128)
    for k, (first, second) in enumerate(zip(model.first.tolist(), model.second.tolist(), strict=True)):
        if first // n != index:
            continue
        i, j, theta, phi = first % n, second % n, model.theta[k].item(), model.phi[k].item()
        turn = complex(math.cos(phi), math.sin(phi))
        F[i, [i, j]] = torch.tensor([math.cos(theta), -turn * math.sin(theta)])
        F[j, [i, j]] = torch.tensor([math.sin(theta), turn * math.cos(theta)])
    return F


def test_eunns_input_map_is_small_in_the_code() -> None:
    is_uniform(EUNN(10, 400, input_init="small").V, 0.01)
    is_uniform(EUNN(10, 400).V, math.sqrt(6 / 410))


TAKEN = [
    ("copy/after_marker_t200", "nnrnn", {"input_init": "linear", "readout_init": "xavier"}),
    ("copy/t100", "nnrnn", {"input_init": "xavier", "readout_init": "default"}),
    ("psmnist/nnrnn", "nnrnn", {"input_init": "linear", "readout_init": "default"}),
    ("ptb_char/t150", "nnrnn", {"input_init": "linear"}),
    ("ptb_char/t300", "nnrnn", {"input_init": "linear"}),
    ("copy/t1000", "exprnn", {"readout_init": "kaiming"}),
    ("copy/t2000", "exprnn", {"readout_init": "kaiming"}),
    ("copy/t100", "exprnn", {"readout_init": "default"}),
    ("psmnist", "exprnn", {"readout_init": "default"}),
    ("psmnist", "nru", {"readout_init": "xavier"}),
    ("psmnist", "lipschitz", {"init": "code", "sigma": 0.1}),
    ("adding/t200", "lipschitz", {"init": "xavier"}),
]


@pytest.mark.parametrize(("task", "model", "starts"), TAKEN)
def test_recipes_of_published_experiments_take_their_starts(task: str, model: str, starts: dict[str, Any]) -> None:
    added = dict(model_registry.model_entry(model).cls.added_arguments)  # what a spec leaves out
    params = added | resolve(RunRequest(model, task)).spec.model.params
    assert {key: params[key] for key in starts} == starts

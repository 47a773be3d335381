"""What every registered deep model promises."""

import inspect
import re
from functools import partial

import pytest
import torch
import torch_oracle
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stablebench.engines.fused import engine as fused
from stablebench.engines.fused.c import backend as native
from stablebench.models import deep_model
from stablebench.models import registry as model_registry
from stablebench.models.base import DeepModel, count_parameters
from stablebench.models.deep_network import DeepNetwork
from stablebench.probes.chain import chain_of, frozen
from stablebench.schema.expression import evaluate

IN, HIDDEN, BATCH, LAYERS = 3, 6, 4, 9
HEADINGS = ("Equation", "Shapes:", "Parameters: `", "Cost per sample: `", "Init:", "Stability claim", "Reference:")
MODELS = model_registry.model_names(family="deep")


def build(
    name: str,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    sizes: tuple[int, int, int] = (IN, HIDDEN, LAYERS),
) -> DeepModel:
    entry = model_registry.model_entry(name)
    torch.set_default_dtype(dtype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return entry.build_deep(*sizes[:2], entry.resolve({}), layers=sizes[2])


def inputs(batch: int = BATCH, width: int = IN) -> Tensor:
    return torch.randn(batch, width, generator=torch.Generator().manual_seed(1), dtype=torch.get_default_dtype())


def everything(network: DeepNetwork, x: Tensor) -> list[Tensor]:
    """Return output, last states, and the gradients of the inputs and of all parameters, in float64."""
    x = x.clone().requires_grad_()
    network.zero_grad()
    y, states = network(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(y.dtype)
    ((y * weights).sum() + torch.stack([s.square().sum() for s in states]).sum()).backward()
    found = [y, *states, x.grad, *(p.grad for p in network.parameters())]
    return [torch.zeros(()) if t is None else t.detach().double().clone() for t in found]


def test_the_four_of_the_paper_and_its_rivals_are_there() -> None:
    assert {"mlp", "roafnn", "resnet_mlp", "highway"} <= set(MODELS)
    assert set(MODELS).isdisjoint(model_registry.model_names(family="recurrent"))
    assert {model_registry.model_entry(name).family for name in MODELS} == {"deep"}
    assert model_registry.model_entry("rnn").family == model_registry.model_family("rnn") == "recurrent"


@pytest.mark.parametrize("name", MODELS)
def test_the_docstring_has_every_heading(name: str) -> None:
    docstring = model_registry.model_docstring(name)
    assert not [heading for heading in HEADINGS if heading not in docstring]


@pytest.mark.parametrize(("inputs", "hidden", "layers"), [(3, 6, 4), (6, 6, 9), (5, 16, 7)])
@pytest.mark.parametrize("name", MODELS)
def test_its_formulas_give_its_parameters_and_its_multiply_adds(
    name: str, inputs: int, hidden: int, layers: int
) -> None:
    model = build(name, sizes=(inputs, hidden, layers))
    formulas = model_registry.model_formulas(model_registry.model_docstring(name))
    names = model_registry.model_entry(name).resolve({}) | {"inputs": inputs, "hidden": hidden, "layers": layers}
    assert evaluate(formulas["parameters"], names) == count_parameters(model.parameters())
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, inputs))
    assert evaluate(formulas["cost"], names) == counter.get_total_flops() / 2


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_finite_nonzero_gradient(name: str) -> None:
    network = DeepNetwork(build(name), 2)
    network(inputs())[0].square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", MODELS)
def test_the_class_describes_every_argument(name: str) -> None:
    cls = model_registry.model_entry(name).cls
    described = set(re.findall(r"^    (\w+): ", inspect.getdoc(cls) or "", flags=re.MULTILINE))
    assert described == set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_is_typed_and_the_defaults_are_valid(name: str) -> None:
    entry = model_registry.model_entry(name)
    assert set(entry.resolve({})) == set(entry.arguments().model_fields)
    assert "layers" in inspect.signature(entry.cls).parameters


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_ignores_the_others_of_its_batch(name: str) -> None:
    model, x = build(name), inputs()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_seed_decides_everything(name: str) -> None:
    """The seed decides everything and the readout is drawn from it too."""

    def network(seed: int) -> DeepNetwork:
        entry = model_registry.model_entry(name)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return DeepNetwork(entry.build_deep(IN, HIDDEN, entry.resolve({}), layers=LAYERS), 2)

    torch.set_default_dtype(torch.float64)
    first, again, other = network(0), network(0), network(1)
    assert set(first.state_dict()) == set(again.state_dict())
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    assert torch.equal(first(inputs())[0], again(inputs())[0])
    assert not torch.equal(first(inputs())[0], other(inputs())[0])


@pytest.mark.parametrize("name", MODELS)
def test_the_output_has_the_announced_width(name: str) -> None:
    model = build(name)
    assert model(inputs()).shape == (BATCH, model.out_features) == (BATCH, HIDDEN)
    assert DeepNetwork(model, 5)(inputs())[0].shape == (BATCH, 5)


@pytest.mark.parametrize("name", MODELS)
def test_groups_partition_parameters_and_penalty_is_scalar(name: str) -> None:
    """Groups partition the parameters and the penalty is a scalar."""
    network = DeepNetwork(build(name), 2)
    with_main_group = [id(p) for group in network.parameter_groups() for p in group.parameters]
    assert sorted(with_main_group) == sorted(id(p) for p in network.parameters())
    assert network.parameter_groups()[0].name == "main"
    penalty = network.penalty()
    assert penalty is None or (penalty.shape == () and penalty.isfinite())


@pytest.mark.parametrize("name", MODELS)
def test_network_of_single_precision_runs_in_double(name: str) -> None:
    """A network of single precision runs in double whatever the default."""
    network = DeepNetwork(build(name, dtype=torch.float32), 2)
    x = inputs()
    single = network(x)[0]
    assert single.dtype == torch.float32
    double = network.double()(x)[0]  # a network takes values of either precision
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-4)
    torch.set_default_dtype(torch.float64)
    assert torch.equal(network(x)[0], double)


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded_it_is_the_same_function(name: str) -> None:
    first, second = DeepNetwork(build(name), 2), DeepNetwork(build(name, seed=1), 2)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(inputs())[0], second(inputs())[0])


@pytest.mark.parametrize("name", MODELS)
def test_a_thousand_layers_are_a_few_tensors(name: str) -> None:
    network = DeepNetwork(build(name, sizes=(2, 2, 1000)), 1)
    assert len(network.state_dict()) <= 10
    assert len(build(name, sizes=(5, 2, 1000)).state_dict()) <= 10


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_fused_or_says_why_not(name: str) -> None:
    fusible = fused.layers_unsupported_reason(build(name), torch.device("cpu")) is None
    assert fusible != ("\nEngine: reference" in model_registry.model_docstring(name))


@pytest.mark.parametrize("backend", torch_oracle.BACKENDS)
@pytest.mark.parametrize("size", [(1, 3, 4), (2, 2, 9), (3, 6, 9), (5, 33, 20)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_the_fused_engine_agrees_with_the_loop_over_step(name: str, size: tuple[int, int, int], backend: str) -> None:
    network = DeepNetwork(build(name, sizes=size), 2)
    x = inputs(37, size[0])
    expected = everything(network, x)
    network.engine = partial(torch_oracle.run_layers, backend=backend)
    for a, b in zip(everything(network, x), expected, strict=True):
        scale = 1 + b.abs().max()
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_float32_is_as_exact_as_the_reference(name: str) -> None:
    network = DeepNetwork(build(name, dtype=torch.float32, sizes=(3, 33, 50)), 2)
    x = inputs(5)
    theirs = everything(network, x)
    network.engine = fused.run_layers
    ours = everything(network, x)
    network.engine = deep_model.run_layers
    exact = everything(network.double(), x.double())
    for a, b, truth in zip(ours, theirs, exact, strict=True):
        scale = 1 + truth.abs().max()
        assert (a - truth).abs().max() / scale <= 3 * (b - truth).abs().max() / scale + 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_threads_change_nothing_but_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_MIN_OPERATIONS_PER_THREAD", 1.0)
    network = DeepNetwork(build(name, sizes=(3, 13, 9)), 2, engine=fused.run_layers)
    x = inputs(37)
    one = everything(network, x)
    torch.set_num_threads(2)
    two, again = everything(network, x), everything(network, x)
    for a, b, c in zip(one, two, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11 * float(1 + a.abs().max()))
        assert torch.equal(b, c)


@pytest.mark.parametrize("in_features", [2, HIDDEN, 9])
@pytest.mark.parametrize("name", MODELS)
def test_the_probes_chain_passes_through_the_networks_own_states(name: str, in_features: int) -> None:
    network = frozen(DeepNetwork(build(name, sizes=(in_features, HIDDEN, LAYERS)), 2))
    x = inputs(BATCH, in_features)
    chain = chain_of(network, x)
    states = chain.states()
    assert chain.steps == LAYERS - 2 and chain.inner_size == HIDDEN and chain.size == max(HIDDEN, in_features)
    assert torch.equal(states[0, :, :in_features], x) and (states[0, :, in_features:] == 0).all()
    output, (last,) = network(x)
    torch.testing.assert_close(states[-1, :, :HIDDEN], last, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(network.head(chain.outputs(states[-1:], chain.steps)[0]), output, rtol=1e-13, atol=1e-13)

"""What every registered model promises."""

import copy
import inspect
import re

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from stablebench.models import registry as model_registry
from stablebench.models.base import RecurrentModel, count_parameters, split_by_step
from stablebench.models.network import Network
from stablebench.schema.expression import evaluate

IN, HIDDEN, BATCH, TIME = 3, 6, 4, 7
HEADINGS = ("Equation", "Shapes:", "Parameters: `", "Cost per step: `", "Init:", "Stability claim", "Reference:")
MODELS = model_registry.model_names(family="recurrent")


def build(name: str, seed: int = 0, dtype: torch.dtype = torch.float64, in_features: int = IN) -> RecurrentModel:
    entry = model_registry.model_entry(name)
    torch.set_default_dtype(dtype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return entry.build(in_features, HIDDEN, entry.resolve({}), horizon=TIME)


def inputs(batch: int = BATCH, time: int = TIME) -> Tensor:
    return torch.randn(batch, time, IN, generator=torch.Generator().manual_seed(1), dtype=torch.get_default_dtype())


@pytest.mark.parametrize("name", MODELS)
def test_the_docstring_has_every_heading(name: str) -> None:
    docstring = model_registry.model_docstring(name)
    assert not [heading for heading in HEADINGS if heading not in docstring]


@pytest.mark.parametrize(("inputs", "hidden"), [(3, 6), (5, 16)])
@pytest.mark.parametrize("name", MODELS)
def test_its_formulas_give_its_parameters_and_its_multiply_adds(name: str, inputs: int, hidden: int) -> None:
    entry = model_registry.model_entry(name)
    params = entry.resolve({})
    model = entry.build(inputs, hidden, params, horizon=TIME)
    formulas = model_registry.model_formulas(model_registry.model_docstring(name))
    names = params | {"inputs": inputs, "hidden": hidden, "horizon": TIME}
    assert evaluate(formulas["parameters"], names) == count_parameters(model.parameters())
    x, recurrent_weights = torch.zeros(1, 1, inputs), model.recurrent_weights()
    with FlopCounterMode(display=False) as counter:
        (projected,) = split_by_step(model.input_projection(x))
        state = model.step(projected, model.initial_state(1), recurrent_weights)
        model.layer_output(state[model.output_state], x[:, 0])
    assert evaluate(formulas["cost"], names) == counter.get_total_flops() / 2


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_finite_nonzero_gradient(name: str) -> None:
    model = build(name)
    outputs, state = model(inputs())
    weight = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(2))
    loss = (outputs * weight).sum() + sum(s.square().sum() for s in state)
    if next(model.parameters(), None) is None:
        return  # all is fixed, and only a readout is trained
    torch.as_tensor(loss).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", MODELS)
def test_the_class_describes_every_argument(name: str) -> None:
    cls = model_registry.model_entry(name).cls
    described = set(re.findall(r"^    (\w+): ", inspect.getdoc(cls) or "", flags=re.MULTILINE))
    assert described == set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("name", MODELS)
def test_output_ignores_the_future(name: str) -> None:
    model, x = build(name), inputs()
    changed = x.clone()
    changed[:, 4:] += 1
    before, after = model(x)[0], model(changed)[0]
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4], after[:, 4])


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_ignores_the_others_of_its_batch(name: str) -> None:
    model, x = build(name).eval(), inputs()  # in training, batch normalisation mixes them
    torch.testing.assert_close(model(x)[0][1:2], model(x[1:2])[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_the_seed_decides_everything(name: str) -> None:
    first, again, other = build(name), build(name), build(name, seed=1)
    assert set(first.state_dict()) == set(again.state_dict())
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    assert torch.equal(first(inputs())[0], again(inputs())[0])
    assert not torch.equal(first(inputs())[0], other(inputs())[0])


@pytest.mark.parametrize("name", MODELS)
def test_the_state_carried_on_equals_one_run(name: str) -> None:
    model, x = build(name), inputs()
    whole, end = model(x)
    first, state = model(x[:, :3])
    second, after = model(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-12, atol=1e-12)
    for mine, other in zip(after, end, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_given_state_is_used_and_not_written_to(name: str) -> None:
    model, x = build(name), inputs()
    state = tuple(torch.rand(BATCH, size) for size in model.state_sizes)
    before = tuple(s.clone() for s in state)
    outputs, _ = model(x, state)
    assert all(torch.equal(s, b) for s, b in zip(state, before, strict=True))
    assert not torch.equal(outputs, model(x)[0])


@pytest.mark.parametrize("name", MODELS)
def test_states_have_the_sizes_that_the_model_says(name: str) -> None:
    model = build(name)
    outputs, state = model(inputs())
    assert [tuple(s.shape) for s in state] == [(BATCH, size) for size in model.state_sizes]
    assert outputs.shape == (BATCH, TIME, model.out_features)
    # matrix products of one step and of all steps may be rounded differently
    torch.testing.assert_close(outputs[:, -1], model.layer_output(state[model.output_state], inputs()[:, -1]))


@pytest.mark.parametrize("name", MODELS)
def test_groups_partition_parameters_and_penalty_is_scalar(name: str) -> None:
    """Groups partition the parameters and the penalty is a scalar."""
    model = build(name)
    with_main_group = [id(p) for group in model.parameter_groups() for p in group.parameters]
    assert sorted(with_main_group) == sorted(id(p) for p in model.parameters())
    assert model.parameter_groups()[0].name == "main"
    penalty = model.penalty()
    assert penalty is None or (penalty.shape == () and penalty.isfinite())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_one_sequence_of_one_step_in_either_precision(name: str, dtype: torch.dtype) -> None:
    model = build(name, dtype=dtype)
    outputs, _ = model(inputs(1, 1).to(dtype))
    assert outputs.shape == (1, 1, model.out_features) and outputs.dtype == dtype and outputs.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_model_of_single_precision_runs_in_double(name: str) -> None:
    """A model of single precision runs in double whatever the default."""
    single = build(name, dtype=torch.float32)
    x = inputs()
    double = copy.deepcopy(single).double()
    outputs, state = double(x.double())
    assert {outputs.dtype, *(s.dtype for s in state)} == {torch.float64}
    torch.testing.assert_close(outputs.float(), single(x)[0], rtol=1e-4, atol=1e-4)
    torch.set_default_dtype(torch.float64)
    assert torch.equal(double(x.double())[0], outputs)


@pytest.mark.parametrize("name", MODELS)
def test_saved_and_loaded_it_is_the_same_function(name: str) -> None:
    first, second = build(name), build(name, seed=1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(inputs())[0], second(inputs())[0])


@pytest.mark.parametrize("name", MODELS)
def test_layers_stack_under_one_readout(name: str) -> None:
    bottom = build(name)
    network = Network([bottom, build(name, seed=1, in_features=bottom.out_features)], 2, readout="last", input="values")
    output, states = network(inputs())
    assert output.shape == (BATCH, 2) and len(states) == 2
    output.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    with_main_group = [p for group in network.parameter_groups() for p in group.parameters]
    assert count_parameters(with_main_group) == count_parameters(network.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_is_typed_and_the_defaults_are_valid(name: str) -> None:
    entry = model_registry.model_entry(name)
    assert set(entry.resolve({})) == set(entry.arguments().model_fields)

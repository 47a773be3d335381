"""The residual block around any recurrent layer: what it computes, in training and in probes, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from stablebench import registry
from stablebench.cli.app import app
from stablebench.data.task import sizes_of
from stablebench.engines import choose
from stablebench.errors import UserError
from stablebench.models.build import build_network
from stablebench.models.network import Network
from stablebench.probes.chain import chain_of, frozen
from stablebench.specs.request import RunRequest
from stablebench.specs.resolve import resolve


def network_of(model: str, **settings: Any) -> Network:
    values = {f"model.{key}": value for key, value in settings.items()}
    asked = RunRequest(model, "adding", T=9, settings=values, options={"model.hidden": 6, "model.layers": 2})
    resolved = resolve(asked)
    network = build_network(resolved.spec, resolved.card, sizes_of(resolved.card, resolved.spec.task.params))
    assert isinstance(network, Network)
    return network.double()


def normed(u: Tensor, norm: Any) -> Tensor:
    if isinstance(norm, nn.RMSNorm):
        return u / torch.sqrt(u.square().mean(-1, keepdim=True) + torch.finfo(u.dtype).eps) * norm.weight
    if isinstance(norm, nn.Identity):
        return u
    centred = u - u.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5) * norm.weight + norm.bias


def literal(network: Network, x: Tensor, mix: str) -> Tensor:
    """Return the readout of the last step, written out."""
    for i, (layer, block) in enumerate(zip(network.recurrent_layers, network.layer_blocks, strict=True)):
        assert block is not None and isinstance(block.encoder, nn.Linear) == (i == 0)
        u = x @ block.encoder.weight.T + block.encoder.bias if isinstance(block.encoder, nn.Linear) else x
        y, _ = layer(normed(u, block.norm))
        if mix != "none":
            y = y * (1 + torch.erf(y / 2**0.5)) / 2
        if mix == "glu":
            assert block.gate is not None
            value, opening = (y @ block.gate.weight.T + block.gate.bias).chunk(2, dim=-1)
            y = value * torch.sigmoid(opening)
        x = u + y
    return x[:, -1] @ network.head.weight.T + network.head.bias


@pytest.mark.parametrize(("norm", "mix"), [("layer", "glu"), ("rms", "gelu"), ("none", "none")])
@pytest.mark.parametrize("model", ["lstm", "cornn", "deltanet"])
def test_it_is_the_equation_around_every_layer(model: str, norm: str, mix: str) -> None:
    network = network_of(model, block="residual", block_norm=norm, block_mix=mix)
    x = torch.randn(3, 9, 2, dtype=torch.float64, requires_grad=True)
    found, expected = network(x)[0], literal(network, x, mix)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    parameters = [x, *network.parameters()]
    for mine, other in zip(
        torch.autograd.grad(found.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", ["lstm", "mingru"])
def test_the_engines_agree_inside_it(model: str) -> None:
    network = network_of(model, block="residual")
    x = torch.randn(4, 9, 2, dtype=torch.float64)
    expected = network(x)[0]
    wanted = torch.autograd.grad(expected.square().sum(), list(network.parameters()))
    for name in ("fused", "scan") if model == "mingru" else ("fused",):
        network.engine = choose(name, network, torch.device("cpu")).run
        found = network(x)[0]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        for mine, other in zip(
            torch.autograd.grad(found.square().sum(), list(network.parameters())), wanted, strict=True
        ):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def test_the_probed_chain_is_the_network() -> None:
    network = frozen(network_of("gru", block="residual"))
    x = torch.randn(2, 9, 2, dtype=torch.float64)
    chain = chain_of(network, x)
    states = chain.states()
    torch.testing.assert_close(network.head(chain.outputs(states[1:])[-1]), network(x)[0], rtol=1e-12, atol=1e-12)
    traced = chain.trace(4, states[3])
    torch.testing.assert_close(traced.after, states[4], rtol=1e-12, atol=1e-12)
    used = torch.autograd.grad(traced.after.sum(), traced.used, allow_unused=True)
    assert sum(g is not None for g in used) >= 8  # weights of both layers, and of the blocks before them


def test_a_plain_run_keeps_its_hash_and_a_block_changes_it() -> None:
    def hashed(**settings: Any) -> str:
        values = {f"model.{key}": value for key, value in settings.items()}
        return resolve(RunRequest("lstm", "adding", settings=values)).spec.spec_hash()

    assert hashed() == hashed(block="plain")
    assert len({hashed(), hashed(block="residual"), hashed(block="residual", block_norm="rms")}) == 3
    assert "block" not in resolve(RunRequest("lstm", "adding")).spec.model.params


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("lru", {"block": "residual"}, "lru has this block of its own, set by model.norm, model.mix and model.skip"),
        ("lstm", {"block_norm": "rms"}, "there is no block around the layers; add --set model.block=residual"),
        ("lstm", {"block": "resnet"}, "block: .*plain.*residual"),
        ("lmu", {"block": "residual", "block_mix": "fish"}, "block_mix"),
    ],
)
def test_what_makes_no_block_is_refused(model: str, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        network_of(model, **settings)


def test_a_deep_model_has_no_block() -> None:
    assert registry.task_card("digits_flat").input == "static"
    with pytest.raises(UserError, match="mlp is a deep model, and a block goes around recurrent layers"):
        resolve(RunRequest("mlp", "digits_flat", settings={"model.block": "residual"}))


def test_a_run_in_blocks_is_trained_scored_and_repeated(tmp_path: Any) -> None:
    options = ["--model", "lstm", "--task", "copy", "--T", "3", "--hidden", "8", "--layers", "2", "--steps", "6"]
    chosen = ["--set", "model.block=residual", "--set", "task.S=2", "--runs-dir", str(tmp_path)]
    result = CliRunner().invoke(app, ["train", *options, *chosen])
    assert result.exit_code == 0, result.output
    (record,) = tmp_path.glob("copy/lstm/*/record.json")
    result = CliRunner().invoke(app, ["verify", str(record.parent)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["probe-gradients", str(record.parent)])
    assert result.exit_code == 0, result.output
    assert "no block around it" in result.output

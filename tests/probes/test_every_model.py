"""The probe takes every registered model, stacked and alone, or refuses it with a reason."""

import json
import math

import pytest
import torch
from probe_networks import stack

from stablebench.data.batch import Batch
from stablebench.errors import UserError
from stablebench.models import registry as model_registry
from stablebench.models.deep_network import DeepNetwork
from stablebench.probes.differentiable import check_differentiable
from stablebench.probes.probe import probe
from stablebench.tables import json_text

SKIPPING = {"skip_gru", "skip_lstm"}
UNTRAINED = {"leaky_esn"}


@pytest.mark.parametrize("name", model_registry.model_names("recurrent"))
def test_every_recurrent_model_is_measured_or_refused(name: str) -> None:
    """Every recurrent model is measured or refused with a reason."""
    network = stack(name, 1, 5)
    batch = Batch(torch.randint(5, (2, 5)), torch.randint(3, (2, 5)))
    if name in SKIPPING:
        with pytest.raises(UserError, match="cannot be probed.*rounded to 0 or 1"):
            check_differentiable(network)
        return
    result = probe(network, batch, loss="cross_entropy", samples=1)
    assert (result.lag_share is None) == (name in UNTRAINED)
    assert result.flow is not None and result.flow.log_input_norms is not None
    assert result.jacobian is not None and result.lyapunov is not None and result.memory is not None
    # a spectrum has an eigenvalue for each state, and their number is that of the singular values
    assert result.spectra is not None
    assert {len(s.eigenvalues) for s in result.spectra.steps} == {result.jacobian.size}
    for step in result.spectra.steps:
        assert step.radius <= step.norm * (1 + 1e-9) and 0 <= step.relative_henrici <= 1 + 1e-9
        total = step.eigenvalues.abs().square().sum().item() + step.henrici**2  # Schur: ||A||_F^2
        assert total == pytest.approx(step.norm**2, rel=1e-9, abs=1e-12)
    json.loads(json_text(result.document()))


@pytest.mark.parametrize("name", ["lstm", "cornn", "urnn_arjovsky"])
def test_stacked_layers_are_one_chain(name: str) -> None:
    batch = Batch(torch.randint(5, (2, 5)), torch.randint(3, (2, 5)))
    result = probe(stack(name, 2, 5), batch, loss="cross_entropy", samples=1)
    assert result.jacobian is not None and result.jacobian.size == 2 * 8
    assert result.spectra is not None and result.lag_share is not None
    if name == "cornn":
        assert [s.of for s in result.spectra.recurrent] == ["recurrent matrix, layer 1", "recurrent matrix, layer 2"]


@pytest.mark.parametrize("name", model_registry.model_names("deep"))
def test_every_deep_model_is_measured(name: str) -> None:
    entry = model_registry.model_entry(name)
    network = DeepNetwork(entry.build_deep(2, 2, entry.resolve({}), layers=6), 2).double()
    result = probe(network, Batch(torch.randn(3, 2), torch.randint(2, (3,))), loss="cross_entropy", samples=1)
    assert result.flow is not None and result.flow.log_input_norms is None
    assert result.lag_share is not None and math.isclose(result.lag_share.shares[0].sum().item(), 1)
    json.loads(json_text(result.document()))

"""The shapes that models are annotated with are those that they compute, checked with beartype in a process of its own.

The import hook of jaxtyping rewrites functions, and the fused engine traces them as they are written.
"""

import subprocess
import sys

PASSES = """
import typing
from jaxtyping import install_import_hook
from stablebench.models.claims import claim
for protocol in [c for c in vars(claim).values() if getattr(c, "_is_protocol", False)]:
    typing.runtime_checkable(protocol)
parts = ("recurrent", "deep", "attention", "blocks", "recurrent_model", "deep_model", "attention_model")
install_import_hook([f"stablebench.models.{part}" for part in parts], "beartype.beartype")
import torch
from stablebench.models import registry
from stablebench.models.base import DeepModel

HIDDEN = {"eunn": 8}
MORE = {
    "antisymmetric": [{"gated": True}],
    "bn_lstm": [{"recurrent_init": "identity"}],
    "deltanet": [{"heads": 2, "negative_eigenvalues": True}],
    "deltaproduct": [{"heads": 3, "decay": True}],
    "dilated_rnn": [{"cell": "lstm"}, {"cell": "gru", "start": 2}],
    "dizzy": [{"singular_values": True}],
    "eunn": [{"layout": "fft"}],
    "exprnn": [{"activation": "relu"}],
    "fastrnn": [{"rank_u": 2}],
    "indrnn": [{"stack": "dense"}],
    "linoss": [{"scheme": "imex"}],
    "lipschitz": [{"gated": True, "solver": "rk2"}],
    "mamba2": [{"heads": 3}],
    "mamba3": [{"heads": 3}],
    "mlstm": [{"heads": 3, "forget": "exp"}],
    "rg_lru": [{"heads": 2}],
    "roarnn": [{"orthogonal": "identity"}],
    "skip_lstm": [{"cost": 0.1}, {"cell": "gru", "straight_through": "code"}],
    "slstm": [{"heads": 2}],
    "transformer": [{"positions": "rotary"}, {"positions": "sinusoidal", "heads": 4}],
}
checked = 0
for name in registry.model_names():
    entry = registry.model_entry(name)
    for params in [{}, *MORE.get(name, [])]:
        arguments, hidden = entry.resolve(params), HIDDEN.get(name, 6)
        print(name, params, flush=True)
        if issubclass(entry.cls, DeepModel):
            model, x = entry.build_deep(3, hidden, arguments, layers=6), torch.randn(4, 3)
            outputs = model(x)
        elif entry.family == "attention":
            model, x = entry.build_attention(3, hidden, arguments), torch.randn(4, 7, 3)
            outputs = model(x)
        else:
            model, x = entry.build(3, hidden, arguments, horizon=7), torch.randn(4, 7, 3)
            outputs, state = model(x)
            model(x, state)
            model.recurrent_matrix()
        checked += 1
entry = registry.model_entry("rnn")
try:
    entry.build(3, 6, entry.resolve({}), horizon=7).step(torch.zeros(4, 5), (torch.zeros(4, 6),), torch.zeros(6, 6))
except Exception as error:
    assert "batch hidden" in str(error), error
    print(checked, "checked; a wrong shape is refused")
"""


def test_every_model_computes_the_shapes_that_it_states() -> None:
    command = [sys.executable, "-W", "ignore", "-c", PASSES]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout.splitlines()[-1]}: {result.stderr[-3000:]}"
    assert result.stdout.endswith("checked; a wrong shape is refused\n")

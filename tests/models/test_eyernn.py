import torch

from stablebench.models.recurrent.roarnn import RoaRNN
from stablebench.models.registry import model_entry


def test_eyernn_is_roarnn_with_the_identity():
    entry = model_entry("eyernn")
    assert entry.cls is RoaRNN
    assert entry.resolve({}) == model_entry("roarnn").resolve({"orthogonal": "identity"})
    model = entry.cls(2, 6, **{"horizon": 5, **entry.resolve({})})
    assert torch.equal(dict(model.named_buffers())["O"], torch.eye(6))


def test_both_start_from_the_same_trainable_parameters():
    built = {}
    for name in ("roarnn", "eyernn"):
        torch.manual_seed(3)
        entry = model_entry(name)
        model = entry.cls(2, 6, **{"horizon": 5, **entry.resolve({})})
        readout = torch.nn.Linear(6, 4)
        model.initialise_readout(readout)
        built[name] = [p.detach() for p in (*model.parameters(), *readout.parameters())], model.get_buffer("O")
    (roa, fixed), (eye, identity) = built["roarnn"], built["eyernn"]
    assert len(roa) == 5 and all(torch.equal(p, q) for p, q in zip(roa, eye, strict=True))
    assert not torch.equal(fixed, identity)

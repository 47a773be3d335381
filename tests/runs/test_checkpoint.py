"""Checkpoints: written whole, read whole or refused."""

import os
import random
import stat
from pathlib import Path

import pytest
import torch

from stablebench.errors import StablebenchError, UserError
from stablebench.runs import atomic as files
from stablebench.runs import checkpoint
from stablebench.runs.checkpoint import Checkpoint


def example() -> Checkpoint:
    tensors = {"network.w": torch.arange(12.0).reshape(3, 4).T, "random.cpu": torch.get_rng_state()}
    return Checkpoint({**tensors, "optimiser.0.0.step": torch.tensor(3.0)}, {"step": 3, "note": "ü", "best": None})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "step-3.safetensors"
    checkpoint.save(path, example())
    loaded = checkpoint.load(path)
    assert loaded.state == example().state and loaded.step == 3
    assert torch.equal(loaded.part("network")["w"], example().tensors["network.w"])
    assert [p.name for p in path.parent.iterdir()] == ["step-3.safetensors"]


def test_no_mutation_loads_silently(tmp_path: Path) -> None:
    path = tmp_path / "step-3.safetensors"
    checkpoint.save(path, example())
    whole, rng = path.read_bytes(), random.Random(0)
    expected = checkpoint.load(path)
    for _ in range(300):
        content = bytearray(whole)
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            loaded = checkpoint.load(path)
        except UserError:
            continue
        # Only bytes without meaning, the header's padding, may change unnoticed.
        assert loaded.state == expected.state
        assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in expected.tensors.items())


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such checkpoint"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    files.write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StablebenchError, match=r"record\.json: 3 bytes cannot be written \(No space left on device\)"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_umask_lets_them(tmp_path: Path) -> None:
    """Others may read what the umask lets them and a replaced file keeps its permissions."""
    path = tmp_path / "record.json"
    before = os.umask(0o027)
    try:
        files.write_atomically(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        files.write_atomically(path, b"newer")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def _odd_tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(6.0)
    complex_ = torch.complex(torch.randn(3, 3), torch.randn(3, 3))
    return {
        "whole": base,
        "same": base,
        "view": base[2:4],
        "rows": base.view(2, 3)[1],
        "transposed": base.view(2, 3).T,
        "expanded": torch.ones(1, 3).expand(4, 3),
        "conjugated": complex_.conj(),
        "adjoint": complex_.mH,
        "negative": complex_.conj().imag,
        "complex128": complex_.to(torch.complex128).conj(),
        "complex128 again": complex_.to(torch.complex128),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "int": torch.tensor([2**62], dtype=torch.int64),
    }


def test_every_dense_tensor_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every dense tensor comes back with its values type and shape."""
    tensors = _odd_tensors()
    tensors["complex128 once more"] = tensors["complex128 again"]
    assert not any(checkpoint.why_not_stored(tensor) for tensor in tensors.values())
    checkpoint.save(tmp_path / "step-1.safetensors", Checkpoint(tensors, {"step": 1}))
    loaded = checkpoint.load(tmp_path / "step-1.safetensors").tensors
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(loaded[name], tensor.resolve_conj().resolve_neg()), name


def test_the_digest_is_of_values_not_of_how_they_lie() -> None:
    lazy = torch.complex(torch.randn(3), torch.randn(3)).conj()
    assert checkpoint.digest({"a": lazy}, "") == checkpoint.digest({"a": lazy.resolve_conj()}, "")
    assert checkpoint.digest({"a": lazy}, "") != checkpoint.digest({"a": lazy.conj()}, "")


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (torch.eye(3).to_sparse(), "sparse_coo"),
        (torch.empty(3, device="meta"), "meta"),
        (torch.nn.UninitializedParameter(), "no shape yet"),
    ],
)
def test_what_cannot_be_stored_is_told_with_its_reason(tensor: torch.Tensor, why: str) -> None:
    assert why in (checkpoint.why_not_stored(tensor) or "")

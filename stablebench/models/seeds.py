"""Seeds of what a run draws at its start, apart from each other in the 32 bits that torch's CPU generator uses.

`Generator().manual_seed(7)` and `manual_seed(2**32 + 7)` give the same numbers (torch 2.13), so a distance between two
seeds must show in their low 32 bits, and no distance there keeps a layer of one run apart from all first layers. The
first layer therefore has the run's seed, and layers above it hashes in a range of their own.
"""

import hashlib

_EMBEDDING = 2**31
"""From the seed of the first layer to that of the tokens' vectors, for seeds below it."""
_HASHED = 3 * 2**30
"""The smallest hash: above the seeds of first layers below 2**31, and of the embeddings of seeds below 2**30."""


def layer_seed(seed: int, layer: int) -> int:
    """Return what a layer is drawn from: the run's seed for the first one, a hash of seed and layer above it.

    Args:
        seed: The run's.
        layer: Position in the stack, from 0.

    Returns:
        For layers above the first a number from 3 * 2**30 to 2**32 - 1.
    """
    return _hashed(f"{seed} layer {layer}") if layer else seed


def embedding_seed(seed: int) -> int:
    """Return what the tokens' vectors of a run are drawn from."""
    return seed + _EMBEDDING if seed < _EMBEDDING else _hashed(f"{seed} embedding")


def _hashed(text: str) -> int:
    return _HASHED | int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

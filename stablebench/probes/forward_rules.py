"""torch's rules of forward derivatives, loaded once."""

import warnings
from functools import cache

import torch
from torch.autograd import forward_ad


@cache
def load_forward_rules() -> None:
    """Load the rules; they are scripted, and that is deprecated in torch itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))

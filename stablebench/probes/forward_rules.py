"""torch's rules of forward derivatives, loaded once."""

import warnings
from functools import cache

import torch
from torch.autograd import forward_ad


@cache
def load_forward_rules() -> None:
    """Load the rules; they are scripted, and that is deprecated in torch itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is ")  # its category differs by version of torch
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(1), torch.zeros(1))

"""Checks of eigenvalues: the uRNN poster's upper bound, and nnRNN's moduli."""

import torch

from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.report.paper_checks.check import PaperCheck, seed_0


def upper_bound_of_a_sheared_matrix() -> PaperCheck:
    """Take powers of a diagonalisable matrix that is not normal."""
    W = torch.tensor([[0.9, 10.0], [0.0, 0.8]], dtype=torch.float64)
    norm = torch.linalg.matrix_norm(torch.linalg.matrix_power(W, 5), 2).item()
    return PaperCheck(
        "for a diagonalisable W, ||dh_T/dh_t|| <= (beta |lambda_1|)^(T - t) (uRNN poster, main theorem)",
        "h_t = W h_{t-1}, W = [[.9, 10], [0, .8]], five steps",
        "false: the norm exceeds .9^5; the bound needs a normal W",
        {"norm": norm, "printed_bound": 0.9**5},
        norm > 10 * 0.9**5,
    )


def moduli_with_the_authors_mask(hidden: int = 128, std: float = 0.3) -> PaperCheck:
    """Compare eigenvalue moduli with gamma = 1 where T has entries inside the blocks and where it has none."""
    measured: dict[str, float] = {}
    for mask in ("authors", "blocks"):
        with seed_0():
            layer = NnRNN(1, hidden, mask=mask).double()
            layer.T.data.normal_(std=std)
            moduli = torch.linalg.eigvals(layer.schur_form().detach().T).abs()
        measured |= {f"least_{mask}": moduli.min().item(), f"largest_{mask}": moduli.max().item()}
    off = max(1 - measured["least_authors"], measured["largest_authors"] - 1)
    off_blocks = max(1 - measured["least_blocks"], measured["largest_blocks"] - 1)
    return PaperCheck(
        "the moduli of W's eigenvalues are gamma, whatever T is (nnRNN paper, section 4, equation 5)",
        f"{hidden} units, gamma 1, T ~ N(0, {std:g}^2), seed 0",
        "true for T below the 2 x 2 blocks; with an entry t_{2,1} inside each, as equation 5 prints one and the "
        "authors' code has them all, the moduli are off by more than .05",
        measured,
        off > 0.05 and off_blocks < 1e-6,
    )

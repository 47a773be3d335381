"""What a recurrent matrix in Schur form has learned, as a figure and as the numbers behind it.

The nnRNN paper's figure 3 (arXiv:1905.12080): the entries of Theta = Lambda + T, the angles of its eigenvalues, and the
mean magnitude of its entries along each sub-diagonal. The first sub-diagonal is the delay line; every second entry of
it is the sine of a block of Lambda, not an entry of T.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import ChainModel
from stablebench.models.recurrent.nnrnn import NnRNN

_BINS = 32


@dataclass(frozen=True)
class SchurStructure:
    """A learned Schur form.

    Args:
        theta: Theta = Lambda + T (n, n), lower block triangular, in float64.
        angles: The angles theta_i of its blocks in (-pi, pi], (floor(n/2)).
        moduli: Their gamma_i, (ceil(n/2)).
    """

    theta: Tensor
    angles: Tensor
    moduli: Tensor

    @property
    def lower(self) -> Tensor:
        """T: what lies below the 2 x 2 blocks, (n, n)."""
        block = torch.arange(len(self.theta)) // 2
        return torch.where(block[:, None] > block, self.theta, 0.0)

    def subdiagonal_means(self) -> tuple[Tensor, Tensor]:
        """Return the mean |entry| of Theta and of T alone along the sub-diagonals k = 1 ... n - 1, (n - 1) each.

        T's mean is over the entries that are T's: on the first sub-diagonal every second one.
        """
        n = len(self.theta)
        block = torch.arange(n) // 2
        free = (block[:, None] > block).double()
        whole = [self.theta.diagonal(-k).abs().mean() for k in range(1, n)]
        own = [self.lower.diagonal(-k).abs().sum() / free.diagonal(-k).sum().clamp(min=1) for k in range(1, n)]
        return torch.stack(whole), torch.stack(own)

    def concentration(self) -> float:
        """Return the length of the mean of exp(i theta): 0 for angles spread evenly, 1 where all are the same."""
        return torch.polar(torch.ones_like(self.angles), self.angles).mean().abs().item()

    def write(self, path: Path) -> None:
        """Write one line a number: what, i, j, value; entries of Theta that are 0 are left out."""
        whole, own = self.subdiagonal_means()
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["what", "i", "j", "value"])
            for what, values in (("angle", self.angles), ("modulus", self.moduli)):
                writer.writerows([what, i, "", f"{value:.9g}"] for i, value in enumerate(values.tolist()))
            for what, values in (("mean of sub-diagonal", whole), ("mean of sub-diagonal of T", own)):
                writer.writerows([what, k, "", f"{value:.9g}"] for k, value in enumerate(values.tolist(), start=1))
            for i, j in self.theta.nonzero().tolist():
                writer.writerow(["theta", i, j, f"{self.theta[i, j].item():.9g}"])


def schur_structure(model: ChainModel) -> SchurStructure:
    """Return the Schur form that a model has learned.

    Raises:
        UserError: The model has none.
    """
    if not isinstance(model, NnRNN):
        raise UserError(f"structure needs a model whose matrix is in Schur form, nnrnn; got {type(model).__name__}.")
    with torch.no_grad():
        angles = torch.remainder(-model.theta.double() + torch.pi, 2 * torch.pi)
        return SchurStructure(model.schur_form().double(), torch.pi - angles, model.gamma.double().clone())


def save_figure(path: Path, found: SchurStructure, title: str) -> None:
    """Write a figure: Theta's entries, the histogram of the angles, and magnitudes by sub-diagonal.

    Args:
        path: Where; the suffix says the format.
        found: The Schur form.
        title: What stands above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    heat, histogram, magnitudes = (figure.add_subplot(1, 3, i, polar=i == 2) for i in (1, 2, 3))
    limit = max(found.theta.abs().max().item(), 1e-12)
    image = heat.imshow(found.theta.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    figure.colorbar(image, ax=heat, shrink=0.8)
    heat.set_title(r"$\Theta = \Lambda + T$", fontsize="medium")
    histogram.hist(found.angles.numpy(), bins=_BINS, range=(-torch.pi, torch.pi), color="C0")
    histogram.set_yticklabels([])
    histogram.set_title(
        rf"angles $\theta_i$; mean $\gamma$ {found.moduli.mean():.3f}, concentration {found.concentration():.2f}",
        fontsize="medium",
    )
    whole, own = found.subdiagonal_means()
    k = range(1, len(found.theta))
    magnitudes.plot(k, whole.numpy(), label=r"$\Theta$", color="C0")
    magnitudes.plot(k, own.numpy(), "--", label="T alone", color="C1")
    magnitudes.set_xlabel("sub-diagonal k")
    magnitudes.set_title("mean magnitude", fontsize="medium")
    magnitudes.legend(frameon=False)
    magnitudes.grid(alpha=0.3)
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=120)

"""What a recurrent matrix in Schur form has learned, as a figure and as the numbers behind it.

The nnRNN paper's figure 3 (arXiv:1905.12080): the entries of Theta = Lambda + T, the angles of its eigenvalues, and the
mean magnitude of its entries along each sub-diagonal. The first sub-diagonal is the delay line; every second entry of
it is the sine of a block of Lambda, not an entry of T.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from stablebench.errors import UserError
from stablebench.models.base import ChainModel
from stablebench.models.recurrent.nnrnn import NnRNN
from stablebench.report.figures import style
from stablebench.report.figures.curves import Line

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
        """Return the mean |entry| of Theta and of T only along the sub-diagonals k = 1 ... n - 1, (n - 1) each.

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

    def rows(self) -> Iterator[list[Any]]:
        """Yield what, i, j and value of each number; entries of Theta that are 0 are left out."""
        whole, own = self.subdiagonal_means()
        for what, values in (("angle", self.angles), ("modulus", self.moduli)):
            yield from ([what, i, "", f"{value:.9g}"] for i, value in enumerate(values.tolist()))
        for what, values in (("mean of sub-diagonal", whole), ("mean of sub-diagonal of T", own)):
            yield from ([what, k, "", f"{value:.9g}"] for k, value in enumerate(values.tolist(), start=1))
        for i, j in self.theta.nonzero().tolist():
            yield ["theta", i, j, f"{self.theta[i, j].item():.9g}"]


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


@style.styled
def draw(structure: SchurStructure, title: str) -> Figure:
    """Return a figure: Theta's entries, the histogram of the angles, and magnitudes by sub-diagonal.

    Args:
        structure: The Schur form.
        title: Its title.
    """
    figure = style.new_figure(11, 3.9)
    heat, histogram, magnitudes = (figure.add_subplot(1, 3, i, polar=i == 2) for i in (1, 2, 3))
    limit = max(structure.theta.abs().max().item(), 1e-12)
    image = heat.imshow(structure.theta.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    heat.grid(visible=False)
    figure.colorbar(image, ax=heat, shrink=0.8)
    style.label_axes(heat, "", "", r"$\Theta = \Lambda + T$")
    histogram.hist(structure.angles.numpy(), bins=_BINS, range=(-torch.pi, torch.pi), color=style.COLOURS[0])
    histogram.set_yticklabels([])
    mean, concentration = structure.moduli.mean(), structure.concentration()
    style.label_axes(
        histogram, "", "", rf"angles $\theta_i$; mean $\gamma$ {mean:.3f}, concentration {concentration:.2f}"
    )
    k = range(1, len(structure.theta))
    for number, (name, means) in enumerate(zip(("Theta", "T only"), structure.subdiagonal_means(), strict=True)):
        style.draw_line(magnitudes, Line(name, k, means.tolist()), **style.look(number))
    style.label_axes(magnitudes, "sub-diagonal k", "", "mean magnitude")
    style.legend_below(figure)
    style.title_above(figure, title)
    return figure


def save_figure(path: Path, structure: SchurStructure, title: str) -> list[Path]:
    """Write the figure and its numbers; return both paths. See `draw`."""
    return style.save_with_csv(path, draw(structure, title), ("what", "i", "j", "value"), structure.rows())

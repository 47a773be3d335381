"""Haykin's double moon: two half rings in the plane (Neural Networks and Learning Machines, section 1.5).

Points lie evenly over each half ring of radius r and width w. The upper one is centred at (0, 0) and labelled 1, the
lower one at (r, -d) and labelled -1. A positive distance d leaves a gap between them, a negative one pushes the upper
end of one moon into the other. Down to about -6 they do not touch for the sizes of the book, r = 10 and w = 6.

The points are drawn once from fixed seeds: 1,500 of which 500 are held out, and 2,000 to test.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field

from stablebench.data.batch import Batch, Sizes

_POINTS = {"train": 1500, "test": 2000}
_SEEDS = {"train": 0, "test": 1}


def sizes() -> Sizes:
    """Return the sizes: two coordinates in, a label out."""
    return Sizes(inputs=2, outputs=1, steps=1)


def load(
    name: Literal["train", "test"],
    *,
    radius: Annotated[float, Field(gt=0)] = 10.0,
    width: Annotated[float, Field(gt=0)] = 6.0,
    distance: float = -5.0,
    data_dir: object = None,
) -> Batch:
    """Return all points of a part, those of the two moons in turn.

    Args:
        name: 1,500 of `train` or 2,000 of `test`.
        radius: From a moon's centre to the middle of its ring.
        width: Of the ring, less than twice the radius.
        distance: How far the lower moon's centre lies below the upper one's.
        data_dir: Not needed: the points are drawn.

    Returns:
        Points (n, 2), labels 1 and -1 (n, 1).
    """
    n, rng = _POINTS[name], torch.Generator().manual_seed(_SEEDS[name])
    inner, outer = (radius - width / 2) ** 2, (radius + width / 2) ** 2
    away = (inner + (outer - inner) * torch.rand(n, generator=rng, dtype=torch.float64)).sqrt()  # even over the area
    angle = math.pi * torch.rand(n, generator=rng, dtype=torch.float64)
    x, y = away * angle.cos(), away * angle.sin()
    upper = torch.arange(n) % 2 == 0
    points = torch.stack([torch.where(upper, x, x + radius), torch.where(upper, y, -y - distance)], dim=1)
    labels = torch.where(upper, 1.0, -1.0)[:, None]
    return Batch(points.to(torch.float32), labels.to(torch.float32))

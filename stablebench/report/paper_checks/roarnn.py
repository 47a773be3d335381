"""Checks of the roaRNN paper: theorem 3.1, remark 3.1, and the ablation with the identity."""

import math

import torch
from torch import Tensor

from stablebench.data.tasks import adding, copy
from stablebench.models import registry as model_registry
from stablebench.models.claims.roarnn import from_corners
from stablebench.models.recurrent.roarnn import RoaRNN
from stablebench.report.paper_checks.check import PaperCheck, seed_0

_DOUBLE = torch.float64


def log_singular_values(model: RoaRNN, x: Tensor) -> tuple[float, float]:
    """Return natural logarithms of the least and largest singular value of dh_T/dh_1, for one sequence (T, in).

    By multiplying out: good for products that are not far from isometry.
    """
    slope_of = {"relu": lambda z: (z > 0).to(z), "tanh": lambda z: 1 - z.tanh().square()}[model.activation]
    with torch.no_grad():
        projections, recurrent_weights = model.input_projection(x[None])[0], model.recurrent_weights()
        (h,) = model.step(projections[:1], model.initial_state(1), recurrent_weights)
        product = torch.eye(model.hidden, dtype=x.dtype)
        for projected in projections[1:]:
            slope = slope_of(projected + h[0] @ model.W.T)
            product = (model.alpha * slope[:, None] * model.W + (1 - model.alpha) * model.O) @ product
            (h,) = model.step(projected[None], (h,), recurrent_weights)
        values = torch.linalg.svdvals(product)
    return values[-1].log().item(), values[0].log().item()


def build(name: str, inputs: int, hidden: int, T: int, rho: float, **parameters: object) -> RoaRNN:
    """Return a registered form of the model at its start, of seed 0 and in float64."""
    entry = model_registry.model_entry(name)
    with seed_0():
        model = entry.build(inputs, hidden, entry.resolve({"rho": rho, **parameters}), horizon=T)
    assert isinstance(model, RoaRNN)
    return model.double()


def printed_interval(model: RoaRNN, N: int) -> tuple[float, float]:
    """Return natural logarithms of the ends that theorem 3.1 prints, rho = alpha N."""
    s = torch.linalg.matrix_norm(model.W.detach(), 2).item()
    return -model.alpha * N * (1 + s), model.alpha * N * (s - 1)


def copy_inputs(length: int) -> Tensor:
    """Return one sequence of the copying problem, one-hot (T, 10)."""
    tokens = copy.generate(1, length=length, rng=torch.Generator().manual_seed(0)).inputs
    return torch.nn.functional.one_hot(tokens[0], 10).to(_DOUBLE)


def printed_lower_bound() -> PaperCheck:
    """Compare theorem 3.1's lower bound with one unit that is always on, W = -O."""
    L, rho = 11, 1.0
    model = build("eyernn", 1, 1, L - 1, rho)
    for parameter, value in ((model.W, -1.0), (model.V, 0.0), (model.b, 2.0)):
        parameter.data.fill_(value)
    measured = math.exp(log_singular_values(model, torch.zeros(L, 1, dtype=_DOUBLE))[0])
    printed, exact = math.exp(-rho * 2), (1 - 2 * rho / (L - 1)) ** (L - 1)
    return PaperCheck(
        "the singular values of dx_L/dx_1 are at least exp(-rho (1 + r s)) (roaRNN paper, theorem 3.1)",
        "one unit, O 1, W -1, ReLU active throughout, rho 1, L 11",
        "it falls below the printed bound, which is only the limit for long chains, and reaches the exact one "
        "(1 - alpha (1 + r s))^(L - 1)",
        {"singular_value": measured, "printed_bound": printed, "exact_bound": exact},
        measured < printed and abs(measured - exact) < 1e-12,
    )


def interval_on_copy(hidden: int = 190, length: int = 400, rho: float = 3.0) -> PaperCheck:
    """Compare the interval of theorem 3.1 with what the paper's copying network starts with."""
    x = copy_inputs(length)
    T = len(x)
    model = build("roarnn", 10, hidden, T, rho * T / (length + 10))  # alpha = rho / (L + S)
    low, high = (end / math.log(10) for end in printed_interval(model, T - 1))
    least, most = (end / math.log(10) for end in log_singular_values(model, x))
    return PaperCheck(
        "the singular values lie in exp(-rho (1 + r s)) ... exp(rho (r s - 1)) (roaRNN paper, theorem 3.1)",
        f"copying, {hidden} units, L {length}, alpha = {rho:g} / (L + S), N(0, 1), seed 0",
        "true, and so wide that it says nothing: more than ten decades where the values span fewer than five",
        {
            "log10_printed_low": low,
            "log10_printed_high": high,
            "log10_smallest": least,
            "log10_largest": most,
        },
        low <= least and most <= high and high - low > 10 and most - least < 5,
    )


def interval_on_adding(hidden: int = 128, length: int = 200) -> PaperCheck:
    """Compare the same interval with the paper's adding network."""
    x = adding.generate(1, length=length, rng=torch.Generator().manual_seed(0)).inputs[0].to(_DOUBLE)
    model = build("roarnn", 2, hidden, length, 1 / 200)
    low, high = (math.exp(end) for end in printed_interval(model, length - 1))
    least, most = (math.exp(end) for end in log_singular_values(model, x))
    return PaperCheck(
        "the singular values lie in exp(-rho (1 + r s)) ... exp(rho (r s - 1)) (roaRNN paper, theorem 3.1)",
        f"adding, {hidden} units, T {length}, rho 1/200, N(0, 1), seed 0",
        "true, and informative: the interval is narrower than a factor of 2",
        {"printed_low": low, "printed_high": high, "smallest": least, "largest": most},
        low <= least and most <= high and high < 2 * low,
    )


def hypercube(hidden: int = 64, T: int = 200) -> PaperCheck:
    """Take one step from a corner of the cube that remark 3.1 says the states stay in."""
    reached = {}
    for kind in ("dense", "permutation", "identity"):
        model = build("roarnn", 1, hidden, T, 1.0, activation="tanh", orthogonal=kind)
        reached[kind] = from_corners(model.O, model.step_without_input)
    return PaperCheck(
        "with |phi| < R the states stay in the cube [-R, R]^N, for 0 < alpha < 1 (roaRNN paper, remark 3.1)",
        f"{hidden} units, tanh, rho 1, T {T}, the largest |h| one step after a corner, seed 0",
        "true for O the identity or a permutation; a dense orthogonal O leads far out",
        {f"from_a_corner_{kind}": value for kind, value in reached.items()},
        reached["dense"] > 2 and max(reached["permutation"], reached["identity"]) <= 1 + 1e-12,
    )


def identity_ablation(hidden: int = 128, length: int = 100) -> PaperCheck:
    """Compare the start of figure 6's two models, and of the second with a smaller W."""
    x = copy_inputs(length)
    largest = {
        name: math.exp(log_singular_values(build(name, 10, hidden, len(x), 1.0), x)[1])
        for name in ("roarnn", "eyernn", "eyernn_isometric")
    }
    return PaperCheck(
        "with the identity for O learning is slower: O spreads the spectrum over the circle (roaRNN paper, IV-D)",
        f"copying of figure 6, {hidden} units, L {length}, rho 1, N(0, 1), ||dh_T/dh_1|| at the start, seed 0",
        "eyeRNN starts hundreds of times farther from isometry, so that figure 6 shows its start as well; with W "
        "scaled by (2 / N)^(1/2) it starts as near to it as roaRNN",
        {f"norm_{name}": value for name, value in largest.items()},
        largest["eyernn"] > 100 * largest["roarnn"] and largest["eyernn_isometric"] < 2 * largest["roarnn"],
    )

r"""eyeRNN from an isometric start: the identity in place of the random orthogonal matrix, and W drawn smaller.

Equation, alpha = rho / horizon:

    h_t = alpha * phi(W h_{t-1} + b + V x_t) + (1 - alpha) * h_{t-1}

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: as roaRNN, but W is multiplied by s = sqrt(2 / hidden), He's for ReLU. Under one seed all else is that of eyeRNN
    and roaRNN, and W is theirs times s.
    Why s: with D_t = diag(phi') the Jacobian over the whole chain is the product of I + (rho / T) (D_t W - I), nearly
    exp(rho (M - I)) with M the mean of the D_t W, and to first order its log singular values are rho times the
    eigenvalues of (M + M^T) / 2, less 1. Where roaRNN has O, the mean is of O^-t D_t W O^t: of a W of unit entries it
    leaves the part that commutes with O, entries of order 1 on the diagonal in O's basis, instead of a matrix of norm
    sqrt(hidden). s makes M as small: with half the units on, (M + M^T) / 2 reaches from -1.5 to 1.4. Measured over 3
    seeds, the log singular values divided by rho, for hidden, T, rho:

        128, 120, 1 (copy)      roaRNN -2.6 ... 0.5    here -2.5 ... 0.4    eyeRNN -11 ... 8.2
        190, 420, 3 (copy)      roaRNN -2.3 ... 0.7    here -2.4 ... 0.3    eyeRNN (rounding) ... 10
        128, 200, 1 (tanh)      roaRNN -2.6 ... 0.3    here -2.4 ... 0.3    eyeRNN -6.8 ... 4.2
        256, 784, 1/2 (pixels)  roaRNN -3.0 ... 0.3    here -2.6 ... 0.5    eyeRNN -15 ... 13

Stability claim: that of roaRNN, which holds for every orthogonal O (remark 3.3); with ||W|| about 2.8 at
    initialisation, in place of 2 sqrt(hidden), its bounds mean something. The initial W is asserted in
    tests/models/test_eyernn_isometric.py.
Reference: Ceni, section IV-D. https://arxiv.org/abs/2210.01245
Differs from the paper:
    - The initialisation is ours.
    - The paper's ablation, `eyernn`, removes O and the near-isometric initialisation at once; this one removes O only.
"""

from stablebench.models.recurrent.roarnn import RoaRNN
from stablebench.models.registry import register_preset

register_preset(RoaRNN, orthogonal="identity", recurrent_scale="he")

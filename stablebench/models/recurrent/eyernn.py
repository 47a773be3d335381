r"""eyeRNN: roaRNN with the identity in place of the random orthogonal matrix, the paper's ablation.

Equation, alpha = rho / horizon:

    h_t = alpha * phi(W h_{t-1} + b + V x_t) + (1 - alpha) * h_{t-1}

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: as roaRNN; under one seed both start from the same trainable parameters (section IV-D). Asserted in
    tests/models/test_eyernn.py.
Stability claim: that of roaRNN, which holds for every orthogonal O (remark 3.3).
Reference: Ceni, section IV-D. https://arxiv.org/abs/2210.01245. The same cell is the leaky-integrator echo state
    network (Jaeger et al. 2007) with trained weights, and FastRNN (Kusupati et al. 2018) with a fixed step.
Differs from the paper:
    - The same as roaRNN.
    - Beware when comparing the two: with W ~ N(0, 1) nothing turns the directions in which W grows, and the Jacobian
      over the whole chain has a largest initial singular value of 5e2 (hidden 256, 784 steps, rho 1/2) to 2e12 (hidden
      190, 420 steps, rho 3), where roaRNN has 1.2 and 2.3. The figure shows the effect of O and of this initialisation
      together; the paper gives eyeRNN a tenth of the learning rate. `eyernn_isometric` removes the effect of the
      initialisation.
"""

from stablebench.models.recurrent.roarnn import RoaRNN
from stablebench.models.registry import register_preset

register_preset(RoaRNN, orthogonal="identity")

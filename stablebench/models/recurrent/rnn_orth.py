r"""RNN-orth: the Elman network with an orthogonal start and ReLU, the vanilla RNN of roaRNN's experiments.

Equation:

    h_t = relu(W h_{t-1} + V x_t + b)

Shapes: x_t (batch, in), h_t (batch, hidden), W (hidden, hidden), V (hidden, in), b (hidden).
Parameters: `hidden * (hidden + inputs + 1)`.
Cost per step: `hidden * (hidden + inputs)` multiply-adds.
Init: W a random orthogonal matrix; V, b U(-1/sqrt(hidden), 1/sqrt(hidden)), b the sum of two such draws.
Stability claim: at initialisation W keeps norms; ReLU and training do not.
Reference: Ceni. Random Orthogonal Additive Filters. IEEE TNNLS 2025, section IV. https://arxiv.org/abs/2210.01245
Differs from the paper: its two biases are one, initialised as their sum.
"""

from stablebench.models.recurrent.rnn import Rnn
from stablebench.models.registry import register_preset

register_preset(Rnn, activation="relu", recurrent_init="orthogonal")

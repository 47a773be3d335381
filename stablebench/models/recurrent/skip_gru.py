r"""Skip GRU: a GRU that learns at which steps to update its state; at all others it copies it.

Equation, S the GRU:

    u_t = round(p_t)                                            0 or 1
    h_t = u_t S(h_{t-1}, x_t) + (1 - u_t) h_{t-1}
    d_t = sigmoid(w_p h_t + b_p)
    p_{t+1} = u_t d_t + (1 - u_t) (p_t + min(d_t, 1 - p_t))

    S:  r, z = sigmoid(W_rz h_{t-1} + V_rz x_t + b_rz)          (two blocks)
        h~_t = z * h_{t-1} + (1 - z) * tanh(W_n (r * h_{t-1}) + V_n x_t + b_n)

    round has the derivative 1 (straight-through estimator); `straight_through` code as in `skip_lstm`, of h~_t.

Shapes: x_t (batch, in); h_t (batch, hidden); p_t (batch, 1); W (3 hidden, hidden), V (3 hidden, in), b (3 hidden) with
    the blocks r, z, n; w_p (1, hidden); b_p (1). The states are (h, p), or (h, d, p), the output is h. `cost` as in
    `skip_lstm`.
Parameters: `3 * hidden * (hidden + inputs + 1) + hidden + 1`.
Cost per step: `3 * hidden * (hidden + inputs) + 2 * hidden` multiply-adds, one hidden of them to spread u_t over the
    units; a step that copies costs as much here.
Init: as the authors' code: [W, V] of the gates and of n Glorot uniform, w_p too, b = 1 for the gates and 0 for n, b_p =
    `update_bias`; h_0 = 0 and p_1 = 1.
Stability claim: as `skip_lstm`. Asserted in tests/models/test_skip_lstm.py.
Reference: Campos, Jou, Giro-i-Nieto, Torres, Chang. Skip RNN: Learning to Skip State Updates in Recurrent Neural
    Networks. ICLR 2018. https://arxiv.org/abs/1708.06834
Differs from the paper: as `skip_lstm`.
"""

from stablebench.models.recurrent.skip_lstm import SkipRNN
from stablebench.models.registry import register_preset

register_preset(SkipRNN, cell="gru")

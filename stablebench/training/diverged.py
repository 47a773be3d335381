"""How a run ends whose numbers leave what floats can hold."""


class Diverged(Exception):
    """The loss, the gradient or the weights are no longer finite."""

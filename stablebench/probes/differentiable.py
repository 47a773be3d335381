"""Which networks can be probed: those whose derivatives are their own."""

from stablebench.errors import UserError
from stablebench.models.network import AnyNetwork


def check_differentiable(network: AnyNetwork) -> None:
    """Raise `UserError` if autograd gives no derivative of a model in the network."""
    for model in network.models:
        if model.non_differentiable_reason:
            raise UserError(
                f"{type(model).__name__} cannot be probed: a probe needs a model whose derivatives are its own, and "
                f"here {model.non_differentiable_reason}. Probe a model without such a step."
            )

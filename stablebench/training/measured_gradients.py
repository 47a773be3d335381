"""How the gradient changes along the chain of a run's network, measured once and kept next to the run.

Measured at the run's own length (the longest that it was trained on), in float64 on the CPU: the growth rate of the
gradient of the loss at the last scored step, over `EXAMPLES` validation examples, and how far dh_T/dh_1 is from an
isometry, for the first of them.
"""

import math
from pathlib import Path

import torch

from stablebench.data.task import Task, resolve_params
from stablebench.models.build import build_network, start_embedding
from stablebench.probes.differentiable import check_differentiable
from stablebench.probes.measurements import ChainMeasurements
from stablebench.runs.store import RunFolder
from stablebench.schema.measured import Gradients, Measurements, Moment
from stablebench.schema.run_record import RunRecord
from stablebench.specs.limits import checked_card
from stablebench.training.lengths import measured_of
from stablebench.training.monitor import validation_examples
from stablebench.training.score import trained_network

EXAMPLES = 16


def measure_gradients(
    folder: RunFolder, record: RunRecord, moment: Moment, data_dir: Path | None = None
) -> Measurements:
    """Measure a finished run's gradients, unless that is done, and return what was measured of it.

    Args:
        folder: The run.
        record: Its record.
        moment: With the weights that were tested, or those at initialisation.
        data_dir: Folder of the real data sets.

    Raises:
        UserError: There is no whole checkpoint, or autograd gives no derivative of the model.
        StablebenchError: A state or a derivative is not finite.
    """
    if moment in (known := measured_of(folder, record)).gradients:
        return known
    card = checked_card(record)
    own = record.spec.task.params
    length = own[card.length] if card.length else record.spec.horizon
    params = resolve_params(card, T=length if card.length else None, settings=own)
    task = Task(card, params, data_dir)
    if moment == "trained":
        network, _ = trained_network(folder, record)
    else:
        network = build_network(record.spec, card, task.sizes)
        start_embedding(network, task)
    check_differentiable(network)
    examples = validation_examples(task, EXAMPLES, "examples")
    with torch.no_grad():
        chain = ChainMeasurements(network, examples, card.loss, 1)
        growth = chain.flow("last").growth_rate().mean
        smallest, largest = chain.log_singular_values
        spread = (largest - smallest) / max(chain.steps, 1)
    gradients = Gradients(
        length=length,
        growth=growth if growth is not None and math.isfinite(growth) else None,
        isometry=spread if math.isfinite(spread) else None,
    )
    before = measured_of(folder, record)
    measured = before.model_copy(update={"gradients": before.gradients | {moment: gradients}})
    folder.write_measured(measured)
    return measured

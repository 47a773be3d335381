"""The names of `stablebench` with their types: `__init__.py` loads each when it is first used."""

from stablebench.api.compare import Board as Board
from stablebench.api.compare import compare as compare
from stablebench.api.compiled_cell import compile_cell as compile_cell
from stablebench.api.probe import probe as probe
from stablebench.api.probe_result import Probe as Probe
from stablebench.api.run import Run as Run
from stablebench.api.run import evaluate as evaluate
from stablebench.api.run import list_runs as list_runs
from stablebench.api.run import load as load
from stablebench.api.run import train as train
from stablebench.api.watch import Watch as Watch
from stablebench.api.watch import watch as watch
from stablebench.errors import StablebenchError as StablebenchError
from stablebench.errors import UserError as UserError
from stablebench.models import (
    DeepModel as DeepModel,
)
from stablebench.models import (
    ParameterGroup as ParameterGroup,
)
from stablebench.models import (
    RecurrentModel as RecurrentModel,
)
from stablebench.models import (
    State as State,
)
from stablebench.models import (
    register_model as register_model,
)

__all__: list[str]
__version__: str
IMPORTED_NS: int
_MODULES: dict[str, tuple[str, ...]]

"""The run record, `record.json`: what a run was, where it ran, and what came out. Leaderboards read nothing else."""

from typing import Literal

from pydantic import PrivateAttr, model_validator

from stablebench.schema.floss import FlossRecord
from stablebench.schema.measured import Measurements
from stablebench.schema.published import MetricName
from stablebench.schema.run_spec import RunSpec
from stablebench.schema.strict import NonNegativeInt, Strict, Values

Status = Literal["running", "finished", "diverged", "interrupted", "failed"]
SelfCheck = Literal["passed", "failed", "off"]


class Evaluation(Strict):
    """One look at the validation split.

    Args:
        step: Updates made.
        train_s: Seconds spent training until then, evaluations and checkpoints left out.
        metrics: By metric name.
    """

    step: NonNegativeInt
    train_s: float
    metrics: dict[str, float]


class Environment(Strict):
    """Where a run ran, and how.

    Args:
        versions: Of python, torch, numpy and stablebench.
        device: The device used: `cpu`, `cuda`.
        hardware: Processor or GPU model.
        processor: The processor's vendor, family and model, where the operating system says them; None in records that
            do not say, and on a GPU.
        engine: The engine used: `reference`, `scan`, `fused` or `chunkwise`; in version 0.1 also `fused-torch` (torch
            calls).
        threads: CPU threads.
        flags: Process-wide settings: flushing of subnormals, precision of matrix products, determinism.
        commit: Git commit of stablebench, with `+` where the tree had changes; None outside a checkout.
        platform: Operating system, its version and the C library.
        torch_config: How torch was built: compiler, libraries, instruction set.
        packages: All installed packages as `name==version`, as pip reads them.
        reproducible: Whether the same spec gives the same numbers here again: on a CPU, and on CUDA with
            `--deterministic`, unless the model draws what no seed decides. None in records that do not say.
        irreproducible: Why it does not, or why a resumed run need not equal an unbroken one.
        backend: What computed: `native C`, `Triton`, `torch calls`, `scan`, `chunkwise`, `reference`, and what of the
            model was compiled next to it. None in records that do not say.
        compiler: Of compiled C: the compiler's `name`, `version` and `flags`, and the vector `instructions` it took;
            None where none computed.
        rounding: The instruction set that torch took, `cpu_capability`, and the environment variables that were set
            which choose code that rounds differently; empty in records that do not say.
    """

    versions: dict[str, str]
    device: str
    hardware: str
    processor: str | None = None
    engine: str
    threads: NonNegativeInt
    flags: Values
    commit: str | None = None
    platform: str = ""
    torch_config: str = ""
    packages: list[str] = []
    reproducible: bool | None = None
    irreproducible: str | None = None
    backend: str | None = None
    compiler: dict[str, str] | None = None
    rounding: dict[str, str] = {}


class Result(Strict):
    """What came out.

    Args:
        test: Metrics on the test split, of the last weights or of those best on validation (`tested`).
        tested: Which weights were tested.
        tested_step: Their step.
        best: Best value of the task's metric over all evaluations, and its step.
        steps_to_baseline: Updates until the trivial baseline was beaten in three evaluations running; None if never.
        seconds_to_baseline: Likewise in seconds of training.
        steps_to_target: Updates until the target was held likewise.
        seconds_to_target: Likewise in seconds of training.
        steps_per_s: Updates a second of training, median.
        peak_bytes: Peak memory: of the process on a CPU, of torch's allocator on a GPU.
    """

    test: dict[str, float] | None = None
    tested: Literal["last", "best"] = "last"
    tested_step: NonNegativeInt | None = None
    best: float | None = None
    best_step: NonNegativeInt | None = None
    steps_to_baseline: NonNegativeInt | None = None
    seconds_to_baseline: float | None = None
    steps_to_target: NonNegativeInt | None = None
    seconds_to_target: float | None = None
    steps_per_s: float | None = None
    peak_bytes: NonNegativeInt | None = None


class RunRecord(Strict):
    """A run.

    Args:
        spec: The resolved spec.
        spec_hash: Its hash.
        status: `running`, `finished`, `diverged` (at `step`), `interrupted`, `failed` (with `error`).
        metric: The task's metric.
        baseline: The trivial baseline in that metric.
        target: The target's metric and value; None where the task has none.
        target_metric: What the target is measured in.
        card_sha256: Digest of the card.
        selection: How validation and test were used, as the card says.
        parameters: Trainable scalars.
        embedding_parameters: Those of them that are vectors of tokens; papers count without these.
        step: Updates made.
        train_s: Seconds of training, over all sessions.
        wall_s: Seconds with evaluations and checkpoints, over all sessions.
        started: UTC time of the first session, ISO 8601.
        evaluations: Looks at the validation split.
        result: What came out.
        environment: Where it ran; of the last session.
        resumed_at: Steps at which the run was resumed.
        resumed_elsewhere: What of the environment changed along the run, with the step: where `--force-resume` resumed
            it all the same, or a GPU's kernel or the compiler failed and the reference engine went on.
        extended: The shorter runs it went on from, `train --resume RUN --steps N`: "300 to 600 updates, begun as RUN".
        origin: Where values of the spec came from, by dotted key.
        self_check: Whether the engine was held against the reference at the start of the last session: `passed`,
            `failed` (then the reference ran), `off`; None where there was nothing to hold, and in records that do not
            say.
        probe: What is measured along the run (`train --probe`); no part of the spec, it changes no number.
        floss: What gradient flossing did; None where it was not asked for.
        error: Why it failed or diverged.
        uncovered: Files of the user's that a user's own model imported by names that are known only as it runs, so that
            the spec's `model.source` does not cover them.
    """

    spec: RunSpec
    spec_hash: str
    status: Status
    metric: MetricName
    baseline: float | None
    target: float | None = None
    target_metric: MetricName | None = None
    card_sha256: str
    selection: str
    parameters: NonNegativeInt
    embedding_parameters: NonNegativeInt = 0
    step: NonNegativeInt = 0
    train_s: float = 0.0
    wall_s: float = 0.0
    started: str
    evaluations: list[Evaluation] = []
    result: Result = Result()
    environment: Environment
    resumed_at: list[NonNegativeInt] = []
    resumed_elsewhere: list[str] = []
    extended: list[str] = []
    origin: dict[str, str] = {}
    self_check: SelfCheck | None = None
    probe: str | None = None
    floss: FlossRecord | None = None
    error: str | None = None
    uncovered: list[str] = []
    _called: str | None = PrivateAttr(default=None)
    _measured: Measurements | None = PrivateAttr(default=None)

    @property
    def called(self) -> str:
        """What tables call its model: the name that it was asked for by, else its label, else the model's name."""
        return self._called or self.spec.model.label

    def call(self, name: str) -> None:
        """Have tables call its model so; the file stays as it is."""
        self._called = name

    @property
    def measured(self) -> Measurements | None:
        """What was measured of it after its end, where that was read along with it."""
        return self._measured

    def take_measured(self, measured: Measurements | None) -> None:
        """Have it go along with what was measured of it, if that is of this very run and its weights."""
        known = measured is not None and (measured.spec_hash, measured.step) == (
            self.spec_hash,
            self.result.tested_step,
        )
        self._measured = measured if known else None

    @model_validator(mode="after")
    def _target_is_whole(self) -> "RunRecord":
        if self.target is not None and self.target_metric is None:
            raise ValueError("`target` needs `target_metric`, the metric that it is measured in.")
        return self

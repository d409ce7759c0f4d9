"""What a reader must know before believing a row: a closed set, each with its figures and what to do."""

from dataclasses import dataclass

from compressbench.units import format_percent

NAMED_LAYERS = 4
"""As many layers as a warning names."""


@dataclass(frozen=True, kw_only=True)
class OneClassPredicted:
    """The model answers (nearly) every row alike, so its accuracy is a share and not a skill."""

    label: str
    predicted_share: float
    reference_share: float

    def __str__(self) -> str:
        rows = "every row" if self.predicted_share == 1 else f"{format_percent(self.predicted_share)} of the rows"
        return (
            f"predicts {self.label!r} for {rows}, which {format_percent(self.reference_share)} of the dev rows are: "
            "accuracy near that is a share, not a skill; train longer or with another learning rate"
        )


@dataclass(frozen=True, kw_only=True)
class TeacherNotAboveChance:
    """The teacher scores no better than the best constant answer, so retention means nothing."""

    metric: str
    score: float
    chance: float

    def __str__(self) -> str:
        return (
            f"the teacher's {self.metric} {self.score:.3f} is not above the {self.chance:.3f} of a constant answer: "
            "retention above chance is left out, and no comparison with it says what compression cost"
        )


@dataclass(frozen=True, kw_only=True)
class ComputesInFp32:
    """A quantized file whose matrix products (partly) run in floating point."""

    runtime: str
    shape: str
    share: float
    layers: tuple[str, ...] = ()
    """Those that run in fp32, where they are known by name."""

    def __str__(self) -> str:
        how = "none" if self.share == 0 else f"only {100 * self.share:.4g} %"
        return (
            f"{how} of the multiply-adds with constant weights run in INT8 in {self.runtime} at {self.shape}: "
            f"the file is small, but the rest computes in fp32{self._named()}"
        )

    def _named(self) -> str:
        """The layers of a partly quantized model; of one that is not quantized at all they would say nothing."""
        if self.share == 0 or not self.layers:
            return ""
        shown = ", ".join(self.layers[:NAMED_LAYERS])
        more = len(self.layers) - NAMED_LAYERS
        return f" ({shown}{f' and {more} more' if more > 0 else ''})"


@dataclass(frozen=True, kw_only=True)
class UndefinedAnswers:
    """Some logits are NaN or infinite."""

    rows: int
    total: int

    def __str__(self) -> str:
        return f"{self.rows} of {self.total} dev rows are answered with NaN or infinity: no score is given"


@dataclass(frozen=True, kw_only=True)
class EarlierSession:
    """The last session was stopped before it measured this model."""

    used: int
    latest: int

    def __str__(self) -> str:
        return (
            f"latency is of session {self.used}: session {self.latest} has not measured this model; run the plan again"
        )


@dataclass(frozen=True, kw_only=True)
class CellFailed:
    """There is no artifact."""

    error: str

    def __str__(self) -> str:
        return f"failed: {self.error}"


@dataclass(frozen=True, kw_only=True)
class OtherEnvironment:
    """Some of the run's latencies were taken on another machine, or with other runtimes."""

    sessions: tuple[int, ...]

    def __str__(self) -> str:
        which = (
            f"session {self.sessions[0]} was"
            if len(self.sessions) == 1
            else (f"sessions {', '.join(map(str, self.sessions))} were")
        )
        return f"{which} measured on another machine or with other runtimes: only the newest one's latencies are shown"


@dataclass(frozen=True, kw_only=True)
class BusyMachine:
    """Others used the cores while latency was measured."""

    share: float

    def __str__(self) -> str:
        return (
            f"other programs used {format_percent(self.share)} of the cores while latency was measured: "
            "ratios hold within their intervals, milliseconds are too high; measure again on a quiet machine"
        )


@dataclass(frozen=True, kw_only=True)
class Throttled:
    """The container's quota held the program back."""

    share: float

    def __str__(self) -> str:
        return (
            f"the container's CPU quota stopped this program for {format_percent(self.share)} of the time: "
            "give it as many CPUs as --threads says, or fewer threads"
        )


@dataclass(frozen=True, kw_only=True)
class NotSteady:
    """Warming up ended before the runs had come to one level."""

    places: tuple[str, ...]
    """Runtime and shape each."""

    def __str__(self) -> str:
        return f"a process had not come to a steady pace when it was first timed: {', '.join(self.places)}"


@dataclass(frozen=True, kw_only=True)
class NotTimed:
    """A runtime cannot open the model."""

    runtime: str
    reason: str

    def __str__(self) -> str:
        return f"not timed in {self.runtime}: {self.reason}"


RowWarning = (
    OneClassPredicted
    | TeacherNotAboveChance
    | ComputesInFp32
    | UndefinedAnswers
    | EarlierSession
    | CellFailed
    | OtherEnvironment
    | BusyMachine
    | Throttled
    | NotSteady
    | NotTimed
)

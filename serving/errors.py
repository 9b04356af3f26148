"""What serving refuses, and what to do about it.

    ServingError
    ├── RequestRefused          the caller asks for something that cannot be answered: correct the request
    │   ├── MalformedRequest    the bytes are no such message
    │   ├── WrongTensor         a tensor whose name or data type is not the model's
    │   ├── WrongShape          features whose size does not fit the model or the names given
    │   ├── WrongValue          an infinity, a NaN where the model takes none, a negative age
    │   ├── DuplicateInstrument an instrument is named twice
    │   ├── UnknownSignal       no signal of that name is served here
    │   ├── UnknownRelease      that release is not loaded here: live, previous and shadow ones are
    │   ├── UnknownGeneration   that generation is not the present one: leave it out, or ask for the present one
    │   ├── UnknownMethod       no such method
    │   ├── UnknownEncoding     a compression that is not read here: send it uncompressed
    │   ├── WrongCompression    a message that says it is compressed, and is not as it says: send it uncompressed
    │   ├── WrongCardinality    not exactly one message in a call that takes one
    │   └── MessageTooLarge     a message, or header list, beyond the limit: ask in parts
    ├── NotReady                the scorer cannot answer this yet
    │   ├── NoLiveRelease       the ledger has no live release for the signal, or it may not be served: promote one
    │   └── Draining            the worker is stopping: ask another worker
    ├── CallEnded               nobody waits for the answer any more; the work was not done
    │   ├── DeadlinePassed      the caller's deadline passed first: allow more time
    │   └── CallCancelled       the caller went away
    ├── Overloaded              more rows wait than this worker can score in time: back off, then repeat
    │   └── TooManyScores       more scores a second than the release's limits allow: ask less often
    ├── ScoreRefused            a score that may not leave, where no row can say so: wait, or ask `Score`
    ├── ModelFailed             the model's runtime raised: look at the worker's log, roll back
    ├── GenerationBehind        the ledger does not hold the generation that the caller expects
    ├── PushRefused             no row of the push could be looked at
    ├── CanaryRefused           a signal that may not be split between two releases: ramp its weight instead
    └── ScorerFailed            the scorer itself cannot start or go on
        ├── WorkerFailed        a worker did not start, died, or did not acknowledge
        ├── ListenRefused       an address or socket cannot be listened on
        ├── ScratchRefused      a scratch model that is none, or would be served to others than this machine
        ├── CoreRefused         a core that is not here, or that this process may not use
        ├── HaltNotKept         a halt is in force, but would not outlive its process: repeat it
        ├── KeyRingRefused      the feature rows' keys are missing, damaged or readable by others
        └── PipeBroken          supervisor and worker lost each other

Rows that the feature table refuses are `features.errors.RowError`s of `serving.feature_table`: RowWentBack,
RowRepeated, RowFromTheFuture, TableFull.

Each message says what was expected, what was found and what to do next. None carries a transport's code: that is
`serving.status`.
"""

from __future__ import annotations


class ServingError(Exception):
    """Anything this room refuses."""


class RequestRefused(ServingError):
    """The caller asks for something that cannot be answered."""


class MalformedRequest(RequestRefused):
    """The bytes are no such message."""


class WrongTensor(RequestRefused):
    """A tensor whose name or data type is not the model's."""


class WrongShape(RequestRefused):
    """Features whose size does not fit the model or the names given."""


class WrongValue(RequestRefused):
    """An infinity, a NaN where the model takes none, or a negative age."""


class DuplicateInstrument(RequestRefused):
    """An instrument is named twice."""


class UnknownSignal(RequestRefused):
    """No signal of that name is served here."""


class UnknownRelease(RequestRefused):
    """That release is not loaded here."""


class UnknownGeneration(RequestRefused):
    """That generation of the signal is not the present one."""


class UnknownMethod(RequestRefused):
    """No such method."""


class UnknownEncoding(RequestRefused):
    """A message compressed in a way that is not read here."""


class WrongCompression(RequestRefused):
    """A message that cannot be inflated: it is no gzip, or no `grpc-encoding` said that it is."""


class WrongCardinality(RequestRefused):
    """Not exactly one message in a call that takes one."""


class MessageTooLarge(RequestRefused):
    """A message or a header list beyond the limit."""


class NotReady(ServingError):
    """The scorer cannot answer this yet."""


class NoLiveRelease(NotReady):
    """The signal has no live release that may be served."""


class Draining(NotReady):
    """The worker is stopping."""


class CallEnded(ServingError):
    """Nobody waits for the answer any more; the work was not done."""


class DeadlinePassed(CallEnded):
    """The caller's deadline passed first."""


class CallCancelled(CallEnded):
    """The caller went away."""


class Overloaded(ServingError):
    """More rows wait than this worker can score in time. retry_after_ms: when to come back; None where unknown."""

    def __init__(self, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class TooManyScores(Overloaded):
    """More scores a second than the release's limits allow."""


class ScoreRefused(ServingError):
    """The signal is halted, or a score is not a finite number within its limit, and the reply has no status per row."""


class ModelFailed(ServingError):
    """The model's runtime raised."""


class GenerationBehind(ServingError):
    """The ledger does not hold the generation that the caller expects."""


class PushRefused(ServingError):
    """No row of the push could be looked at."""


class CanaryRefused(ServingError):
    """A signal that may not be split between two releases."""


class ScorerFailed(ServingError):
    """The scorer itself cannot start or go on."""


class WorkerFailed(ScorerFailed):
    """A worker did not start, died, or did not acknowledge."""


class ListenRefused(ScorerFailed):
    """An address or socket cannot be listened on."""


class ScratchRefused(ScorerFailed):
    """A scratch model that is none, or would be served to others than this machine."""


class CoreRefused(ScorerFailed):
    """A core that is not here, or that this process may not use."""


class HaltNotKept(ScorerFailed):
    """A halt is in force, but would not outlive its process."""


class KeyRingRefused(ScorerFailed):
    """The feature rows' keys are missing, damaged or readable by others."""


class PipeBroken(ScorerFailed):
    """Supervisor and worker lost each other."""

from protos.signalbox.v1 import scorer_pb2 as _scorer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncRequest(_message.Message):
    __slots__ = ("signal", "generation")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    signal: str
    generation: int
    def __init__(self, signal: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class SyncReply(_message.Message):
    __slots__ = ("signals", "workers")
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[SignalStatus]
    workers: int
    def __init__(self, signals: _Optional[_Iterable[_Union[SignalStatus, _Mapping]]] = ..., workers: _Optional[int] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, rows: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PushReply(_message.Message):
    __slots__ = ("accepted", "refused")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    refused: _containers.RepeatedCompositeFieldContainer[RefusedRow]
    def __init__(self, accepted: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[RefusedRow, _Mapping]]] = ...) -> None: ...

class RefusedRow(_message.Message):
    __slots__ = ("index", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    reason: str
    def __init__(self, index: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class HaltRequest(_message.Message):
    __slots__ = ("signal", "reason")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    signal: str
    reason: str
    def __init__(self, signal: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class HaltReply(_message.Message):
    __slots__ = ("halted",)
    HALTED_FIELD_NUMBER: _ClassVar[int]
    halted: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, halted: _Optional[_Iterable[str]] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("signal",)
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    signal: str
    def __init__(self, signal: _Optional[str] = ...) -> None: ...

class ResumeReply(_message.Message):
    __slots__ = ("resumed",)
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    resumed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, resumed: _Optional[_Iterable[str]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("signals", "workers", "ledger_sequence", "ledger_error")
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_ERROR_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[SignalStatus]
    workers: _containers.RepeatedCompositeFieldContainer[WorkerStatus]
    ledger_sequence: int
    ledger_error: str
    def __init__(self, signals: _Optional[_Iterable[_Union[SignalStatus, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[WorkerStatus, _Mapping]]] = ..., ledger_sequence: _Optional[int] = ..., ledger_error: _Optional[str] = ...) -> None: ...

class SignalStatus(_message.Message):
    __slots__ = ("signal", "generation", "posture", "weight", "live", "previous", "latched", "reason")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    LATCHED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    signal: str
    generation: int
    posture: _scorer_pb2.Posture
    weight: float
    live: str
    previous: str
    latched: bool
    reason: str
    def __init__(self, signal: _Optional[str] = ..., generation: _Optional[int] = ..., posture: _Optional[_Union[_scorer_pb2.Posture, str]] = ..., weight: _Optional[float] = ..., live: _Optional[str] = ..., previous: _Optional[str] = ..., latched: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("worker", "pid", "address", "serving", "restarts", "requests", "rows_scored", "batches", "rows_pushed", "refused", "stale", "expired")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_SCORED_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    ROWS_PUSHED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    worker: int
    pid: int
    address: str
    serving: bool
    restarts: int
    requests: int
    rows_scored: int
    batches: int
    rows_pushed: int
    refused: int
    stale: int
    expired: int
    def __init__(self, worker: _Optional[int] = ..., pid: _Optional[int] = ..., address: _Optional[str] = ..., serving: _Optional[bool] = ..., restarts: _Optional[int] = ..., requests: _Optional[int] = ..., rows_scored: _Optional[int] = ..., batches: _Optional[int] = ..., rows_pushed: _Optional[int] = ..., refused: _Optional[int] = ..., stale: _Optional[int] = ..., expired: _Optional[int] = ...) -> None: ...

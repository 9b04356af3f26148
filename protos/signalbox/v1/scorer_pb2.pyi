from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Posture(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POSTURE_UNSPECIFIED: _ClassVar[Posture]
    POSTURE_NORMAL: _ClassVar[Posture]
    POSTURE_NO_NEW_RISK: _ClassVar[Posture]
    POSTURE_HALTED: _ClassVar[Posture]
POSTURE_UNSPECIFIED: Posture
POSTURE_NORMAL: Posture
POSTURE_NO_NEW_RISK: Posture
POSTURE_HALTED: Posture

class ScoreRequest(_message.Message):
    __slots__ = ("signal", "instruments", "features", "release", "max_feature_age_ms")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    MAX_FEATURE_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    signal: str
    instruments: _containers.RepeatedScalarFieldContainer[str]
    features: bytes
    release: str
    max_feature_age_ms: int
    def __init__(self, signal: _Optional[str] = ..., instruments: _Optional[_Iterable[str]] = ..., features: _Optional[bytes] = ..., release: _Optional[str] = ..., max_feature_age_ms: _Optional[int] = ...) -> None: ...

class SubscribeRequest(_message.Message):
    __slots__ = ("signal", "instruments")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    signal: str
    instruments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, signal: _Optional[str] = ..., instruments: _Optional[_Iterable[str]] = ...) -> None: ...

class ScoreReply(_message.Message):
    __slots__ = ("generation", "posture", "releases", "scores", "status", "weights", "release_index", "knowledge_time_unix_ns", "row_sequence", "instruments")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_INDEX_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    ROW_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    posture: Posture
    releases: _containers.RepeatedScalarFieldContainer[str]
    scores: bytes
    status: bytes
    weights: bytes
    release_index: bytes
    knowledge_time_unix_ns: bytes
    row_sequence: bytes
    instruments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, generation: _Optional[int] = ..., posture: _Optional[_Union[Posture, str]] = ..., releases: _Optional[_Iterable[str]] = ..., scores: _Optional[bytes] = ..., status: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., release_index: _Optional[bytes] = ..., knowledge_time_unix_ns: _Optional[bytes] = ..., row_sequence: _Optional[bytes] = ..., instruments: _Optional[_Iterable[str]] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ("signal",)
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    signal: str
    def __init__(self, signal: _Optional[str] = ...) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("signals",)
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[SignalDescription]
    def __init__(self, signals: _Optional[_Iterable[_Union[SignalDescription, _Mapping]]] = ...) -> None: ...

class SignalDescription(_message.Message):
    __slots__ = ("signal", "generation", "posture", "weight", "live", "releases", "feature_set_id", "features", "instruments")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POSTURE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SET_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str
    releases: _containers.RepeatedScalarFieldContainer[str]
    feature_set_id: bytes
    features: _containers.RepeatedScalarFieldContainer[str]
    instruments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, signal: _Optional[str] = ..., generation: _Optional[int] = ..., posture: _Optional[_Union[Posture, str]] = ..., weight: _Optional[float] = ..., live: _Optional[str] = ..., releases: _Optional[_Iterable[str]] = ..., feature_set_id: _Optional[bytes] = ..., features: _Optional[_Iterable[str]] = ..., instruments: _Optional[_Iterable[str]] = ...) -> None: ...

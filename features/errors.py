"""What can go wrong with inputs, and what to do about it.

    FeatureError
    ├── CalendarError      a calendar, session or instant that the calendar does not have: fix the date or the name
    ├── ClockError         a replay clock was turned back, or asked for outside environment `replay`
    ├── IngestError        a file's rows are refused, by row and column: repair the file, nothing was written
    ├── BlobError          the blob store cannot give what it is asked for
    │   ├── BlobMissingError   nothing is kept under that name: copy the blob in, or ingest again
    │   └── BlobAlteredError   bytes do not match their name: restore the file from a copy, never use it
    ├── SnapshotError      a snapshot is unknown, incomplete, or its content is not what its id says
    ├── PanelError         arrays of a panel do not fit together, or an input is missing
    ├── DefinitionError    a feature's definition cannot be accepted: impure, malformed, or declared wrongly
    ├── RegistryError      a feature name is unknown, or two definitions claim it
    ├── KernelError        a kernel returned something else than it declared: repair the feature
    ├── FeedError          Redis, which carries rows between hosts, cannot be used
    │   ├── FeedAddressError      its URL cannot be used: correct it
    │   ├── FeedUnreachableError  nothing answers in time, or it takes no rows now: start it, or repeat in a moment
    │   ├── FeedDeniedError       the user or password is wrong, or the user may not do this: see docs/redis.md
    │   ├── FeedKeyError          a key of ours holds something else: delete the key, then publish again
    │   └── FeedAnswerError       an answer that no Redis of version 7 or later gives: look at what listens there
    └── RowError           a feature row cannot be encoded or decoded
        ├── RowTruncatedError  bytes end early: the sender or the transport cut the row
        ├── RowTrailingError   bytes go on after the row's end
        ├── RowVersionError    a format version this build does not read: upgrade the older side
        ├── RowKeyError        signed with a key that is not in the key ring: distribute the key
        ├── RowForgedError     the MAC does not match: the row was altered, or signed with another key
        └── RowValueError      a value that no row may hold: an infinity, a wrong shape, a time beyond 64 bits

Each message says what was expected, what was found and what to do next. None carries a transport's code.
"""

from __future__ import annotations


class FeatureError(Exception):
    """Anything this room refuses."""


class CalendarError(FeatureError):
    """A calendar, session or instant that the calendar does not have."""


class ClockError(FeatureError):
    """A replay clock was turned back, or asked for outside environment `replay`."""


class IngestError(FeatureError):
    """A file's rows are refused, by row and column; nothing was written."""


class BlobError(FeatureError):
    """The blob store cannot give what it is asked for."""


class BlobMissingError(BlobError):
    """Nothing is kept under that name."""


class BlobAlteredError(BlobError):
    """Bytes do not match the name they are kept under."""


class SnapshotError(FeatureError):
    """A snapshot is unknown, incomplete, or its content is not what its id says."""


class PanelError(FeatureError):
    """Arrays of a panel do not fit together, or an input is missing."""


class DefinitionError(FeatureError):
    """A feature's definition cannot be accepted."""


class RegistryError(FeatureError):
    """A feature name is unknown, or two definitions claim it."""


class KernelError(FeatureError):
    """A kernel returned something else than it declared."""


class FeedError(FeatureError):
    """Redis, which carries rows between hosts, cannot be used."""


class FeedAddressError(FeedError, ValueError):
    """The URL of a Redis cannot be used."""


class FeedUnreachableError(FeedError):
    """Nothing answers in time, or what answers takes no rows now."""


class FeedDeniedError(FeedError):
    """The user or password is wrong, or the user may not do this."""


class FeedKeyError(FeedError):
    """A key of the feed holds something else than the feed."""


class FeedAnswerError(FeedError):
    """An answer that was not to be expected from a Redis."""


class RowError(FeatureError):
    """A feature row cannot be encoded or decoded."""


class RowTruncatedError(RowError):
    """The bytes end before the row does."""


class RowTrailingError(RowError):
    """The bytes go on after the row's end."""


class RowVersionError(RowError):
    """The row is of a format version that this build does not read."""


class RowKeyError(RowError):
    """The row names a key that is not in the key ring."""


class RowForgedError(RowError):
    """The MAC does not match the row's bytes."""


class RowValueError(RowError):
    """The row holds a value that no row may hold."""

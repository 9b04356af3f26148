"""What promotion refuses, and what to do about it.

    PromotionError
    ├── LedgerError            the history cannot take or give what it is asked for
    │   ├── LedgerUnreadable   the file is missing, locked or no ledger: look at the path, restore from a backup
    │   ├── BrokenChain        an entry was altered, dropped or forged: stop, compare with a copy kept elsewhere
    │   ├── WrongEnvironment   the ledger belongs to another environment: open the right home
    │   ├── EntryRefused       the action makes no sense as it stands: a name, payload or state that does not fit
    │   ├── ClockWentBack      the actor's clock is behind the ledger: set the clock, then repeat
    │   ├── NotAllowed         the principal is unknown, or has no role that may do this: ask one who has
    │   │   └── RiskAdded      an automatic actor tried to add risk: only a person may
    │   └── Conflict           someone else moved the signal first: look at what they did, then decide again
    │       └── KeyReused      the idempotency key names another action: use a fresh key
    ├── NotApproved            four eyes are missing, or the second pair is the first: get another principal's approval
    ├── GateFailed             a gate refuses the release: metric, value and threshold stand in the message
    ├── PlanMoved              the plan no longer says what would happen: make a new plan
    ├── SignalFrozen           the signal takes no more risk until it is thawed
    ├── KeyRefused             a private key is missing, exists already, or can be read by others
    ├── ScorerUnreachable      the ledger has the action, but a scorer did not acknowledge it: it will follow by polling
    ├── RingError              a ring file cannot be made, or is not one
    └── ReleaseRefused         a release is not what its digest and signatures say: never load it
        ├── ReleaseMissing     no such release in this home: copy it in, or build it
        ├── ManifestRefused    the manifest is not canonical, incomplete, or of an unknown schema
        ├── FileAltered        a file's bytes are not those of the manifest: restore it from a copy
        ├── FileMissing        a file of the manifest is not there
        ├── FileUnexpected     a file, link or folder that the manifest does not list, or a format off the list
        ├── SignatureRefused   a signature is missing, forged, swapped, or by one principal where two are due
        ├── EnvironmentRefused the release was signed for another environment
        ├── ModelRefused       external data, an operator off the list, or another shape than the manifest's
        ├── GoldenRowsDiffer   this runtime does not reproduce the release's golden scores
        └── ModelCrashed       the model took down, or hung, the throw-away process that loaded it first

Each message says what was expected, what was found and what to do next. None carries a transport's code; exit codes
of the command line stand in `promotion.exit_codes`.
"""

from __future__ import annotations


class PromotionError(RuntimeError):
    """Anything this room refuses."""


class LedgerError(PromotionError):
    """The history cannot take or give what it is asked for."""


class LedgerUnreadable(LedgerError):
    """The ledger's file is missing, locked, or is no ledger."""


class BrokenChain(LedgerError):
    """An entry of the ledger was altered, dropped, reordered or forged.

    sequence: the first entry that is not what it should be (1 is the ledger's first).
    """

    def __init__(self, sequence: int, message: str) -> None:
        super().__init__(f"entry {sequence}: {message}")
        self.sequence = sequence


class WrongEnvironment(LedgerError):
    """The ledger belongs to another environment than the one asked for."""


class EntryRefused(LedgerError):
    """The action makes no sense as it stands: a name, a payload or a state does not fit."""


class ClockWentBack(LedgerError):
    """The actor's clock is behind the ledger's last entry."""


class NotAllowed(LedgerError):
    """The principal is unknown, or holds no role that may do this."""


class RiskAdded(NotAllowed):
    """An automatic actor tried to add risk."""


class Conflict(LedgerError):
    """The signal moved since the actor looked at it. The message names the entry that won."""


class KeyReused(Conflict):
    """The idempotency key is that of another action."""


class NotApproved(PromotionError):
    """An approval is missing, or was given by a principal who may not give it."""


class GateFailed(PromotionError):
    """A gate refuses the release."""


class PlanMoved(PromotionError):
    """The plan no longer says what would happen."""


class SignalFrozen(PromotionError):
    """The signal is frozen: it takes no more risk until it is thawed."""


class KeyRefused(PromotionError):
    """A private key is missing, exists already, or can be read by others."""


class ScorerUnreachable(PromotionError):
    """The ledger has the action, but a scorer did not acknowledge it."""


class RingError(PromotionError):
    """A ring file cannot be made, or is not one."""


class ReleaseRefused(PromotionError):
    """A release is not what its digest and signatures say."""


class ReleaseMissing(ReleaseRefused):
    """There is no such release in this home."""


class ManifestRefused(ReleaseRefused):
    """The manifest is not canonical, incomplete, or of an unknown schema."""


class FileAltered(ReleaseRefused):
    """A file's bytes are not those of the manifest."""


class FileMissing(ReleaseRefused):
    """A file of the manifest is not there."""


class FileUnexpected(ReleaseRefused):
    """A file, link or folder that the manifest does not list, or of a format off the list."""


class SignatureRefused(ReleaseRefused):
    """A signature is missing, forged, swapped, or by one principal where two are due."""


class EnvironmentRefused(ReleaseRefused):
    """The release was signed for another environment."""


class ModelRefused(ReleaseRefused):
    """The model has external data, an operator off the list, or another shape than the manifest's."""


class GoldenRowsDiffer(ReleaseRefused):
    """This runtime does not reproduce the release's golden scores."""


class ModelCrashed(ReleaseRefused):
    """The model took down, or hung, the throw-away process that loaded it first."""

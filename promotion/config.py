"""`signalbox.toml`: everything that is set, read once into frozen values. Unknown keys are refused.

Units stand in the names. A policy's identity is the hash of its canonical form (numbers as decimal strings), so
that the ledger can say which policy is in force (design D7).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from features.canonical import decimal, identity
from features.redis_server import RedisServer, parse_url

Environment = Literal["replay", "paper", "prod"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class ConfigError(ValueError):
    """`signalbox.toml` is missing, unreadable, or says something that is not known."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value of the configuration; `identity` is the hash of its canonical form."""

    @property
    def identity(self) -> str:
        """SHA-256 of the value's canonical JSON."""
        return identity(canonical_form(self))


class Construction(Frozen, frozen=True, kw_only=True):
    """Scores to target weights. Gross leverage is the sum of |weight|, as a share of capital."""

    kind: Literal["long_short", "long_only"] = "long_short"
    gross_leverage: Positive = 1.0
    max_weight: Share = 0.2
    smoothing_sessions: Count = 1  # the target is the mean of the last so many sessions' targets: slower trading


class Costs(Frozen, frozen=True, kw_only=True):
    """What trading costs. `adv_assumed_usd` is declared, not measured, where prices carry no volume."""

    half_spread_bps: NonNegative
    impact_coefficient: NonNegative  # Y of the square-root law: cost = Y · sd · sqrt(traded / ADV)
    impact_volatility_sessions: Count = 63
    adv_assumed_usd: Positive
    capital_usd: Positive


class Limits(Frozen, frozen=True, kw_only=True):
    """What a release of this signal may never exceed; carried in its manifest."""

    max_capital_weight: Share = 1.0
    max_abs_score: Positive
    max_scores_per_second: Count


class Signal(Frozen, frozen=True, kw_only=True):
    """What the OMS asks for by name."""

    owner: str
    universe: tuple[str, ...]
    kind: Literal["cross_sectional", "time_series"] = "cross_sectional"
    features: tuple[str, ...]  # in the order of the model's columns
    horizon_sessions: Count
    calendar: str
    execution_lag_sessions: Count = 1  # decided after a close, executed so many closes later
    latency_class: Literal["interactive", "batch"] = "interactive"
    latency_budget_us: Count
    time_to_live_sessions: Count = 1  # a row older than this, in sessions of the calendar, is STALE
    limits: Limits
    construction: Construction
    costs: Costs


class Threshold(Frozen, frozen=True, kw_only=True):
    """One bound on one metric of the evidence; a metric that is missing or not finite fails it."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None


class GatePolicy(Frozen, frozen=True, kw_only=True):
    """What may be promoted in one environment."""

    thresholds: tuple[Threshold, ...]
    declared_trials_suffice: bool = False
    calibrated_size: Share = 0.05  # the false-promotion rate the deflated threshold is calibrated to


class ActionPolicy(Frozen, frozen=True, kw_only=True):
    """What a breach does. `desk` is the textbook rule; `calibrated` the same ladder, thresholds keeping a budget."""

    rule: Literal["desk", "calibrated"] = "calibrated"
    sharpe_window_sessions: Count = 21
    desk_sharpe_sds: Positive = 2.0
    desk_psi: Positive = 0.25
    desk_ks_p: Share = 0.05
    false_cuts_per_year: Positive = 0.2
    false_feature_alarms_per_year: Positive = 1.0
    drift_window_sessions: Count = 21
    cut_to: Share = 0.5
    dwell_sessions: Count = 10  # how long a cut is given before the next step
    grace_sessions: Count = 2  # no data for longer than this is a breach
    cooldown_sessions: Count = 63  # at most one automatic rollback in so many sessions, then freeze


class Source(Frozen, frozen=True, kw_only=True):
    """A declared input: where it comes from, what may be done with it, when it is known."""

    description: str
    licence: str
    calendar: str
    delay_minutes: NonNegative  # knowledge time = the session's close + this, when the file states none
    close_is: str = "close_adjusted_final"  # the input that a column `close` is


class Scorer(Frozen, frozen=True, kw_only=True):
    """A scorer that promotion calls after every commit."""

    control: str  # "unix:PATH" or "HOST:PORT"


class Redis(Frozen, frozen=True, kw_only=True):
    """The Redis that carries feature rows between hosts. Paths are relative to the home.

    A password stands in a file of its own, mode 0600, and nowhere else; it is read when a connection is made.
    """

    url: str  # redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS) or unix:///PATH
    ca_file: str = ""  # PEM of the one authority that Redis' certificate may come from; "" = those the system trusts
    user: str = ""  # the ACL user that workers read as; "" = Redis' default user
    password_file: str = ""
    writer_user: str = ""  # the ACL user that `signalbox publish --redis` writes as; "" = `user`
    writer_password_file: str = ""  # "" = `password_file`

    def __post_init__(self) -> None:
        """ValueError for a URL that cannot be used, or a file that would be left unused."""
        tls = parse_url(self.url).tls
        if self.ca_file and not tls:
            raise ValueError(f"expected a rediss:// url beside ca_file, found {self.url!r}; without TLS it has no use")
        if self.user and not self.password_file:
            raise ValueError(f"expected a password_file for user {self.user!r}, found none; name one")
        if self.writer_user and not self.writer_password_file:
            raise ValueError(f"expected a writer_password_file for {self.writer_user!r}, found none; name one")

    def reader(self, root: Path) -> RedisServer:
        """Where workers of the home `root` read, and as whom. ConfigError when the password cannot be read."""
        return self._server(root, self.user, self.password_file)

    def writer(self, root: Path) -> RedisServer:
        """Where a publisher of the home `root` writes, and as whom. ConfigError as for `reader`."""
        user, file = self.writer_user or self.user, self.writer_password_file or self.password_file
        return self._server(root, user, file)

    def _server(self, root: Path, user: str, password_file: str) -> RedisServer:
        ca_file = str(root / self.ca_file) if self.ca_file else ""
        password = _read_password(root / password_file) if password_file else ""
        return RedisServer(self.url, ca_file, user, password)


class Config(Frozen, frozen=True, kw_only=True):
    """The whole of `signalbox.toml`."""

    environment: Environment
    signals: dict[str, Signal]
    sources: dict[str, Source]
    gates: dict[Environment, GatePolicy]
    action: ActionPolicy = ActionPolicy()
    scorers: tuple[Scorer, ...] = ()
    redis: Redis | None = None  # None = feature rows come by Push alone
    transport: dict[str, int | float | dict[str, int | float]] = {}  # limits of the data plane; serving has the names
    tracking_uri: str = ""  # "" = MLflow on SQLite in the home


def read_config(path: Path) -> Config:
    """Reads `path`. Raises ConfigError that names the key, what was expected and what to do."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: expected a configuration file, found none ({error.strerror})") from error
    try:
        return msgspec.toml.decode(text, type=Config)
    except msgspec.DecodeError as error:  # ValidationError is one of these
        raise ConfigError(f"{path}: {error}; see docs/configuration.md for every key") from error


def _read_password(path: Path) -> str:
    """The one line of a password file. ConfigError, which says no word of it, for a file that others may read."""
    try:
        mode = path.stat().st_mode & 0o777
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: expected a file with a password, found none that can be read; restore it"
        ) from error
    if mode & 0o077:
        raise ConfigError(
            f"{path}: expected mode 0600, found {mode:04o}; others may have read it: replace the password"
        )
    if not password or "\n" in password:
        raise ConfigError(f"{path}: expected one line with a password, found another number of lines; correct it")
    return password


def canonical_form(value: Any) -> Any:
    """`value` as JSON types with every float a decimal string: what policy hashes are taken of."""
    if isinstance(value, msgspec.Struct):
        return {field: canonical_form(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: canonical_form(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [canonical_form(item) for item in value]
    return decimal(value) if isinstance(value, float) else value

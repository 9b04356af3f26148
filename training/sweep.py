"""A sweep: every candidate is a trial, opened in the ledger before it trains and closed whatever became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray

from features.clock import Clock
from promotion.config import Signal
from promotion.identity import Signer
from promotion.ledger.store import Ledger
from promotion.ledger.trials import Family, trial
from training.backtest.account import Backtest, account
from training.backtest.walk import first_test_session, out_of_sample_scores
from training.errors import TrainingError
from training.plan import Candidate, Plan
from training.samples import Samples, label_name

# What training a candidate may fail with and the sweep goes on; anything else closes the trial and stops the sweep.
FAILURES = (TrainingError, LightGBMError, np.linalg.LinAlgError, FloatingPointError, MemoryError)


@dataclass(frozen=True)
class Actor:
    """Who acts: the ledger that is written to, the key that signs and the clock that tells when."""

    ledger: Ledger
    signer: Signer
    clock: Clock


@dataclass(frozen=True)
class Trial:
    """One candidate and what came of it. backtest: None when it crashed."""

    id: str
    position: int
    candidate: Candidate
    outcome: Literal["finished", "crashed"]
    backtest: Backtest | None
    reason: str = ""

    @property
    def sharpe(self) -> float:
        """Annualised net Sharpe, out of sample; NaN when it crashed or never moved."""
        return float("nan") if self.backtest is None else self.backtest.sharpe_annual


@dataclass(frozen=True)
class Sweep:
    """Every trial in the order it was opened."""

    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """The trial, no baseline, with the highest out-of-sample net Sharpe; the earlier of two that are equal."""
        eligible = [one for one in self.trials if np.isfinite(one.sharpe) and not one.candidate.baseline]
        if not eligible:
            reasons = "; ".join(f"trial {one.position}: {one.reason}" for one in self.trials if one.reason)
            raise TrainingError(f"expected a trial that finished, found none ({reasons}); see the reasons")
        return max(eligible, key=lambda one: one.sharpe)

    def net_returns(self) -> NDArray[np.float64]:
        """float64 [T, trials]: daily net returns, NaN where a trial crashed."""
        lengths = {len(one.backtest.net) for one in self.trials if one.backtest is not None}
        empty = np.full(max(lengths, default=0), np.nan)
        return np.stack([empty if one.backtest is None else one.backtest.net for one in self.trials], axis=1)


def family(signal: Signal, snapshot_id: str) -> Family:
    """What the signal's trials are counted by: its label, its universe, its data."""
    return Family(label=label_name(signal), universe=signal.universe, data=snapshot_id)


def run_sweep(
    samples: Samples,
    plan: Plan,
    signal: Signal,
    *,
    counted_by: Family,
    actor: Actor,
    progress: Callable[[Trial], None] = lambda _: None,
) -> Sweep:
    """Runs every candidate of the plan, in order; `progress` is called after each."""
    trials = []
    for position in range(len(plan.candidates)):
        trials.append(_run_trial(samples, plan, position, signal, counted_by, actor))
        progress(trials[-1])
    return Sweep(tuple(trials))


def _run_trial(samples: Samples, plan: Plan, position: int, signal: Signal, counted_by: Family, actor: Actor) -> Trial:
    candidate = plan.candidates[position]
    tried = {"candidate": candidate.canonical(), "plan": plan.protocol()}
    with trial(actor.ledger, counted_by, tried, signer=actor.signer, clock=actor.clock) as opened:
        try:
            scores = out_of_sample_scores(samples, plan, candidate)
            backtest = account(samples, scores, signal, first=first_test_session(samples, plan))
        except FAILURES as error:  # the trial closes as crashed, and the sweep goes on
            return Trial(opened.name, position, candidate, "crashed", None, f"{type(error).__name__}: {error}")
        opened.finish(backtest.net.tobytes())
    return Trial(opened.name, position, candidate, "finished", backtest)

"""Labels look forward, features look back, and nothing known after the as-of instant enters either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.batch import FeatureMatrix, compute
from features.definition import FeatureSet
from features.panel import Panel, Revisions
from features.sessions import Calendar
from training.errors import SamplesError
from training.samples import Samples, forward_returns, make_samples, restrict, trailing_volatility

HORIZON, LAG = 5, 1


def at_session(panel: Panel, matrix_set: FeatureSet, calendar: Calendar, last: int) -> Samples:
    known = panel.until(int(panel.knowledge_times_ns[last]))
    return make_samples(
        compute(matrix_set, known), known, calendar=calendar, horizon_sessions=HORIZON, execution_lag_sessions=LAG
    )


def test_a_label_is_the_scaled_excess_return_from_the_next_close(samples: Samples, panel: Panel) -> None:
    session = 300
    closes = panel.values
    returns = closes[session + LAG + HORIZON] / closes[session + LAG] - 1
    daily = closes[session - 62 : session + 1] / closes[session - 63 : session] - 1
    expected = (returns - returns.mean()) / (daily.std(axis=0, ddof=1) * np.sqrt(HORIZON))
    np.testing.assert_allclose(samples.targets[session], expected, rtol=1e-12)


def test_asset_returns_are_those_of_the_session_itself(samples: Samples, panel: Panel) -> None:
    closes = panel.values
    np.testing.assert_allclose(samples.asset_returns[10], closes[10] / closes[9] - 1, rtol=1e-12)
    assert np.isnan(samples.asset_returns[0]).all()
    assert np.isfinite(samples.asset_returns[1:]).all()


def test_the_last_labels_are_not_known_yet(samples: Samples) -> None:
    assert np.isnan(samples.targets[-(HORIZON + LAG) :]).all()
    assert np.isfinite(samples.targets[-(HORIZON + LAG) - 1]).all()
    np.testing.assert_array_equal(samples.ends - samples.starts, HORIZON + LAG)


@settings(max_examples=10, deadline=None)
@given(last=st.integers(200, 1200))
def test_what_is_known_at_an_earlier_instant_is_a_prefix(
    panel: Panel, feature_set: FeatureSet, calendar: Calendar, samples: Samples, last: int
) -> None:
    """Prefix invariance: samples made at an earlier instant are the later ones cut off, their unknown labels blank."""
    earlier = at_session(panel, feature_set, calendar, last)
    np.testing.assert_array_equal(earlier.features, samples.features[: last + 1])
    known = last + 1 - HORIZON - LAG
    np.testing.assert_array_equal(earlier.targets[:known], samples.targets[:known])
    assert np.isnan(earlier.targets[known:]).all()


def test_the_future_of_a_label_s_interval_does_not_change_it(
    panel: Panel, feature_set: FeatureSet, calendar: Calendar, samples: Samples
) -> None:
    session = 500
    values = panel.values.copy()
    values[session + LAG + HORIZON + 1 :] *= 3.0
    changed = replace(panel, values=values)
    other = make_samples(
        compute(feature_set, changed), changed, calendar=calendar, horizon_sessions=HORIZON, execution_lag_sessions=LAG
    )
    np.testing.assert_array_equal(other.targets[: session + 1], samples.targets[: session + 1])
    np.testing.assert_array_equal(other.features[: session + 1], samples.features[: session + 1])


def test_time_series_labels_keep_the_market(panel: Panel, matrix: FeatureMatrix, calendar: Calendar) -> None:
    own = make_samples(
        matrix,
        panel,
        calendar=calendar,
        horizon_sessions=HORIZON,
        execution_lag_sessions=LAG,
        cross_sectional=False,
    )
    session = 300
    returns = panel.values[session + LAG + HORIZON] / panel.values[session + LAG] - 1
    scale = trailing_volatility(panel.values)[session] * np.sqrt(HORIZON)
    np.testing.assert_allclose(own.targets[session], returns / scale, rtol=1e-12)


def test_incomplete_rows_are_neither_trained_on_nor_scored(samples: Samples) -> None:
    features, targets = samples.rows(np.arange(len(samples.targets)))
    assert len(features) == len(targets) == int(samples.usable.sum())
    assert np.isfinite(features).all()
    assert np.isfinite(targets).all()
    assert not samples.complete[:21].any()


def test_a_price_that_is_missing_blanks_its_labels_only(
    panel: Panel, feature_set: FeatureSet, calendar: Calendar, samples: Samples
) -> None:
    values = panel.values.copy()
    values[600, 2] = np.nan
    holed = replace(panel, values=values)
    other = make_samples(
        compute(feature_set, holed), holed, calendar=calendar, horizon_sessions=HORIZON, execution_lag_sessions=LAG
    )
    assert np.isnan(other.targets[600 - LAG - HORIZON, 2])
    assert np.isnan(other.targets[600 - LAG, 2])
    assert np.isfinite(other.targets[600 - LAG, 3])
    assert np.isnan(other.asset_returns[600:602, 2]).all()
    assert np.isfinite(other.asset_returns[599, 2])


def test_trailing_volatility_of_a_known_series() -> None:
    closes = 100 * np.cumprod(1 + np.tile([0.01, -0.01], 40))[:, None]
    volatility = trailing_volatility(closes, window=4)
    assert np.isnan(volatility[:4]).all()
    np.testing.assert_allclose(volatility[4:, 0], np.std([0.01, -0.01, 0.01, -0.01], ddof=1), rtol=1e-9)


def test_forward_returns_end_where_knowledge_ends() -> None:
    closes = np.array([[1.0], [2.0], [4.0], [8.0]])
    np.testing.assert_array_equal(forward_returns(closes, start=1, end=2)[:, 0], [1.0, 1.0, np.nan, np.nan])


def test_shuffled_targets_keep_their_values_and_nothing_else(samples: Samples) -> None:
    shuffled = samples.shuffled_targets(seed=1)
    usable = samples.usable
    np.testing.assert_array_equal(np.sort(shuffled.targets[usable]), np.sort(samples.targets[usable]))
    assert not np.array_equal(shuffled.targets[usable], samples.targets[usable])


def test_restricting_a_panel_keeps_its_order_and_its_revisions(panel: Panel) -> None:
    changes = Revisions(
        known_ns=panel.knowledge_times_ns[[50, 60]] + 1,
        time=np.array([50, 60]),
        instrument=np.array([1, 4]),
        before=np.array([1.5, 2.5]),
        after=np.array([panel.values[50, 1], panel.values[60, 4]]),
    )
    revised = replace(panel, revisions=changes)
    kept = restrict(revised, ("S4", "S2"))
    assert kept.instruments == ("S2", "S4")
    np.testing.assert_array_equal(kept.values, panel.values[:, [2, 4]])
    np.testing.assert_array_equal(kept.revisions.instrument, [1])
    earlier = kept.until(int(panel.knowledge_times_ns[60]))
    assert earlier.values[60, 1] == 2.5
    assert restrict(revised, panel.instruments) is revised


class TestRefusals:
    def test_other_instruments(self, matrix: FeatureMatrix, panel: Panel, calendar: Calendar) -> None:
        other = replace(panel, instruments=tuple(reversed(panel.instruments)))
        with pytest.raises(SamplesError, match="same instruments in the same order"):
            make_samples(matrix, other, calendar=calendar, horizon_sessions=5, execution_lag_sessions=1)

    def test_other_sessions(self, matrix: FeatureMatrix, panel: Panel, calendar: Calendar) -> None:
        with pytest.raises(SamplesError, match="over the same sessions"):
            make_samples(
                matrix,
                panel.until(int(panel.knowledge_times_ns[900])),
                calendar=calendar,
                horizon_sessions=5,
                execution_lag_sessions=1,
            )

    def test_a_session_left_out(self, panel: Panel, feature_set: FeatureSet, calendar: Calendar) -> None:
        kept = np.arange(len(panel.values)) != 700
        gapped = replace(
            panel,
            values=panel.values[kept],
            event_times_ns=panel.event_times_ns[kept],
            knowledge_times_ns=panel.knowledge_times_ns[kept],
        )
        with pytest.raises(SamplesError, match=r"all 1260 sessions of XNYS .* found 1259"):
            make_samples(
                compute(feature_set, gapped), gapped, calendar=calendar, horizon_sessions=5, execution_lag_sessions=1
            )

    def test_a_horizon_longer_than_history(self, panel: Panel, feature_set: FeatureSet, calendar: Calendar) -> None:
        short = panel.until(int(panel.knowledge_times_ns[5]))
        with pytest.raises(SamplesError, match="more than 6 sessions"):
            make_samples(
                compute(feature_set, short), short, calendar=calendar, horizon_sessions=5, execution_lag_sessions=1
            )

    def test_nothing_known(self, panel: Panel, matrix: FeatureMatrix, calendar: Calendar) -> None:
        empty = panel.until(0)
        nothing = replace(
            matrix,
            values=matrix.values[:0],
            event_times_ns=empty.event_times_ns,
            knowledge_times_ns=empty.knowledge_times_ns,
        )
        with pytest.raises(SamplesError, match="at least one session"):
            make_samples(nothing, empty, calendar=calendar, horizon_sessions=5, execution_lag_sessions=1)

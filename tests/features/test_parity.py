"""Batch, online and brute force give the same bits: gaps, late rows, restatements and restarts included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import batch
from features.batch import compute
from features.blobs import BlobStore
from features.definition import Feature, FeatureSet, feature
from features.errors import KernelError, PanelError
from features.evaluate import across, evaluate, quiet
from features.online import OnlineFeatures
from features.panel import Panel
from features.registry import built_in
from features.snapshot import write_snapshot
from features.source import SourceTerms

Floats = npt.NDArray[np.float64]
Rows = list[tuple[str, int, int, int, float]]
INPUT = "close_adjusted_final"
DAY = 86_400 * 10**9


@feature(inputs=(INPUT,), window=9, min_rows=4, missing="latest", unit="ratio", owner="tests")
def gappy(close: Floats) -> Floats:
    """Deals with gaps itself: the newest over the mean of what is there."""
    there = np.isfinite(close)
    return np.asarray(close[:, -1] / (np.where(there, close, 0.0).sum(-1) / there.sum(-1)))


@feature(inputs=(INPUT, "volume"), window=5, unit="ratio", owner="tests")
def weighted(close: Floats, volume: Floats) -> Floats:
    """Reads two inputs: the newest close over the volume-weighted mean."""
    return np.asarray(close[:, -1] * volume.sum(-1) / (close * volume).sum(-1))


SHORT = FeatureSet(
    (
        *(each for each in built_in().values() if each.reach <= 22 and {*FeatureSet((each,)).inputs} == {INPUT}),
        gappy,
        built_in()["distance_from_mean_50"],
    )
)


def a_feature(name: str, kernel: Callable[..., Floats], inputs: tuple[str, ...], window: int, **more: Any) -> Feature:
    declared = {"min_rows": window, "unit": "?", "owner": "nobody", **more}
    return Feature(name=name, kernel=kernel, inputs=inputs, window=window, **declared)


def made_up(seed: int, rows: int = 90, gap_share: float = 0.03, name: str = INPUT) -> Panel:
    rng = np.random.default_rng(seed)
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, 5)), axis=0))
    values[rng.random(values.shape) < gap_share] = np.nan
    times = np.arange(1, rows + 1, dtype=np.int64) * DAY
    return Panel(name, values, times, times + 1, tuple("ABCDE"))


def same_bits(one: Floats, other: Floats) -> bool:
    return bool((one.view(np.uint64) == other.view(np.uint64)).all())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), gap_share=st.sampled_from([0.0, 0.02, 0.3, 1.0]))
def test_batch_and_online_agree_to_the_bit(seed: int, gap_share: float) -> None:
    panel = made_up(seed, gap_share=gap_share)
    matrix = compute(SHORT, panel)
    online = OnlineFeatures(SHORT, panel.instruments)
    for row, event in enumerate(panel.event_times_ns.tolist()):
        assert same_bits(online.push(event, {INPUT: panel.values[row]}), matrix.values[row]), row


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), start=st.integers(0, 88))
def test_a_restart_changes_nothing_once_the_window_is_full(seed: int, start: int) -> None:
    panel = made_up(seed)
    fresh = OnlineFeatures(SHORT, panel.instruments)
    for row in range(max(0, start - SHORT.max_window + 1), start + 1):
        fresh.take(int(panel.event_times_ns[row]), {INPUT: panel.values[row]})
    assert same_bits(fresh.latest(), compute(SHORT, panel).values[start])


@pytest.mark.parametrize("chunk_bytes", [1, 5_000, 1 << 30])
def test_the_size_of_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    panel = made_up(3)
    expected = compute(SHORT, panel).values
    monkeypatch.setattr(batch, "_CHUNK_BYTES", chunk_bytes)
    assert same_bits(compute(SHORT, panel).values, expected)


def test_the_layout_of_the_panel_changes_nothing() -> None:
    panel = made_up(4)
    turned = replace(panel, values=np.asfortranarray(panel.values))
    assert same_bits(compute(SHORT, turned).values, compute(SHORT, panel).values)


def by_brute_force(feature_set: FeatureSet, rows: Rows, panel: Panel) -> Floats:
    """Each row from what was known at its own knowledge time, cell by cell from the rows themselves."""
    values = np.empty((len(panel.event_times_ns), len(panel.instruments), len(feature_set)))
    for at, known_at in enumerate(panel.knowledge_times_ns.tolist()):
        window = np.full((len(panel.instruments), feature_set.max_window), np.nan)
        for column, name in enumerate(panel.instruments):
            for back in range(min(at + 1, feature_set.max_window)):
                event = int(panel.event_times_ns[at - back])
                versions = [row for row in rows if row[0] == name and row[1] == event and row[2] <= known_at]
                if versions:
                    window[column, -1 - back] = max(versions, key=lambda row: (row[2], row[3]))[4]
        values[at] = from_windows(feature_set, window)
    return values


def from_windows(feature_set: FeatureSet, window: Floats) -> Floats:
    """Every feature [instrument, feature] from windows [instrument, row] of one input, each evaluated on its own."""
    found: dict[Feature, Floats] = {}
    with quiet():
        for each in sorted(feature_set.computed, key=lambda each: each.depth):
            if each.across:
                found[each] = across(each, [found[parent][None] for parent in each.parents])[0]
            else:
                found[each] = evaluate(each, [np.ascontiguousarray(window[:, -each.window :])])
    return np.stack([found[each] for each in feature_set.features], axis=1)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_row_uses_only_what_was_known_then(
    tmp_path_factory: pytest.TempPathFactory,
    source: SourceTerms,
    random_rows: Callable[..., Rows],
    seed: int,
) -> None:
    import polars as pl

    rows = random_rows(seed, days=24)
    schema = ["instrument", "event_time_ns", "knowledge_time_ns", "sequence", INPUT]
    snapshot = write_snapshot(
        pl.DataFrame(rows, schema=schema, orient="row"),
        source_name="s",
        source=source,
        store=BlobStore(tmp_path_factory.mktemp("blobs")),
    )
    feature_set = FeatureSet((built_in()["return_5"], built_in()["rank_return_5"], gappy))
    panel = snapshot.panel(INPUT, known_at_ns=100 * DAY)
    matrix = compute(feature_set, panel)
    assert same_bits(matrix.values, by_brute_force(feature_set, rows, panel))
    cut = snapshot.panel(INPUT, known_at_ns=15 * DAY)
    count = len(cut.event_times_ns)
    shared = np.isin(panel.event_times_ns[:count], cut.event_times_ns).all()
    if shared:  # no session all of whose rows came later
        assert same_bits(compute(feature_set, cut).values, matrix.values[:count])


def test_a_restatement_changes_the_newest_row_when_it_is_known() -> None:
    panel = made_up(5, gap_share=0.0)
    online = OnlineFeatures(SHORT, panel.instruments)
    for row, event in enumerate(panel.event_times_ns.tolist()):
        online.take(event, {INPUT: panel.values[row]})
    changed = panel.values.copy()
    changed[-3, 1] = 55.5
    only = np.full(5, np.nan)
    only[1] = 55.5
    found = online.restate(int(panel.event_times_ns[-3]), {INPUT: only})
    assert same_bits(found, compute(SHORT, replace(panel, values=changed)).values[-1])


def test_a_restatement_older_than_the_window_touches_nothing() -> None:
    panel = made_up(5)
    online = OnlineFeatures(SHORT, panel.instruments)
    for row, event in enumerate(panel.event_times_ns.tolist()):
        online.take(event, {INPUT: panel.values[row]})
    assert same_bits(online.restate(int(panel.event_times_ns[0]), {INPUT: np.ones(5)}), online.latest())


def test_two_inputs_are_read_in_the_order_declared() -> None:
    close, volume = made_up(1), made_up(2, name="volume")
    both = FeatureSet((weighted,))
    matrix = compute(both, {INPUT: close, "volume": volume})
    online = OnlineFeatures(both, close.instruments)
    for row, event in enumerate(close.event_times_ns.tolist()):
        given = {"volume": volume.values[row], INPUT: close.values[row]}
        assert same_bits(online.push(event, given), matrix.values[row])
    prices, volumes = close.values[5:10, 0], volume.values[5:10, 0]
    expected = prices[-1] / (prices * volumes).sum() * volumes.sum()
    np.testing.assert_allclose(matrix.values[9, 0, 0], expected)


def present_share(close: Floats) -> Floats:
    return np.asarray(np.isfinite(close).mean(-1))


def first_input_alone(close: Floats, volume: Floats) -> Floats:
    return np.asarray(close[:, -1])


def test_what_is_missing_is_missing_whatever_the_kernel_makes_of_it() -> None:
    panel = made_up(6, rows=9, gap_share=0.0)
    panel.values[-1, 0] = np.nan
    panel.values[-4, 1] = np.nan
    panel.values[-4:-2, 2] = np.nan
    latest = a_feature("one", present_share, (INPUT,), 4, min_rows=3, missing="latest")
    strict = a_feature("two", present_share, (INPUT,), 4, min_rows=4, missing="strict")
    values = compute(FeatureSet((latest, strict)), panel).values[-1]
    np.testing.assert_array_equal(values[:, 0], [np.nan, 0.75, np.nan, 1.0, 1.0])
    np.testing.assert_array_equal(values[:, 1], [np.nan, np.nan, np.nan, 1.0, 1.0])
    assert np.isnan(compute(FeatureSet((latest, strict)), panel).values[:2]).all()


def test_a_value_missing_in_any_input_is_missing() -> None:
    close, volume = made_up(1, gap_share=0.0), made_up(2, gap_share=0.0, name="volume")
    volume.values[-2, 3] = np.nan
    both = a_feature("both", first_input_alone, (INPUT, "volume"), 2, min_rows=2, missing="strict")
    values = compute(FeatureSet((both,)), {INPUT: close, "volume": volume}).values[-2:, :, 0]
    assert np.isnan(values[:, 3]).all()
    assert np.isfinite(np.delete(values, 3, axis=1)).all()


# -- refusals -------------------------------------------------------------------------------------------------------


def test_a_missing_input_and_panels_that_differ() -> None:
    both = FeatureSet((weighted,))
    with pytest.raises(PanelError, match="add volume"):
        compute(both, made_up(1))
    with pytest.raises(PanelError, match="the same times and instruments"):
        compute(both, {INPUT: made_up(1), "volume": made_up(2, rows=80, name="volume")})


def test_rows_that_cannot_be_taken() -> None:
    online = OnlineFeatures(SHORT, ("A", "B"))
    with pytest.raises(PanelError, match="push it first"):
        online.restate(5, {INPUT: np.ones(2)})
    online.push(10, {INPUT: np.ones(2)})
    with pytest.raises(PanelError, match="after 10, found an older one"):
        online.push(10, {INPUT: np.ones(2)})
    with pytest.raises(PanelError, match=r"expected 2 values, one per instrument, found shape \(3,\)"):
        online.push(11, {INPUT: np.ones(3)})
    with pytest.raises(PanelError, match="give 'close_adjusted_final' its values"):
        online.push(11, {"close": np.ones(2)})
    with pytest.raises(PanelError, match="found volume"):
        online.restate(10, {"volume": np.ones(2)})
    online.push(11, {INPUT: np.ones(2)})


def scalar(close: Floats) -> Floats:
    return close.sum()  # type: ignore[no-any-return]  # wrong on purpose


def other_dtype(close: Floats) -> Floats:
    return close[:, -1].astype(np.float32)  # type: ignore[return-value]  # wrong on purpose


def writes(close: Floats) -> Floats:
    close[:, 0] = 1.0
    return np.asarray(close[:, 0])


@pytest.mark.parametrize(
    ("kernel", "message"),
    [(scalar, "found float64"), (other_dtype, r"found float32 \(\d+,\)"), (writes, "may not be written to")],
)
def test_kernels_that_break_their_declaration(kernel: Callable[..., Floats], message: str) -> None:
    broken = a_feature("broken", kernel, (INPUT,), 2, min_rows=2, missing="strict")
    with pytest.raises(KernelError, match=message):
        compute(FeatureSet((broken,)), made_up(1))


def infinite(close: Floats) -> Floats:
    return np.asarray(close[:, -1] / 0.0)


def negative_zero(close: Floats) -> Floats:
    return np.asarray(close[:, -1] * -0.0)


def odd_nan(close: Floats) -> Floats:
    return np.full(len(close), np.uint64(0xFFF8_0000_0000_1234)).view(np.float64)


@pytest.mark.parametrize(("kernel", "bits"), [(infinite, 0x7FF8 << 48), (odd_nan, 0x7FF8 << 48), (negative_zero, 0)])
def test_results_are_canonical(kernel: Callable[..., Floats], bits: int) -> None:
    one = a_feature("one", kernel, (INPUT,), 1, min_rows=1, missing="strict")
    values = compute(FeatureSet((one,)), made_up(1, gap_share=0.0)).values
    assert set(np.unique(values.view(np.uint64)).tolist()) == {bits}

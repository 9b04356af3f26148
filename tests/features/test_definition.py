from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from features.anchor import Anchor
from features.definition import Feature, FeatureSet, Floats, feature
from features.errors import DefinitionError
from features.registry import available, built_in

Load = Callable[..., ModuleType]

HELPERS = """
def ratio(a, b):
    return a / b
"""

FEATURE = """
import math
import numpy as np
from features.anchor import Anchor
from features.definition import feature
import project_helpers
from project_helpers import ratio

LAG = 2

@feature(inputs=("close",), window=4, unit="share", owner="me")
def my_return(close):
    '''A return.'''
    # over two rows
    return ratio(close[:, -1], close[:, -1 - LAG]) - 1.0
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Writes Python text as a module of a project outside and imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(1000))
    loaded: list[str] = []

    def load_text(text: str, helpers: str = HELPERS) -> ModuleType:
        for name, body in (("project_helpers", helpers), (f"project_features_{next(count)}", text)):
            path = tmp_path / f"{name}_{len(loaded)}.py"
            path.write_text(body)
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            loaded.append(name)
            spec.loader.exec_module(module)
        return module

    yield load_text
    for name in loaded:
        sys.modules.pop(name, None)


def identity_of(module: ModuleType, name: str = "my_return") -> str:
    found = getattr(module, name)
    assert isinstance(found, Feature)
    return found.identity


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("'''A return.'''", "'''Another word for it.'''"),
        ("    # over two rows\n", "\n\n"),
        ("def my_return(close)", "def my_return(close: 'Floats') -> 'Floats'"),
        ("close[:, -1 - LAG]", "close[ :, (-1 - LAG) ]"),
        ('unit="share", owner="me"', 'owner="you", unit="per cent"'),
        ('owner="me"', 'owner="me", version=2, formula="a / b", source="a book", tested_on="nothing"'),
    ],
    ids=["docstring", "comment", "annotations", "layout", "owner and unit", "version and words"],
)
def test_what_does_not_change_the_computation_does_not_change_the_identity(load: Load, old: str, new: str) -> None:
    assert old in FEATURE
    assert identity_of(load(FEATURE.replace(old, new))) == identity_of(load(FEATURE))


def test_a_rename_changes_the_set_but_not_the_identity(load: Load) -> None:
    one = load(FEATURE).my_return
    other = load(FEATURE.replace("def my_return", "def your_return")).your_return
    assert other.identity == one.identity
    assert FeatureSet((other,)).feature_set_id != FeatureSet((one,)).feature_set_id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- 1.0", "- 1.5"),
        ("LAG = 2", "LAG = 1"),
        ("window=4", "window=5"),
        ('inputs=("close",)', 'inputs=("open",)'),
        ("window=4", "window=4, time_to_live_sessions=2"),
        ("window=4", 'window=4, missing="latest"'),
        ("window=4", 'window=4, missing="latest", min_rows=3'),
        ("window=4", 'window=4, missing="latest", span_ns=10**9'),
        ("window=4", 'window=4, clock="event"'),
        ("window=4", "window=4, freshness_sessions=2"),
        ("window=4", 'window=4, kind="exact_accum"'),
        ("window=4", 'window=4, kind="exact_accum", contribution_rows=2'),
        ("window=4", 'window=4, missing="latest", kind="scan", anchor=Anchor("year"), states=2'),
        ("window=4", 'kind="cross_section", universe="panel", cut_off="decision"'),
        ("ratio(close[:, -1]", "project_helpers.ratio(close[:, -1]"),
    ],
)
def test_what_changes_the_computation_changes_the_identity(load: Load, old: str, new: str) -> None:
    assert old in FEATURE
    assert identity_of(load(FEATURE.replace(old, new))) != identity_of(load(FEATURE))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('kind="scan", anchor=Anchor("year"), states=2', 'kind="scan", anchor=Anchor("month"), states=2'),
        ('kind="scan", anchor=Anchor("year"), states=2', 'kind="scan", anchor=Anchor("year", before=1), states=2'),
        ('kind="scan", anchor=Anchor("year"), states=2', 'kind="scan", anchor=Anchor("year"), states=3'),
        ("span_ns=10**9", "span_ns=10**10"),
    ],
)
def test_every_parameter_of_a_kind_counts(load: Load, one: str, other: str) -> None:
    texts = [FEATURE.replace("window=4", f'window=4, missing="latest", {each}') for each in (one, other)]
    assert identity_of(load(texts[0])) != identity_of(load(texts[1]))


def test_a_change_in_a_feature_that_is_read_changes_the_reader(load: Load) -> None:
    reader = """

@feature(inputs=(my_return,), kind="cross_section", universe="panel", cut_off="decision", unit="share", owner="me")
def my_rank(value):
    return value
"""
    one, same, other = (
        identity_of(load(text + reader), "my_rank")
        for text in (
            FEATURE,
            FEATURE.replace("def my_return", "def my_return  "),
            FEATURE.replace("LAG = 2", "LAG = 1"),
        )
    )
    assert one == same
    assert one != other
    members = reader.replace('universe="panel"', 'universe="member"')
    assert identity_of(load(FEATURE + members), "my_rank") != one


def test_a_change_in_a_helper_of_a_helper_changes_the_identity(load: Load) -> None:
    deep = "def ratio(a, b):\n    return _inner(a, b)\n\ndef _inner(a, b, scale={}):\n    return a / b * scale\n"
    one, same, other = (identity_of(load(FEATURE, deep.format(scale))) for scale in ("1.0", "1.0", "2.0"))
    assert one == same
    assert one != other


def test_a_helper_reached_through_its_module_counts_too(load: Load) -> None:
    text = FEATURE.replace("return ratio(", "return project_helpers.ratio(")
    one = identity_of(load(text))
    assert identity_of(load(text, HELPERS.replace("a / b", "b / a"))) != one


def test_a_closed_over_constant_counts(load: Load) -> None:
    text = """
from features.definition import feature

def over(rows):
    @feature(inputs=("close",), window=9, unit="share", owner="me")
    def my_return(close):
        return close[:, -1] / close[:, -rows] - 1.0
    return my_return

three, also_three, four = over(3), over(3), over(4)
"""
    module = load(text)
    assert module.three.identity == module.also_three.identity
    assert module.three.identity != module.four.identity


def test_a_default_that_comes_from_elsewhere_counts(load: Load) -> None:
    text = FEATURE.replace("def my_return(close)", "def my_return(close, scale=SCALE)")
    one, same, other = (identity_of(load(f"SCALE = {value}\n{text}")) for value in ("(1, 2.0)", "(1, 2.0)", "(1, 3.0)"))
    assert one == same
    assert one != other
    with pytest.raises(DefinitionError, match="immutable default for scale, found list"):
        identity_of(load(f"SCALE = []\n{text}"))


def test_a_wrapped_function_is_refused(load: Load) -> None:
    helpers = "import functools\n\n@functools.cache\ndef ratio(a, b):\n    return a / b\n"
    with pytest.raises(DefinitionError, match="found ratio"):
        identity_of(load(FEATURE, helpers))
    wrapping = """
import functools

def doubled(function):
    @functools.wraps(function)
    def inner(*given):
        return 2 * function(*given)
    return inner

@doubled
def ratio(a, b):
    return a / b
"""
    with pytest.raises(DefinitionError, match="ratio: expected a plain function, found a wrapped one"):
        identity_of(load(FEATURE, wrapping))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.random.default_rng().normal(size=len(close))", "np.random.default_rng"),
        ("return close[:, 0] * time.time()", "time.time"),
        ("return close[:, 0] * len(open('/etc/hosts').read())", "found open"),
        ("return close[:, 0] * STATE[0]", "found STATE"),
        ("import os\n    return close[:, 0]", "line 12: expected a pure function, found Import"),
        ("global LAG\n    return close[:, 0]", "found Global"),
        ("return close[:, 0] * nowhere", "expected defined names, found nowhere"),
        ("return np.load('x.npy')", "np.load"),
        ("return close[:, 0] * eval('1')", "found eval"),
        ("return [os.getpid() for _ in close]", "os.getpid"),
        ("return (lambda x: x * time.time())(close)", "time.time"),
        ("return close.base[:, 0]", "found .base, which leads beyond it"),
        ("close.flags.writeable = True", "found .flags"),
        ("return np.lib.stride_tricks.as_strided(close, (1, 9))[0]", "as_strided"),
        ("return np.ctypeslib.as_array(close.ctypes)", "found .ctypes"),
    ],
)
def test_what_is_not_pure_is_refused_by_name(load: Load, body: str, message: str) -> None:
    text = f"""
import os
import time
import numpy as np
from features.definition import feature

LAG = 2
STATE = [1.0]

@feature(inputs=("close",), window=4, unit="share", owner="me")
def my_return(close):
    {body}
"""
    module = load(text)
    with pytest.raises(DefinitionError) as caught:
        assert identity_of(module)
    if "line 12" not in message:
        assert message in str(caught.value)
    assert "my_return" in str(caught.value)


def test_a_function_without_source_is_refused() -> None:
    made: dict[str, Callable[..., Floats]] = {}
    exec("def sourceless(close): return close[:, 0]", made)  # what a REPL does
    declared = feature(inputs=("close",), window=1, unit="share", owner="me")(made["sourceless"])
    with pytest.raises(DefinitionError, match="source can be read"):
        assert declared.identity


def plain(close: Floats) -> Floats:
    """First line.

    Second line.
    """
    return np.asarray(close[:, 0])


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"inputs": ()}, "at least one input"),
        ({"window": 0}, "1 <= min_rows <= window"),
        ({"window": 3, "min_rows": 4, "missing": "latest"}, "1 <= min_rows <= window"),
        ({"window": 3, "min_rows": 2}, "say missing='latest'"),
        ({"kind": "fold"}, "expected kind to be one of window, exact_accum, scan, cross_section, found 'fold'"),
        ({"missing": "zero"}, "expected missing to be one of strict, latest, found 'zero'"),
        ({"clock": "tick"}, "expected clock to be one of session, event, found 'tick'"),
        ({"time_to_live_sessions": 0}, "time_to_live_sessions"),
        ({"freshness_sessions": 0}, "freshness_sessions of at least 1, found 0"),
        ({"version": 0}, "version of at least 1, found 0"),
        ({"contribution_rows": 2}, "contribution_rows of an exact_accum alone, found a window"),
        ({"span_ns": 5}, "missing='latest' with span_ns"),
        ({"span_ns": 0, "missing": "latest"}, "span_ns of at least 1"),
        ({"span_ns": 5, "missing": "latest", "kind": "exact_accum"}, "of a window, found 5 of kind exact_accum"),
        ({"kind": "scan", "states": 2, "missing": "latest"}, "a scan to declare its anchor, found none; a recursion"),
        ({"kind": "scan", "anchor": Anchor("year"), "missing": "latest"}, "states of at least 1, found 0"),
        ({"kind": "scan", "anchor": Anchor("year"), "states": 1}, "missing='latest' of a scan"),
        ({"anchor": Anchor("year")}, "anchor and states of a scan alone"),
        ({"universe": "panel"}, "universe and cut_off of a cross-section alone"),
        ({"kind": "cross_section", "window": 1}, "to declare universe and cut_off, found no universe, no cut_off"),
        ({"kind": "cross_section", "universe": "panel", "cut_off": "decision"}, "compute the window in a feature"),
        ({"inputs": (built_in()["return_5"],)}, r"panels as inputs of a window, found features \(return_5\)"),
    ],
)
def test_declarations_that_are_refused(declared: dict[str, object], message: str) -> None:
    given = {"inputs": ("close",), "window": 2, "unit": "share", "owner": "me", **declared}
    with pytest.raises(DefinitionError, match=message):
        feature(**given)(plain)  # type: ignore[arg-type]  # wrong on purpose


def test_an_anchor_of_no_period_is_refused() -> None:
    for wrong in ({"period": "fortnight"}, {"period": "year", "before": -1}):
        with pytest.raises(DefinitionError, match="expected a period of day, week, month, quarter, year"):
            Anchor(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_a_feature_takes_its_name_and_description_from_its_function() -> None:
    declared = feature(inputs=("close",), window=2, unit="share", owner="me")(plain)
    assert (declared.name, declared.description, declared.min_rows) == ("plain", "First line.", 2)
    assert declared.alias == "plain@v1"


def test_a_set_computes_what_its_features_read() -> None:
    there = built_in()
    alone = FeatureSet((there["rank_return_5"],))
    assert [each.name for each in alone.computed] == ["rank_return_5", "return_5"]
    assert (alone.inputs, alone.max_window, len(alone)) == (("close_adjusted_final",), 6, 1)
    assert FeatureSet((there["rsi_14"],)).max_window == there["rsi_14"].window + 1
    assert FeatureSet((there["on_balance_volume_63"],)).max_window == 64


def test_a_set_knows_its_columns() -> None:
    there = built_in()
    chosen = FeatureSet((there["return_5"], there["return_1"]))
    assert chosen.names == ("return_5", "return_1")
    assert chosen.max_window == 6
    assert chosen.inputs == ("close_adjusted_final",)
    assert len(chosen) == 2
    turned = FeatureSet(chosen.features[::-1])
    assert turned.feature_set_id != chosen.feature_set_id
    assert len(bytes.fromhex(chosen.feature_set_id)) == 32


def test_a_set_is_neither_empty_nor_doubled() -> None:
    with pytest.raises(DefinitionError, match="found none"):
        FeatureSet(())
    one = built_in()["return_5"]
    with pytest.raises(DefinitionError, match="found return_5 twice"):
        FeatureSet((one, one))


def test_identities_differ_between_features() -> None:
    everything = available().values()
    assert len({each.identity for each in everything}) == len(everything)

import pytest

from features.clock import Clock, ReplayClock, SystemClock
from features.errors import ClockError


def test_replay_clock_stands_where_it_was_put() -> None:
    clock: Clock = ReplayClock("replay")
    assert clock.now_ns() == 0
    assert isinstance(clock, ReplayClock)
    clock.advance_to(7)
    clock.advance_to(7)
    assert clock.now_ns() == 7


def test_replay_clock_refuses_to_go_back() -> None:
    clock = ReplayClock("replay")
    clock.advance_to(7)
    with pytest.raises(ClockError, match="at least 7, found 6"):
        clock.advance_to(6)
    assert clock.now_ns() == 7


@pytest.mark.parametrize("environment", ["prod", "paper", "", "Replay"])
def test_replay_clock_exists_in_replay_alone(environment: str) -> None:
    with pytest.raises(ClockError, match="expected environment 'replay'"):
        ReplayClock(environment)


def test_system_clock_is_after_this_test_was_written() -> None:
    assert SystemClock().now_ns() > 1_700_000_000_000_000_000

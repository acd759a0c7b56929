"""How long nothing is placed after a start without data."""

import pytest

from shared.registry.settling import settling_ms


@pytest.mark.parametrize(
    ("since_ms", "now_ms", "left_ms"),
    [
        pytest.param(0, 10_000, 0, id="nobody has started"),
        pytest.param(10_000, 10_000, 6_000, id="just now"),
        pytest.param(10_000, 15_999, 1, id="the last moment"),
        pytest.param(10_000, 16_000, 0, id="over"),
        pytest.param(10_001, 10_000, 0, id="a clock was set back"),
    ],
)
def test_it_takes_so_long(since_ms, now_ms, left_ms):
    assert settling_ms(since_ms, 6_000, now_ms) == left_ms

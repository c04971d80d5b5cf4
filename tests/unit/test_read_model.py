"""How much of the time the board takes."""

from streams.web.read_model import RefreshCooldown


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_work_is_followed_by_nine_times_as_much_rest() -> None:
    clock = Clock()
    rest = RefreshCooldown(clock)
    assert not rest.is_fresh_enough(clock.now)

    rest.extend(0.5)
    clock.now += 4.4
    assert rest.is_fresh_enough(100)
    clock.now += 0.2
    assert not rest.is_fresh_enough(100)


def test_rests_add_up_but_never_beyond_ten_seconds() -> None:
    clock = Clock()
    rest = RefreshCooldown(clock)

    rest.extend(0.1)
    rest.extend(0.1)
    clock.now += 1.7
    assert rest.is_fresh_enough(100)
    rest.extend(60)
    clock.now += 9.9
    assert rest.is_fresh_enough(100)
    clock.now += 0.2
    assert not rest.is_fresh_enough(100)


def test_work_without_end_never_keeps_what_is_looked_at_behind_for_long() -> None:
    clock = Clock()
    rest = RefreshCooldown(clock)

    spared = 0
    while rest.is_fresh_enough(100) or not spared:
        rest.extend(0.9)
        clock.now += 1
        spared += 1

    assert spared == 20
    assert rest.is_fresh_enough(clock.now)

"""How much of the time the board takes."""

from streams.web.read_model import Rest


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_work_is_followed_by_nine_times_as_much_rest() -> None:
    clock = Clock()
    rest = Rest(clock)
    assert not rest.spares(clock.now)

    rest.after(0.5)
    clock.now += 4.4
    assert rest.spares(100)
    clock.now += 0.2
    assert not rest.spares(100)


def test_rests_add_up_but_never_beyond_ten_seconds() -> None:
    clock = Clock()
    rest = Rest(clock)

    rest.after(0.1)
    rest.after(0.1)
    clock.now += 1.7
    assert rest.spares(100)
    rest.after(60)
    clock.now += 9.9
    assert rest.spares(100)
    clock.now += 0.2
    assert not rest.spares(100)


def test_work_without_end_never_keeps_what_is_looked_at_behind_for_long() -> None:
    clock = Clock()
    rest = Rest(clock)

    spared = 0
    while rest.spares(100) or not spared:
        rest.after(0.9)
        clock.now += 1
        spared += 1

    assert spared == 20
    assert rest.spares(clock.now)

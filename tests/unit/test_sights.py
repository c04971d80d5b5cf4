"""How much of the time the board takes."""

from deploy.board.sights import Rest


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_work_is_followed_by_nine_times_as_much_rest() -> None:
    clock = Clock()
    rest = Rest(clock)
    assert not rest.is_on

    rest.after(0.5)
    clock.now += 4.4
    assert rest.is_on
    clock.now += 0.2
    assert not rest.is_on


def test_rests_add_up_but_never_beyond_ten_seconds() -> None:
    clock = Clock()
    rest = Rest(clock)

    rest.after(0.1)
    rest.after(0.1)
    clock.now += 1.7
    assert rest.is_on
    rest.after(60)
    clock.now += 9.9
    assert rest.is_on
    clock.now += 0.2
    assert not rest.is_on

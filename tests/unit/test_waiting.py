"""Who waits for a gate, by hand."""

from models.domain.impact import waiting_for
from models.domain.schedule import picture
from tests.networks import TODAY, achieved, estimated, facts_of, key, planned, waits

PARK = [planned(1, "park/open", 10), estimated(2, "park/open", 30)]


def waiting(*events: object) -> list[tuple[str, str, int, int | None]]:
    """Give who waits for the park: through which milestone, how long after it, and with how much slack."""
    shown = picture(facts_of(*events), TODAY)  # type: ignore[arg-type]  # whatever the tests say
    return [
        ("/".join(one.standing.key[1:]), str(one.after), one.lag_days, one.slack_days)
        for one in waiting_for(shown, key("park/open"))
    ]


def test_those_who_would_move_first_come_first() -> None:
    held = [planned(3, "one/launch", 40), waits(4, "one/launch", "park/open", 30)]
    patient = [planned(5, "two/launch", 70), waits(6, "two/launch", "park/open", 30)]

    assert waiting(*PARK, *patient, *held) == [
        ("one/launch", "park/open", 30, 0),
        ("two/launch", "park/open", 30, 10),
    ]


def test_slack_adds_up_along_the_way() -> None:
    first = [planned(3, "one/launch", 65), waits(4, "one/launch", "park/open", 30)]
    second = [planned(5, "one/sale", 80), waits(6, "one/sale", "one/launch", 10)]

    assert waiting(*PARK, *first, *second) == [
        ("one/launch", "park/open", 30, 5),
        ("one/sale", "one/launch", 10, 10),
    ]


def test_nothing_moves_through_what_has_happened() -> None:
    done = [achieved(3, "one/launch", -3), waits(4, "one/launch", "park/open", 30)]
    second = [planned(5, "one/sale", 80), waits(6, "one/sale", "one/launch", 10)]

    assert waiting(*PARK, *done, *second) == [("one/sale", "one/launch", 10, None)]

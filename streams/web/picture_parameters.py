"""The query parameters that ask for another picture than the present: `day`, `as_of`, `compare` and `assume`.

Pages and API read them alike, except that the empty field of a form counts as absent on a page.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from aiohttp.web import Request

from models.domain.assumptions import MAX_ASSUMPTIONS
from models.domain.events import FIRST_YEAR, LAST_YEAR, SLUG_PATTERN
from models.domain.timestamps import day_of
from models.views.picture import PRESENT, PictureQuery
from models.views.queries import parse_as_of, parse_assumption, parse_data_date
from streams.web.errors import BadQuery


class PictureParameter(NamedTuple):
    """A parameter of a query."""

    description: str
    #: JSON schema of the value.
    schema: Mapping[str, Any]
    #: Raises `ValueError` with the reason.
    parse: Callable[[str], Any]
    is_repeatable: bool = False
    #: Longer than any time that a clock gives; links repeat the text.
    max_length: int = 64


def _parse_compared(text: str) -> PictureQuery:
    instant = parse_as_of(text)
    # Its day has to be one for which a schedule can be calculated.
    return PictureQuery(parse_data_date(day_of(instant).isoformat()), instant)


DAY: Final = "day"
AS_OF: Final = "as_of"
COMPARE: Final = "compare"
ASSUME: Final = "assume"
_TIME_SCHEMA: Final = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
_YEARS: Final = rf"^(19[{FIRST_YEAR % 100 // 10}-9]\d|20\d\d|{LAST_YEAR})-"
#: By name.
PICTURE_PARAMETERS: Final[Mapping[str, PictureParameter]] = {
    DAY: PictureParameter(
        f"The data date, a day of the years {FIRST_YEAR} to {LAST_YEAR}; else today in UTC.",
        {"type": "string", "format": "date", "pattern": _YEARS},
        parse_data_date,
    ),
    AS_OF: PictureParameter(
        "Count only what was said up to then: a time, or a day as its end in UTC. The newest stamp up to then counts.",
        _TIME_SCHEMA,
        parse_as_of,
    ),
    COMPARE: PictureParameter(
        "Say what moved since another day or time: what was known then is compared, on the day of it.",
        _TIME_SCHEMA | {"pattern": _YEARS},
        _parse_compared,
    ),
    ASSUME: PictureParameter(
        f"As if a day were the newest estimate of its milestone: `project/milestone@day`, at most {MAX_ASSUMPTIONS}.",
        {
            "type": "array",
            "items": {"type": "string", "pattern": f"^{SLUG_PATTERN}/{SLUG_PATTERN}@\\d{{4}}-\\d\\d-\\d\\d$"},
            "maxItems": MAX_ASSUMPTIONS,
        },
        lambda text: parse_assumption(text, "@"),
        is_repeatable=True,
        # Two slugs and a day.
        max_length=140,
    ),
}
#: Those that may stand in a query more than once.
REPEATABLE: Final = [name for name, parameter in PICTURE_PARAMETERS.items() if parameter.is_repeatable]


class PictureRequest(NamedTuple):
    """The picture that a request asks for."""

    picture: PictureQuery = PRESENT
    #: The picture with which it is compared.
    compared: PictureQuery | None = None
    #: The parameters as they were given, which the links of a page repeat.
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def is_present(self) -> bool:
        """Whether the answer is the present picture, alone."""
        return self.picture.is_present and self.compared is None


def read_picture(request: Request, today: date, *, is_form: bool) -> PictureRequest:
    """Return the picture that a request asks for; raises `BadQuery`.

    The data date of today is that of the present picture. With `is_form`, empty values count as absent.
    """
    given = [
        (name, text) for name in PICTURE_PARAMETERS for text in request.query.getall(name, ()) if text or not is_form
    ]
    values: dict[str, list[Any]] = {name: [] for name in PICTURE_PARAMETERS}
    for name, text in given:
        parameter = PICTURE_PARAMETERS[name]
        if len(text) > parameter.max_length:
            raise BadQuery(text=f"{name} is longer than {parameter.max_length} characters.")
        try:
            values[name].append(parameter.parse(text))
        except ValueError as error:
            raise BadQuery(text=f"{name} is {error}.") from None
    [day, as_of, compared] = [next(iter(values.get(name, ())), None) for name in (DAY, AS_OF, COMPARE)]
    picture = PictureQuery(None if day == today else day, as_of, tuple(values[ASSUME]))
    return PictureRequest(picture, compared, tuple(given))

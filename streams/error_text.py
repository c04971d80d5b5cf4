"""What an error of the database or of Kafka says, in one line, without what only its library's users need."""

import re
from typing import Final

from sqlalchemy.exc import DBAPIError

from models.database.engine import driver_message
from models.text import one_line

_MAX_LENGTH: Final = 500
#: SQLAlchemy refers to its documentation.
_BACKGROUND: Final = re.compile(r"\s*\(Background on this error at: [^)]*\)")
#: aiokafka prints its list of addresses as Python does.
_NO_BOOTSTRAP_SERVER: Final = "Unable to bootstrap from"


def describe_error(error: BaseException) -> str:
    """Return the text of an error, or the name of its type if it has none."""
    if isinstance(error, DBAPIError):
        return one_line(driver_message(error), _MAX_LENGTH)
    text = str(error)
    if _NO_BOOTSTRAP_SERVER in text:
        return "no bootstrap server answers"
    return one_line(_BACKGROUND.sub("", text), _MAX_LENGTH) or type(error).__name__

"""`milepost board`: checks what can be checked before anything starts, then serves the board."""

from deploy.listeners import bind_listeners
from models.configured_engine import open_configured_engine
from models.database.engine import check_schema
from models.database.rights import READER_TABLE_RIGHTS, require_table_rights
from models.settings import Settings


def run_board(settings: Settings) -> None:
    """Serve the board until it is asked to stop. Raises `MilepostError` when a check fails, before anything starts."""
    with open_configured_engine(settings) as engine:
        check_schema(engine)
        require_table_rights(engine, READER_TABLE_RIGHTS)
        with bind_listeners(settings) as sockets:
            # The checks above report without waiting for the web server to load.
            from streams.board import run_board_process  # noqa: PLC0415

            run_board_process(settings, engine, sockets)

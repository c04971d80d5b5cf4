"""Rights that are missing in PostgreSQL are named at the start of a command that needs them."""

from uuid import uuid4

from sqlalchemy import make_url, text
from typer.testing import CliRunner, Result

from deploy.cli import app
from models.database.engine import make_engine
from models.database.rights import require_table_rights
from tests.helpers.databases import connected, grant


def milepost(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments, prog_name="milepost")


def error_lines(*arguments: str) -> list[str]:
    result = milepost(*arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    return result.stderr.splitlines()


def test_a_role_that_may_only_read_can_look_and_a_worker_names_the_rights_it_lacks(
    postgresql_url: str, role_url: str
) -> None:
    role = make_url(role_url).username
    [line] = error_lines("status", "--database", role_url)
    assert f"may not be read by role {role}: permission denied" in line
    grant(postgresql_url, role_url, "SELECT")
    for arguments in (("status",), ("rebuild", "--diff")):
        assert milepost(*arguments, "--database", role_url).exit_code == 0
    [line] = error_lines("worker", "--database", role_url, "--web", "127.0.0.1:0")
    assert f"role {role} lacks INSERT, UPDATE, DELETE on checkpoints, dependencies, forecasts" in line
    grant(postgresql_url, role_url, "SELECT, INSERT, UPDATE, DELETE")
    require_table_rights(engine := make_engine(role_url))
    engine.dispose()


def test_a_role_that_may_not_create_tables_is_told_so_by_init(postgresql_url: str) -> None:
    role = f"r{uuid4().hex[:12]}"
    with connected(postgresql_url) as connection:
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    url = make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
    [line] = error_lines("init", "--database", url)
    assert f"role {role} may not create the tables: permission denied for schema public; run `milepost init` as" in line
    with connected(postgresql_url) as connection:
        connection.execute(text("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
    [line] = error_lines("status", "--database", url)
    assert f"has no schema that role {role} may use" in line
    with connected(postgresql_url) as connection:
        connection.execute(text(f"DROP ROLE {role}"))

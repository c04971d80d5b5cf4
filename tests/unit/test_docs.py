"""What the documents list is what there is."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from models.settings import Settings
from tests.unit.test_runbook import parse

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
DEPENDENCIES = [
    re.split(r"[^\w-]", requirement)[0]
    for requirements in (PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"].values())
    for requirement in requirements
]


@pytest.mark.parametrize("name", DEPENDENCIES)
def test_every_dependency_has_its_reason(name: str) -> None:
    assert re.search(rf"\b{name}\b", (CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    operations = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert f"MILEPOST_{name.upper()}`" in operations or f"…_{name.rsplit('_', maxsplit=1)[-1].upper()}`" in operations


#: A row of the table of settings: names, of which those behind the first may be cut, and the default.
_SETTING_ROW = re.compile(r"\| `MILEPOST_(\w+)`((?:, `…_\w+`)*) \| (?:`(.*?)`)? ?\|")


def documented_defaults() -> dict[str, str]:
    """Return the default of each setting as docs/operations.md has it; empty for none."""
    operations = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")
    defaults = {}
    for first, others, default in _SETTING_ROW.findall(operations.partition("\n## Starting")[0]):
        stem = first.rpartition("_")[0]
        for name in (first, *(f"{stem}_{ending}" for ending in re.findall(r"…_(\w+)", others))):
            defaults[name.lower()] = default
    return defaults


def test_the_table_of_settings_has_each_one_with_its_default() -> None:
    defaults = {name: field.default for name, field in Settings.model_fields.items()}

    assert documented_defaults() == {
        name: "" if default in (None, ()) else str(default).lower() if isinstance(default, bool) else str(default)
        for name, default in defaults.items()
    }


#: An instruction to remove topics, or records of them.
_LOSES_EVENTS = re.compile(
    r"\b(?:delete|remove|drop|recreate|empty)\s+(?:the\s+|this\s+|your\s+)?(?:`?[\w.-]*events`?\s+topic|topic\s+`?[\w.-]*events"
    r"|topics?\b)|kafka-topics\S*[^\n]*--delete|kafka-delete-records",
    re.IGNORECASE,
)
_TEXTS = [
    *(path for pattern in ("*.md", "docs/**/*.md") for path in CHECKOUT.glob(pattern)),
    *(
        path
        for package in ("models", "streams", "consumers", "deploy")
        for ending in ("py", "html", "yml", "yaml")
        for path in (CHECKOUT / package).rglob(f"*.{ending}")
    ),
]


@pytest.mark.parametrize(
    "text", ["delete the topic", "Delete topic milepost.events", "kafka-topics.sh --delete --topic x"]
)
def test_an_advice_that_loses_events_would_be_found(text: str) -> None:
    assert _LOSES_EVENTS.search(text)


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_nothing_advises_to_remove_a_topic_with_events_in_it(path: Path) -> None:
    assert _LOSES_EVENTS.search(" ".join(path.read_text(encoding="utf-8").split())) is None


DOCUMENTS = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")]
ARCHITECTURE = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_MODULE_FILE = r"`((?:models|streams|consumers|deploy)/[\w/]+\.py)`"
WAY_OF_AN_EVENT = re.findall(_MODULE_FILE, README.partition("## The way of an event")[2].partition("\n## ")[0])
#: A file, and the function, class or method in it that decides.
WALK = re.findall(rf"{_MODULE_FILE} → `([\w.]+)`", CONTRIBUTING.partition("## A newcomer's walk")[2])


@pytest.mark.parametrize("document", sorted(DOCUMENTS), ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("name", re.findall(_MODULE_FILE, ARCHITECTURE))
def test_every_file_that_the_architecture_names_is_there(name: str) -> None:
    assert (CHECKOUT / name).exists()


def test_the_way_of_an_event_begins_at_kafka_and_ends_at_the_web_server() -> None:
    assert (WAY_OF_AN_EVENT[0], WAY_OF_AN_EVENT[-1]) == ("streams/kafka/transport.py", "streams/web/server.py")


@pytest.mark.parametrize("name", WAY_OF_AN_EVENT)
def test_every_file_on_the_way_of_an_event_is_there(name: str) -> None:
    assert (CHECKOUT / name).exists()


def test_the_newcomers_walk_has_three_ways_of_at_most_three_steps() -> None:
    ways = re.split(r"\*\*\(.\)", CONTRIBUTING.partition("## A newcomer's walk")[2])[1:]

    assert [len(re.findall(rf"^\d\. {_MODULE_FILE} → ", way, re.MULTILINE)) for way in ways] == [3, 3, 3]


@pytest.mark.parametrize(("file", "name"), WALK)
def test_every_step_of_the_newcomers_walk_is_there(file: str, name: str) -> None:
    scope: list[ast.stmt] = ast.parse((CHECKOUT / file).read_text(encoding="utf-8")).body
    for part in name.split("."):
        [definition] = [node for node in scope if isinstance(node, _DEFINITIONS) and node.name == part]
        scope = definition.body


INSTALLATION = (CHECKOUT / "docs" / "installation.md").read_text(encoding="utf-8")
EXAMPLES = CHECKOUT / "docs" / "examples"
#: A row of the table of sizes: the figure, and the page that has it.
_SIZE_ROW = re.compile(r"^\| [^|]+ \| ([^|]+) \| \[\w+\]\((\w+\.md)(?:#[\w-]+)?\) \|$", re.MULTILINE)
#: A number, with its unit where one follows at once.
_FIGURE = re.compile(r"\d[\d,.]*(?: (?:MB|GB|ms|s|bytes)\b)?")


@pytest.mark.parametrize(("figures", "page"), _SIZE_ROW.findall(INSTALLATION.partition("## Sizing")[2]))
def test_a_figure_of_the_table_of_sizes_stands_in_the_page_that_it_names(figures: str, page: str) -> None:
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")

    assert _FIGURE.findall(figures)
    for figure in _FIGURE.findall(figures):
        assert figure in text, figure


def test_the_table_of_sizes_is_read() -> None:
    assert len(_SIZE_ROW.findall(INSTALLATION)) > 8


def test_a_worker_is_asked_where_its_example_listens() -> None:
    [listener] = re.findall(
        r"^MILEPOST_METRICS=(.+)$", (EXAMPLES / "worker.env").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert set(re.findall(r"curl --silent http://(\S+)/ready", INSTALLATION)) == {listener}


@pytest.mark.parametrize("name", ["database", "kafka"])
def test_the_service_reads_the_secrets_that_the_installation_writes(name: str) -> None:
    unit = (EXAMPLES / "milepost-worker.service").read_text(encoding="utf-8")

    assert f"LoadCredential={name}:/etc/milepost/{name}\n" in unit
    assert f"`{name}`" in INSTALLATION


#: Blocks that stand for an installation, where the commands of a checkout's demo are not run.
SHELL_COMMANDS = sorted(
    {
        command
        for document in DOCUMENTS
        for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for command in re.findall(r"^(?:\S+/bin/)?(milepost [^|>&#;]+?)(?: [|>&#;].*)?$", block, re.MULTILINE)
    }
)


@pytest.mark.parametrize("command", SHELL_COMMANDS)
def test_every_command_of_an_installation_is_one_that_there_is(command: str) -> None:
    if command != "milepost --version":
        parse(command)


def test_commands_of_installations_are_found() -> None:
    assert {"milepost init --partitions 12 --replication 3 --min-insync 2", "milepost worker"} <= set(SHELL_COMMANDS)

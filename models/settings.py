"""The only reader of configuration: flags win over the environment (`MILEPOST_…`), and that over `milepost.toml`."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableError

from models.errors import MilepostError
from models.failpoints import parse_failpoint
from models.text import printable

CONFIG_FILE: Final = "milepost.toml"
MAX_PORT: Final = 65535
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_PORT: Final = re.compile(r"[0-9]{1,5}")
_SERVER: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z_]+)://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})/?"
)
_environment: Final = os.environ  # noqa: TID251 - this is the one place that reads it
_ENVIRONMENT_PREFIX: Final = "MILEPOST_"
#: Names that Kubernetes makes for Services, and those of the tests: contract, section 5.
_PASSED_OVER: Final = re.compile(
    r"MILEPOST_(?:(?:.*_)?SERVICE_(?:HOST|PORT(?:_.*)?)|(?:.*_)?PORT_[0-9]+_.*|TEST_.*)|(?P<port>MILEPOST_(?:.*_)?PORT)"
)
#: Settings that may stand in a file, which `<name>_FILE` in the environment names.
_SECRETS: Final = ("kafka_password", "database")


class SettingsError(MilepostError):
    """A setting is invalid."""


class Settings(BaseSettings):
    """The settings of an operator: contract, section 5."""

    model_config = SettingsConfigDict(
        env_prefix="MILEPOST_", toml_file=CONFIG_FILE, extra="forbid", frozen=True, env_ignore_empty=True
    )

    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka: str = "127.0.0.1:9092"  # behind `kafka_security`, with which its schemes have to agree
    database: str = "sqlite:///.milepost/milepost.db"
    web: str = "127.0.0.1:8090"
    metrics: str | None = None  # a listener of its own for metrics and probes; without it they are on `web`
    #: Names to which the board and the API answer, besides addresses, localhost, the host of `web` and of `board_url`.
    web_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    board_url: str | None = None  # where people reach the board
    group: Annotated[str, Field(min_length=1, max_length=249)] = "milepost"
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 12
    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,200}$")] = "milepost"

    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca: Path | None = None
    kafka_certificate: Path | None = None
    kafka_key: Path | None = None

    #: The sources that may publish for each programme; a programme without an entry accepts any.
    allowed_sources: dict[str, list[str]] = {}

    batch: Annotated[int, Field(ge=1, le=100_000)] = 4000  # largest number of records in one transaction
    max_series: Annotated[int, Field(ge=0)] = (
        400_000  # largest number of series that one worker exposes on /metrics/milestones
    )
    keep_days: Annotated[int, Field(ge=0)] = 90  # for which a milestone is exposed after it was achieved or cancelled
    sweep_seconds: Seconds = 30  # how often a worker looks for programmes that changed without a signal
    log_end_seconds: Seconds = 3  # how often the log end offsets are requested from the broker
    stop_seconds: Seconds = 4  # how long a worker may take to stop before it kills itself
    #: How long a worker may make no progress, while Kafka and the database answer, before it kills itself.
    #: Longer than a consumer group waits for a member (10 s), because a rebalance that long is normal.
    stuck_seconds: Annotated[float, Field(ge=12)] = 60
    failpoint: str = ""  # fault injection for tests; see `models.failpoints`

    @field_validator("web", "metrics")
    @classmethod
    def _validate_listener(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host, _, port = value.rpartition(":")
        if not host or not _PORT.fullmatch(port) or int(port) > MAX_PORT:
            raise ValueError("say host:port, e.g. 127.0.0.1:8090")
        return value

    @field_validator("web_hosts", mode="before")
    @classmethod
    def _split_web_hosts(cls, value: Any) -> Any:  # noqa: ANN401 - pydantic validates what is no text
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @field_validator("web_hosts")
    @classmethod
    def _validate_web_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in value if not _HOST_NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} is no host name: say names without scheme, port and path")
        return value

    @field_validator("board_url")
    @classmethod
    def _validate_board_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        if url.scheme not in {"http", "https"} or not url.hostname or set(value) & set("@?#") or url.port == 0:
            raise ValueError("say http://host or https://host, with the port and path that people use")
        return value.rstrip("/")

    @field_validator("failpoint")
    @classmethod
    def _validate_failpoint(cls, value: str) -> str:
        parse_failpoint(value)
        return value

    @field_validator("kafka")
    @classmethod
    def _normalize_kafka(cls, value: str, info: ValidationInfo) -> str:
        """Return `host:port,host:port`, which both Kafka clients read alike."""
        servers = []
        for text in filter(None, map(str.strip, value.split(","))):
            match = _SERVER.fullmatch(text)
            if match is None or not 0 < int(match["port"]) <= MAX_PORT:
                raise ValueError("say host:port, or several separated by commas")
            scheme, security = (match["scheme"] or "kafka").upper(), info.data.get("kafka_security", "PLAINTEXT")
            if scheme not in {"KAFKA", security}:
                raise ValueError(f"{scheme}:// contradicts kafka_security, which is {security}")
            servers.append(f"{match['host']}:{match['port']}")
        if not servers:
            raise ValueError("say host:port, or several separated by commas")
        return ",".join(dict.fromkeys(servers))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *_args: PydanticBaseSettingsSource,
        **_no_files: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, file. No .env or secret files: milepost.toml is the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def events_topic(self) -> str:
        """The topic to which upstream systems publish."""
        return f"{self.prefix}.events"

    @property
    def programmes_topic(self) -> str:
        """The topic on which `record` signals changed programmes."""
        return f"{self.prefix}.programmes"

    @property
    def changes_topic(self) -> str:
        """The topic of changed forecasts."""
        return f"{self.prefix}.changes"

    @property
    def dead_letters_topic(self) -> str:
        """The topic of rejected records."""
        return f"{self.prefix}.dead-letters"

    @property
    def web_address(self) -> tuple[str, int]:
        """Host and port to serve the board on, and the metrics unless they have a listener of their own."""
        return _split_address(self.web)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the listener of metrics and probes, if they have one of their own."""
        return None if self.metrics is None else _split_address(self.metrics)

    @property
    def board_hosts(self) -> frozenset[str]:
        """The names to which the board answers, in lower case; it answers to every address too."""
        names = {"localhost", self.web_address[0], *self.web_hosts}
        if self.board_url is not None:
            names.add(urlsplit(self.board_url).hostname or "")
        return frozenset(name.lower() for name in names)


def _split_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _check_environment_names() -> None:
    """Raise `SettingsError` for a name in the environment that is no setting."""
    known = {f"{_ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{_ENVIRONMENT_PREFIX}{name.upper()}_FILE" for name in _SECRETS}
    for name, value in sorted(_environment.items()):
        upper = name.upper()
        if not upper.startswith(_ENVIRONMENT_PREFIX) or upper in known:
            continue
        match = _PASSED_OVER.fullmatch(upper)
        if match is not None and (match["port"] is None or value.startswith(("tcp://", "udp://"))):
            continue
        nearest = get_close_matches(upper, known, 1, 0.0)[0]
        raise SettingsError(f"{printable(name)} is no setting; the nearest one is {nearest}")


def _read_secret_files() -> dict[str, str]:
    """Return the settings that files hold, by name."""
    secrets = {}
    for name in _SECRETS:
        variable = f"{_ENVIRONMENT_PREFIX}{name.upper()}"
        if path := _environment.get(f"{variable}_FILE"):
            if _environment.get(variable):
                raise SettingsError(f"{variable} and {variable}_FILE are both set: say one of the two")
            try:
                secrets[name] = Path(path).read_text("utf-8").strip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise SettingsError(f"{variable}_FILE: {printable(path)} cannot be read: {problem}") from None
    return secrets


def read_settings(**flags: Any) -> Settings:  # noqa: ANN401 - pydantic validates the values
    """Return the settings; a flag that is None was not given. Raises `SettingsError` about the first fault."""
    _check_environment_names()
    try:
        return Settings(**_read_secret_files() | {name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise SettingsError(
            f"setting {name}: {fault['msg']} (MILEPOST_{name.upper()}, or {name} in {CONFIG_FILE})"
        ) from None
    except UnreadableError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = field[1] if field else "?"
        raise SettingsError(f"setting {name}: not JSON (MILEPOST_{name.upper()})") from None
    except ValueError as error:
        raise SettingsError(f"{CONFIG_FILE}: {error}") from None

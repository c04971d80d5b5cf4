"""The only reader of configuration: flags win over the environment (`MILEPOST_…`), and that over `milepost.toml`."""

import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from models import setting_values as values
from models.failpoints import parse_failpoint
from models.setting_sources import (
    ENVIRONMENT_PREFIX,
    SettingsError,
    check_environment_names,
    environment,
    merge_sources,
    variable_of,
)
from models.settings_file import CONFIG_FILE, read_config_file, read_secret_file
from models.text import printable

__all__ = ["MAX_WORKERS", "LogFormat", "Settings", "SettingsError", "read_log_format", "read_settings", "setting_error"]

#: A longer wait is an error of Python's clocks, and no wish of anybody.
_MAX_SECONDS: Final = 365 * 86_400
#: Addresses of workers that a board asks, at most.
MAX_WORKERS: Final = 64

LogFormat = Literal["text", "json"]

Truth = Annotated[bool, BeforeValidator(values.parse_truth)]
WholeNumber = Annotated[int, BeforeValidator(values.parse_whole_number)]
Seconds = Annotated[float, BeforeValidator(values.parse_seconds), Field(gt=0, le=_MAX_SECONDS, allow_inf_nan=False)]
FilePath = Annotated[Path, BeforeValidator(values.expand_home)]


def _check_secret_file(path: Path) -> Path:
    read_secret_file(path)
    return path


#: A file that holds one secret, which is read again whenever it is needed.
SecretFile = Annotated[FilePath, AfterValidator(_check_secret_file)]

#: What pydantic finds wrong, by its name for it, in words for people; the braces are filled with what it found.
_FAULTS: Final[Mapping[str, str]] = {
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "finite_number": "it must be a number of seconds like 30 or 0.5",
    "string_too_short": "it must not be empty",
    "string_too_long": "it must have at most {max_length} characters",
    "string_type": "say a text in quotes",
    "list_type": "say a list of texts",
    "tuple_type": "say a list of texts",
    "dict_type": "say a table of programmes, each with a list of sources",
    "path_type": "say a path in quotes",
}
_MAX_NAME_LENGTH: Final = 64
#: What may hold any character, blanks too.
_SECRETS: Final = frozenset({"feed_key", "kafka_sasl_password", "kafka_ssl_key_password", "kafka_oauth_client_secret"})


class Settings(BaseSettings):
    """The settings of an operator: contract, section 5."""

    model_config = SettingsConfigDict(env_prefix="MILEPOST_", extra="forbid", frozen=True, env_ignore_empty=True)

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka: str = "127.0.0.1:9092"  # behind `kafka_security_protocol`, with which its schemes have to agree
    database: str = "sqlite:///.milepost/milepost.db"
    database_file: SecretFile | None = None  # the file that holds `database`; see `models.configured_engine`
    database_prepared: Truth = True  # whether PostgreSQL, or the pool before it, keeps prepared statements
    web: str = "127.0.0.1:8090"
    metrics: str | None = None  # a listener of its own for metrics and probes; without it they are on `web`
    #: Names to which the board and the API answer, besides addresses, localhost, the host of `web` and of `board_url`.
    web_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    board_url: str | None = None  # where people reach the board
    #: What calendar.ics and status.csv demand as `?key=`; without one they are as open as the board.
    feed_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    feed_key_file: SecretFile | None = None
    #: Where a board without a worker asks for the state of the pipeline: the listeners of the workers' metrics.
    workers: Annotated[tuple[str, ...], NoDecode] = ()
    log: LogFormat = "text"  # how a worker, a board, a gateway and a notifier log
    gateway: str = "127.0.0.1:8091"  # where the gateway takes events over HTTP
    gateway_tokens: FilePath | None = None  # the file of the gateway's tokens
    notify: FilePath | None = None  # the file of the targets of `milepost notify`
    group: Annotated[str, Field(min_length=1, max_length=249)] = "milepost"
    partitions: Annotated[WholeNumber, Field(ge=1, le=10_000)] = 12
    prefix: str = "milepost"
    topics: Literal["own", "managed"] = "own"  # whether `milepost init` makes the topics, or only checks them

    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_sasl_password_file: SecretFile | None = None
    kafka_ssl_cafile: FilePath | None = None
    kafka_ssl_certfile: FilePath | None = None
    kafka_ssl_keyfile: FilePath | None = None
    kafka_ssl_key_password: SecretStr | None = None
    kafka_ssl_key_password_file: SecretFile | None = None
    #: Whether certificates have to be as RFC 5280 says, as Python 3.13 asks by default and many private CAs are not.
    kafka_ssl_strict: Truth = False
    #: Where a client's credentials become a token.
    kafka_oauth_token_endpoint: str | None = None
    kafka_oauth_client_id: str | None = None
    kafka_oauth_client_secret: SecretStr | None = None
    kafka_oauth_client_secret_file: SecretFile | None = None
    kafka_oauth_scope: str | None = None
    kafka_oauth_cafile: FilePath | None = None  # the CA of the token endpoint, beside those of the system
    kafka_oauth_token_file: SecretFile | None = None  # a token that something else keeps fresh

    #: The sources that may publish for each programme; a programme without an entry accepts any.
    allowed_sources: Annotated[dict[str, list[str]], NoDecode] = {}

    batch: Annotated[WholeNumber, Field(ge=1, le=100_000)] = 4000  # largest number of records in one transaction
    max_series: Annotated[WholeNumber, Field(ge=0)] = (
        400_000  # largest number of series that one worker exposes on /metrics/milestones
    )
    #: For how many days a milestone is exposed after it was achieved or cancelled.
    keep_days: Annotated[WholeNumber, Field(ge=0)] = 90
    sweep_seconds: Seconds = 30  # how often a worker looks for programmes that changed without a signal
    log_end_seconds: Seconds = 3  # how often the log end offsets are requested from the broker
    stop_seconds: Seconds = 4  # how long a worker may take to stop before it kills itself
    #: How long a worker may make no progress, while Kafka and the database answer, before it kills itself.
    #: Longer than a consumer group waits for a member (10 s), because a rebalance that long is normal.
    stuck_seconds: Annotated[Seconds, Field(ge=12)] = 60
    failpoint: str = ""  # fault injection for tests; see `models.failpoints`

    @field_validator("web", "metrics", "gateway")
    @classmethod
    def _parse_listener(cls, value: str | None) -> str | None:
        return None if value is None else values.parse_listener(value)

    @field_validator("web_hosts", mode="before")
    @classmethod
    def _parse_web_hosts(cls, value: Any) -> Any:  # noqa: ANN401 - as above
        return values.parse_host_names(value)

    @field_validator("workers", mode="before")
    @classmethod
    def _parse_workers(cls, value: Any) -> Any:  # noqa: ANN401 - as above
        return values.parse_addresses(value, MAX_WORKERS)

    @field_validator("board_url")
    @classmethod
    def _parse_board_url(cls, value: str | None) -> str | None:
        return None if value is None else values.parse_board_url(value)

    @field_validator("database")
    @classmethod
    def _expand_database(cls, value: str) -> str:
        return values.expand_database(value)

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,200}", value):
            raise ValueError("say 1 to 200 letters a-z and A-Z, digits, dots, underscores and hyphens")
        return value

    @field_validator("allowed_sources", mode="before")
    @classmethod
    def _parse_allowed_sources(cls, value: Any) -> Any:  # noqa: ANN401 - as above
        sources = values.parse_sources(value) if isinstance(value, str) else value
        if isinstance(sources, dict):
            values.check_programmes(sources)
        return sources

    @field_validator("failpoint")
    @classmethod
    def _check_failpoint(cls, value: str) -> str:
        parse_failpoint(value)
        return value

    @field_validator("kafka")
    @classmethod
    def _parse_kafka(cls, value: str, info: ValidationInfo) -> str:
        return values.parse_servers(value, info.data.get("kafka_security_protocol", "PLAINTEXT"))

    @field_validator("kafka_oauth_token_endpoint")
    @classmethod
    def _check_token_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else values.check_token_endpoint(value)

    # The last of the validators before pydantic's own is the first to run.
    @field_validator("*", mode="before")
    @classmethod
    def _check_text(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - pydantic validates what is no text
        if not isinstance(value, str):
            return value
        return values.check_text(value, is_secret=info.field_name in _SECRETS)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_args: PydanticBaseSettingsSource,
        **_no_files: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return one source of flags, environment and file."""
        merged = merge_sources(read_config_file(), settings_cls.model_fields, init_settings())
        return (InitSettingsSource(settings_cls, merged),)

    def notify_group(self, target: str) -> str:
        """Return the consumer group in which changes are read for a target (contract, section 10)."""
        return f"{self.group}-notify-{target}"

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
        return values.split_address(self.web)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the listener of metrics and probes, if they have one of their own."""
        return None if self.metrics is None else values.split_address(self.metrics)

    @property
    def gateway_address(self) -> tuple[str, int]:
        """Host and port on which the gateway takes events."""
        return values.split_address(self.gateway)

    @property
    def board_hosts(self) -> frozenset[str]:
        """The names to which the board answers, in lower case; it answers to every address too."""
        names = {"localhost", self.web_address[0], *self.web_hosts}
        if self.board_url is not None:
            names.add(urlsplit(self.board_url).hostname or "")
        return frozenset(name.lower() for name in names)


def read_log_format() -> LogFormat:
    """Return the format of the log; also where other settings cannot be read, since the log says so."""
    variable = variable_of("log")
    text: Any = next((value for name, value in environment.items() if name.upper() == variable and value), None)
    if text is None:
        with suppress(ValueError):
            text = read_config_file().get("log")
    return "json" if isinstance(text, str) and text.strip(values.BLANKS) == "json" else "text"


def setting_error(name: str, problem: str) -> SettingsError:
    """Return the error about a setting, with how it is set."""
    return SettingsError(f"setting {name}: {problem} ({variable_of(name)}, or {name} in {CONFIG_FILE})")


def read_settings(**flags: Any) -> Settings:  # noqa: ANN401 - pydantic validates the values
    """Return the settings; a flag that is None was not given. Raises `SettingsError` about the first fault."""
    check_environment_names(Settings.model_fields)
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise _describe_fault(error.errors()[0]) from None
    except ValueError as error:
        raise SettingsError(f"{CONFIG_FILE}: {error}") from None


def _describe_fault(fault: Any) -> SettingsError:  # noqa: ANN401 - pydantic_core has the type, which is not for use
    name, *inner = map(str, fault["loc"])
    context = fault.get("ctx", {})
    if fault["type"] == "extra_forbidden":
        written = printable(name[:_MAX_NAME_LENGTH])
        like = name.lower().replace("-", "_").removeprefix(ENVIRONMENT_PREFIX.lower())
        nearest = get_close_matches(like, Settings.model_fields, 1, 0.0)[0]
        return SettingsError(
            f"setting {written}: there is none of this name; the nearest one is {nearest} ({CONFIG_FILE})"
        )
    if fault["type"] == "value_error":
        problem = str(context["error"])
    elif fault["type"] == "literal_error":
        choices = context["expected"].replace("'", "")
        problem = f"say {choices}"
    elif fault["type"] in _FAULTS:
        problem = _FAULTS[fault["type"]].format_map(context)
    else:
        problem = fault["msg"]
    if inner:
        problem = f"at {printable('.'.join(inner))}: {problem}"
    return setting_error(name, problem)

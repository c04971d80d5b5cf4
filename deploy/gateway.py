"""`milepost gateway`: checks what can be checked before anything starts, then runs the gateway."""

import logging
import secrets
from collections.abc import Iterator, Sequence
from hashlib import sha256
from ipaddress import ip_address
from json import dumps
from typing import Final

from consumers.rights import Role, require_rights
from deploy.listeners import bind_gateway_listeners
from models.errors import MilepostError
from models.settings import Settings
from streams.gateway.process import run_gateway_process
from streams.gateway.tokens import MAX_NAME_LENGTH, TokensFile, is_token_name, parse_tokens

logger = logging.getLogger("milepost.gateway")

#: 43 characters of base64.
_TOKEN_BYTES: Final = 32


def run_gateway(settings: Settings) -> None:
    """Run a gateway until it is asked to stop. Raises `MilepostError` when a check fails, before anything starts."""
    if settings.gateway_tokens is None:
        raise MilepostError(
            "the gateway needs tokens: MILEPOST_GATEWAY_TOKENS names their file;"
            " `milepost gateway token NAME` prints one for it"
        )
    tokens = TokensFile(settings.gateway_tokens)
    tokens.load()
    with bind_gateway_listeners(settings) as sockets:
        require_rights(settings, Role.GATEWAY)
        if not _is_loopback(settings.gateway_address[0]):
            logger.warning(
                "the gateway listens on %s without TLS: tokens are in clear unless something in front of it ends TLS",
                settings.gateway,
            )
            if settings.metrics is None:
                logger.warning("whoever reaches the gateway can read its metrics: MILEPOST_METRICS puts them elsewhere")
        run_gateway_process(settings, tokens, sockets)


def create_token(
    name: str, sources: Sequence[str], programmes: Sequence[str], rate: float | None
) -> tuple[str, Sequence[str]]:
    """Return a new token, and the lines of its block in the file of tokens.

    Raises `MilepostError` for what the file would be refused for.
    """
    if not is_token_name(name):
        raise MilepostError(
            f"{name!r} is no name of a token: at most {MAX_NAME_LENGTH} letters, digits, dots, dashes and underscores"
        )
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    block = list(_block_lines(name, sha256(token.encode()).hexdigest(), sources, programmes, rate))
    parse_tokens("\n".join(block))
    return token, block


def _block_lines(
    name: str, digest: str, sources: Sequence[str], programmes: Sequence[str], rate: float | None
) -> Iterator[str]:
    yield "[[token]]"
    yield f"name = {dumps(name)}"
    yield f"sha256 = {dumps(digest)}"
    yield f"sources = {dumps(list(sources) or [f'//{name}.example'], ensure_ascii=False)}"
    yield f"programmes = {dumps(list(programmes) or ['*'], ensure_ascii=False)}"
    if rate is not None:
        yield f"rate = {rate:.15g}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

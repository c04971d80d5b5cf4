"""The gateway of the demo, in a thread beside its worker, and a token for it in the demo's folder."""

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.demo.background import run_in_background
from deploy.gateway import create_token
from deploy.listeners import bind_gateway_listeners
from models.errors import MilepostError
from models.settings import Settings
from streams.gateway.process import Gateway
from streams.gateway.tokens import TokensFile

logger = logging.getLogger("milepost.gateway")

_TOKEN_NAME: Final = "demo"  # noqa: S105 - a name


def ensure_demo_token(folder: Path, sources: Sequence[str]) -> tuple[Path, Path]:
    """Return the file of tokens and the file of the demo's token; makes both when one is missing."""
    tokens, token = folder / "gateway-tokens.toml", folder / "gateway-token"
    if not (tokens.exists() and token.exists()):
        secret, block = create_token(_TOKEN_NAME, sources, [], None)
        tokens.write_text("\n".join([*block, ""]), encoding="utf-8")
        with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(f"{secret}\n")
    return tokens, token


@contextmanager
def run_demo_gateway(settings: Settings) -> Iterator[None]:
    """Run a gateway until the block ends; requests wait until it has started. Raises `MilepostError` for its port."""
    assert settings.gateway_tokens is not None  # noqa: S101 - the demo has just made them
    tokens = TokensFile(settings.gateway_tokens)
    tokens.load()
    # Its metrics are on its own port: the worker may have MILEPOST_METRICS.
    with bind_gateway_listeners(settings.model_copy(update={"metrics": None})) as sockets:

        async def serve(ending: asyncio.Event) -> None:
            try:
                async with Gateway(settings, tokens, sockets).running():
                    await ending.wait()
            except MilepostError:
                logger.exception("the gateway has ended")

        with run_in_background(serve, "demo-gateway"):
            yield

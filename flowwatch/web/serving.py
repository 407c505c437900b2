"""Where the application listens: the address, TLS that takes up renewed certificates, the token's file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from flowwatch.config import WebSettings, WebTLSSettings
from flowwatch.errors import FlowwatchError
from flowwatch.web import LOOPBACK_NAMES, build
from flowwatch.web.view import View

RENEW_EVERY = 30.0
"""Seconds between two looks at the certificate's files."""
LARGEST_TOKEN = 4096

log = logging.getLogger("flowwatch.web")
protocol = logging.getLogger("flowwatch.web.protocol")
"""Told of every request that is not HTTP at all: anybody could fill a log with those."""
protocol.setLevel(logging.CRITICAL)


@asynccontextmanager
async def serving(view: View, settings: WebSettings, names: Collection[str] = ()) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the address that people of this machine reach it by. On loopback only
    `names` and those of loopback are answered to. Raises `OSError` where it cannot listen, `FlowwatchError` where
    a file of the settings is of no use."""
    check(settings)
    loopback = settings.host in ("127.0.0.1", "localhost", "::1")
    token = None
    if settings.token_file:
        file = settings.token_file
        token = lambda: _token_now(file)  # noqa: E731 - a name would say no more
    app = build(
        view,
        LOOPBACK_NAMES | {name.lower() for name in names if name} if loopback else (),
        prefix=settings.prefix,
        token=token,
        certificates=settings.tls.client_ca is not None,
    )
    context = tls_context(settings.tls)
    runner = web.AppRunner(app, access_log=None, logger=protocol, shutdown_timeout=1.0)
    await runner.setup()
    renewal = None
    try:
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=context).start()
        if context is not None:
            renewal = asyncio.create_task(_renew(context, settings.tls))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        scheme = "http" if context is None else "https"
        yield f"{scheme}://{host}:{runner.addresses[0][1]}{settings.prefix}"
    finally:
        if renewal is not None:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
        await runner.cleanup()


def check(settings: WebSettings) -> None:
    """Say what is wrong with the files that the settings name. Raises `FlowwatchError`."""
    if settings.token_file and not token_of(settings.token_file):
        raise FlowwatchError(f"web.token_file: {settings.token_file} is empty")
    tls_context(settings.tls)


def token_of(file: Path) -> str:
    """The token a file holds. Raises `FlowwatchError`."""
    try:
        return _token_now(file)
    except OSError as error:
        raise FlowwatchError(f"web.token_file: {file}: {error.strerror}") from error


def _token_now(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as opened:
        return opened.read(LARGEST_TOKEN).strip()


def tls_context(settings: WebTLSSettings) -> ssl.SSLContext | None:
    """The TLS of the server; None where it speaks plain HTTP. Raises `FlowwatchError`."""
    if not settings.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.cert, settings.key)
        if settings.client_ca:
            context.load_verify_locations(settings.client_ca)
            # Probes have no certificate: who shows none is turned away later, by the path.
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        files = " and ".join(str(file) for file in (settings.cert, settings.key, settings.client_ca) if file)
        raise FlowwatchError(f"web.tls: {files} cannot be used: {error}") from error
    return context


async def _renew(context: ssl.SSLContext, settings: WebTLSSettings) -> None:
    """Take up a certificate that was renewed; one that cannot be used leaves the old one in force."""
    assert settings.cert is not None
    known = _written(settings)
    while True:
        await asyncio.sleep(RENEW_EVERY)
        found = _written(settings)
        if found == known:
            continue
        known = found
        try:
            context.load_cert_chain(settings.cert, settings.key)
            log.info("took up a renewed certificate: file=%s", settings.cert)
        except (OSError, ssl.SSLError) as error:
            log.warning("a renewed certificate cannot be used: file=%s error=%s", settings.cert, error)


def _written(settings: WebTLSSettings) -> list[float]:
    times = []
    for file in (settings.cert, settings.key):
        with contextlib.suppress(OSError):
            times.append(file.stat().st_mtime if file else 0.0)
    return times

"""What keeps strangers and accidents from the labels: limits and headers around the page.

docs/labelling.md says what is guarded against, and what is not.
"""

import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 16 * 1024  # bytes of a request
_RATE, _BURST = 30.0, 120.0  # requests a second of one labeller, or of one address without a name
_log = logging.getLogger("sobirl.label")
_LOOPBACK = ("127.0.0.1", "localhost")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def secret_in(path: Path) -> str:
    """The store's own secret, which only its owner can read; made if there is none.

    It is kept, so that a server that is started again has the same address for everyone.
    """
    file = path / "secret"
    if not file.exists():
        draft = path / f".secret.{secrets.token_hex(4)}.draft"
        draft.touch(0o600)
        draft.write_text(secrets.token_urlsafe(32), encoding="ascii")
        draft.rename(file)
    return file.read_text(encoding="ascii")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    return host in _LOOPBACK


def names_of(host: str) -> list[str]:
    """What the Host header may say, so that no other site's name leads here."""
    if is_loopback(host):
        return list(_LOOPBACK)
    if host != "0.0.0.0":
        return [host, *_LOOPBACK]
    own = {socket.gethostname(), socket.getfqdn(), *_LOOPBACK}
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        own |= {str(address[0]) for *_, address in found}
    except OSError:
        pass  # a machine whose own name does not resolve
    return sorted(own)


class Buckets:
    """Token buckets, one a key: so many requests a second, and a burst of more.

    Args:
        rate: a second.
        burst: at once.
    """

    def __init__(self, rate: float = _RATE, burst: float = _BURST):
        self.rate, self.burst = rate, burst
        self._full: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> bool:
        """Whether one more is within the limits."""
        now = time.monotonic()
        left, before = self._full.pop(key, (self.burst, now))
        left = min(self.burst, left + (now - before) * self.rate)
        self._full[key] = (left - 1 if left >= 1 else left), now
        while len(self._full) > 10_000:  # the one that was idle longest is full again
            del self._full[next(iter(self._full))]
        return left >= 1


class Guard:
    """Headers on every response, and limits on what a request may be.

    Args:
        app: what is guarded.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        size, begun = 0, False

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST:
                raise _TooLargeError
            return message

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            announced = Request(scope).headers.get("content-length", "0")
            if not announced.isdecimal() or int(announced) > LARGEST:
                raise _TooLargeError
            await self.app(scope, limited, with_headers)
        except _TooLargeError:
            response = PlainTextResponse("This is more than a form can hold.", 413)
        except Exception as error:
            _log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            line = "Something went wrong here; the labels are kept. Try again."
            response = PlainTextResponse(line, 500)
        else:
            return
        if not begun:
            await response(scope, receive, with_headers)


class _TooLargeError(Exception):
    pass


class Throttle:
    """Refuses a labeller, or an address without a name, that asks too often.

    Args:
        app: what is guarded; `scope["session"]` must be there.
        buckets: the limits.
    """

    def __init__(self, app: ASGIApp, buckets: Buckets):
        self.app, self.buckets = app, buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or say that there were too many."""
        app: Callable[[Scope, Receive, Send], Awaitable[None]] = self.app
        if scope["type"] == "http":
            address = (scope.get("client") or ("?",))[0]
            name = scope["session"].get("name")
            if not self.buckets.take(f"name {name}" if name else f"address {address}"):
                app = PlainTextResponse("Too many requests; wait a moment.", 429)
        await app(scope, receive, send)

"""The page of a run: a pair, buttons to say which clip is better, and how far all came."""

import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from sobirl.apps.labelling.safety import Buckets, Guard, Throttle
from sobirl.core.errors import InvalidInputError
from sobirl.prefs import Desk, PreferenceStore, StaleError

_HERE = Path(__file__).parent
_LONGEST_NAME, _LONGEST_REASON = 40, 500
_SPEEDS = (0.25, 0.5, 1, 2, 4)
# What is said after an answer, by a word in the address.
_NOTICES = {
    "kept": "Your answer is kept.",
    "undone": "Your last answer is taken back; here is its pair again.",
    "none": "There is nothing to take back.",
    "late": "That pair was no longer yours; nothing was changed. Here is the next one.",
}


class Page:
    """The application of a store.

    Args:
        store: pairs and labels.
        secret: opens the page, and signs its cookies.
        hosts: names by which it may be called.
        title: of the run.
        accuracy: the reward's accuracy on pairs held out, as a share; None where it is not known.
        cookie: its name, another for every server of a machine.
        buckets: the limits on requests.
    """

    def __init__(
        self,
        store: PreferenceStore,
        secret: str,
        hosts: list[str],
        title: str = "",
        accuracy: Callable[[], float | None] = lambda: None,
        cookie: str = "sobirl",
        buckets: Buckets | None = None,
    ):
        self.store, self.desk, self.secret = store, Desk(store), secret
        self.title, self.accuracy = title, accuracy
        self._templates = Jinja2Templates(_HERE / "templates")
        self.app = Starlette(
            routes=[
                Route("/", self.show),
                Route("/name", self.name, methods=["POST"]),
                Route("/answer", self.answer, methods=["POST"]),
                Route("/undo", self.undo, methods=["POST"]),
                Route("/pictures/{ticket:int}", self.pictures),
                Mount("/static", StaticFiles(directory=_HERE / "static")),
            ],
            middleware=[
                Middleware(Guard),
                Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
                Middleware(
                    SessionMiddleware,
                    secret_key=secret,
                    session_cookie=cookie,
                    same_site="strict",
                    max_age=30 * 24 * 3600,
                ),
                Middleware(Throttle, buckets=buckets or Buckets()),
            ],
            exception_handlers={
                InvalidInputError: _refused,
                _RefusedError: _refused,
            },
        )

    async def show(self, request: Request) -> Response:
        """The pair that someone is asked about; before that, who they are."""
        session = request.session
        token = request.query_params.get("token")
        if token is not None and hmac.compare_digest(token.encode(), self.secret.encode()):
            name = session.get("name")
            session.clear()
            session |= {"csrf": secrets.token_urlsafe(16)} | ({"name": name} if name else {})
            return RedirectResponse("/", 303)  # so that the token is in no address bar
        if "csrf" not in session:
            return self._render(request, "closed.html", 401)
        if "name" not in session:
            return self._render(request, "name.html")
        return await run_in_threadpool(self._question, request)

    def _question(self, request: Request) -> Response:
        name = request.session["name"]
        question = self.desk.next(name)
        clips = []
        if question is not None and "rate" in question.about:
            sides = (1, 0) if question.swapped else (0, 1)
            clips = [_clip(question.about, row) for row in sides]
        return self._render(
            request,
            "pair.html",
            name=name,
            question=question,
            clips=clips,
            longest_clip=max((clip["count"] for clip in clips), default=0),
            speeds=_SPEEDS,
            number=secrets.token_hex(16),
            notice=_NOTICES.get(request.query_params.get("said", "")),
            instruction=self.store.settings().get("instruction") or "Which clip is better?",
            progress=self.desk.progress(name) | {"accuracy": self.accuracy()},
            longest=_LONGEST_REASON,
        )

    async def name(self, request: Request) -> Response:
        """Someone says who they are."""
        form = await _form(request)
        name = " ".join("".join(c for c in form.get("name", "") if c.isprintable()).split())
        if not 0 < len(name) <= _LONGEST_NAME:
            raise InvalidInputError(f"A name has 1 to {_LONGEST_NAME} letters.")
        request.session["name"] = name
        return RedirectResponse("/", 303)

    async def answer(self, request: Request) -> Response:
        """An answer; it is on the disk before anyone is told so."""
        form = await _form(request)
        name, ticket = _labeller(request), form.get("ticket", "")
        number, reason = form.get("number", ""), form.get("reason", "").strip()
        if not (ticket.isascii() and ticket.isdecimal() and len(ticket) < 16):
            raise InvalidInputError("There is no such pair.")
        if len(number) != 32 or len(reason) > _LONGEST_REASON:
            raise InvalidInputError("This is no form of this page.")
        given = name, int(ticket), form.get("choice", ""), f"{name}/{number}", reason or None
        try:
            await run_in_threadpool(self.desk.answer, *given)
        except StaleError:
            return RedirectResponse("/?said=late", 303)
        return RedirectResponse("/?said=kept", 303)

    async def undo(self, request: Request) -> Response:
        """Take back an answer."""
        await _form(request)
        was_there = await run_in_threadpool(self.desk.undo, _labeller(request))
        return RedirectResponse(f"/?said={'undone' if was_there else 'none'}", 303)

    async def pictures(self, request: Request) -> Response:
        """The pictures of the pair that someone is asked about, and of no other."""
        ticket = request.path_params["ticket"]
        if ticket >= 2**63 or not await run_in_threadpool(
            self.desk.holds, _labeller(request), ticket
        ):
            raise _RefusedError(404, "These are not the pictures of your pair.")
        path = self.store.pictures(ticket)
        if not path.is_file():
            raise _RefusedError(404, "This pair has no pictures.")
        return FileResponse(path, media_type="image/webp")

    def _render(self, request: Request, template: str, status: int = 200, **values: Any):
        values |= {"title": self.title, "csrf": request.session.get("csrf")}
        return self._templates.TemplateResponse(request, template, values, status_code=status)


class _RefusedError(Exception):
    """A request that is answered by a line of text."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form of this page.

    Raises:
        _RefusedError: it is none: a stranger's site sent it, or its session is over.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise _RefusedError(415, "Only the forms of this page are understood.")
    try:
        found = parse_qs((await request.body()).decode(), max_num_fields=10)
    except ValueError:
        raise _RefusedError(400, "This is no form.") from None
    fields = {name: values[-1] for name, values in found.items()}
    known, sent = request.session.get("csrf", ""), fields.get("csrf", "")
    if not known or not hmac.compare_digest(known.encode(), sent.encode()):
        raise _RefusedError(403, "This form is of another session; open the page anew.")
    return fields


def _labeller(request: Request) -> str:
    name = request.session.get("name")
    if name is None or "csrf" not in request.session:
        raise _RefusedError(403, "Say who you are first.")
    return name


def _clip(about: dict[str, Any], row: int) -> dict[str, Any]:
    """Where a clip's pictures are on the sheet, and what they show."""
    frames = about["frames"]
    return {
        "first": sum(frames[:row]),
        "count": frames[row],
        "marks": about["marks"][row],
        "words": about.get("words", ("", ""))[row],  # older stores have none
    }


def _refused(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), getattr(error, "status", 400))

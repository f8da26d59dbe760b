"""Requests that schemathesis makes up from the page's own routes and forms."""

import base64
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from starlette.testclient import TestClient

from apps.page_schema import document, forms
from experience.streams import fragments
from sobirl.apps.labelling.page import Page
from sobirl.apps.labelling.safety import Buckets
from sobirl.prefs import PreferenceStore

ADDRESS = "http://localhost"
OPERATIONS = [
    ("/", "GET"),
    ("/name", "POST"),
    ("/answer", "POST"),
    ("/undo", "POST"),
    ("/pictures/{ticket}", "GET"),
    ("/static/{path}", "GET"),
]
_HIDDEN = "csrf", "ticket", "number"
OWN = st.just(set(_HIDDEN)) | st.sets(st.sampled_from(_HIDDEN))


class Visitor:
    """Someone who sends what schemathesis makes up, and notes what was acknowledged.

    Args:
        store: what is asked.
    """

    def __init__(self, store):
        self.page = Page(store, "secret", ["localhost"], buckets=Buckets(1e9, 1e9))
        self.client = TestClient(self.page.app, base_url=ADDRESS, follow_redirects=False)
        self.enter()
        shown = forms(self.client.get("/").text)
        self.client.post("/name", data=shown["/name"].hidden | {"name": "ann"})
        shown |= forms(self.client.get("/").text)
        self.schema = schemathesis.openapi.from_dict(document(self.page.app.routes, shown))
        self.sent, self.statuses, self.kept, self.undone = 0, {}, [], 0

    def enter(self):
        self.client.get("/", params={"token": self.page.secret})

    def name(self):
        """Who the cookie says this is."""
        cookie = self.client.cookies.get("sobirl") or "e30="
        return json.loads(base64.b64decode(cookie.partition(".")[0])).get("name")

    def send(self, case, own):
        """Send a case; `own` are hidden fields that are as the page shows them."""
        if own:
            shown = forms(self.client.get("/").text).get(case.path)
            hidden = {} if shown is None else shown.hidden
            case.body = case.body | {field: hidden[field] for field in own & hidden.keys()}
        name, request = self.name(), case.as_transport_kwargs(base_url=ADDRESS)
        request.pop("cookies", None)
        answer = self.client.request(**request)
        self.sent += 1
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        documented = case.operation.definition.raw["responses"]
        assert answer.status_code < 500 and str(answer.status_code) in documented
        where = answer.headers.get("location", "")
        if where.endswith("said=kept"):
            self.kept.append((name, f"{name}/{case.body['number']}"))
        self.undone += where.endswith("said=undone")


def fuzz(store, examples):
    """The visitor, after so many requests to every operation, and as many that break its schema."""
    visitor = Visitor(store)
    for path, method in OPERATIONS:
        operation = visitor.schema[path][method]
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(max_examples=examples, database=None, suppress_health_check=list(HealthCheck))
            @given(case=strategy, own=OWN)
            def some(case, own):
                visitor.send(case, own if isinstance(case.body, dict) else set())

            try:
                some()
            except Unsatisfiable:  # any path will do for files: nothing breaks that schema
                assert (mode, path) == (GenerationMode.NEGATIVE, "/static/{path}")
    return visitor


@pytest.mark.parametrize("examples", [4, pytest.param(250, marks=pytest.mark.slow)])  # a minute
def test_nothing_fails_and_what_is_kept_is_what_was_acknowledged(tmp_path, examples):
    with PreferenceStore(tmp_path) as store:
        store.ask([fragments(2)] * 2 * examples, 0)
        visitor = fuzz(store, examples)
        rows = store.database.read("SELECT labeller, request, undone FROM answer")
    known = visitor.schema.raw_schema["paths"]
    found = {(path, method.upper()) for path in known for method in known[path]}
    assert found == set(OPERATIONS)
    assert sorted((who, request) for who, request, _ in rows) == sorted(set(visitor.kept))
    assert sum(undone is not None for *_, undone in rows) == visitor.undone > 0
    assert visitor.sent > 8 * examples and len(visitor.kept) > examples / 4
    print(visitor.sent, "requests:", visitor.statuses, len(visitor.kept), visitor.undone)

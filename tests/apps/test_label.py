"""The labelling page over HTTP: what people can do, and what nobody can."""

import json
import re
import threading
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from experience.streams import fragments
from runs.conftest import sobirl
from sobirl.apps.labelling.page import Page
from sobirl.apps.labelling.safety import LARGEST, Buckets, names_of, secret_in
from sobirl.prefs import PreferenceStore, Showing

ABOUT = {"width": 8, "height": 6, "columns": 4, "frames": [4, 3], "rate": 2.0, "marks": [[1], []]}
CONFIG = {"problem": "rlhf", "options": {}, "inputs": {}, "versions": {"sobirl": "0"}}
UNSAFE = "<script>alert('x')</script>"


@pytest.fixture
def store(tmp_path):
    with PreferenceStore(tmp_path / "labels") as store:
        store.set(instruction=UNSAFE)
        showings = [Showing(b"RIFF sheet", ABOUT)] * 6
        store.ask([fragments(2, seed=number) for number in range(6)], 0, showings)
        yield store


@pytest.fixture
def page(store):
    return Page(store, secret_in(store.path), names_of("127.0.0.1"), "a run", lambda: 0.83)


def visit(page, name=None, **options):
    client = TestClient(page.app, base_url="http://localhost:8765", **options)
    if name is not None:
        assert client.get("/", params={"token": page.secret}).status_code == 200
        assert send(client, "/name", name=name).status_code == 200
    return client


def fields(client):
    text = client.get("/").text
    return dict(re.findall(r'name="(csrf|ticket|number)" value="([^"]*)"', text))


def send(client, path, **values):
    return client.post(path, data=fields(client) | values)


def test_a_person_answers_everything(page, store):
    ann = visit(page, "ann")
    text = ann.get("/").text
    assert "Pair 1" in text and "83 %" in text and "0 of 6" in text
    assert ann.get("/pictures/0").content == b"RIFF sheet"
    for number, choice in enumerate(("equal", "unsure", "equal", "left", "right")):
        answered = send(ann, "/answer", choice=choice, reason="because" if not number else "")
        assert "Your answer is kept." in answered.text and f"{number + 1} of 6" in answered.text
    assert "is taken back" in send(ann, "/undo").text
    assert len(store.labels()) == 4
    send(ann, "/answer", choice="equal")
    done = send(ann, "/answer", choice="equal")
    assert "No pair waits for you" in done.text
    assert {answer.labeller for answer in store.answers()} == {"ann"}
    assert store.answers()[0].reason == "because"


def test_left_is_what_was_on_the_left(page, store):
    ann = visit(page, "ann")
    for ticket in range(6):
        first = int(re.search(r'data-first="(\d+)"', ann.get("/").text)[1])
        send(ann, "/answer", choice="left")
        assert store.labels()[ticket] == (1.0 if first == 0 else 0.0)


def test_a_form_sent_twice_or_late_is_one_answer(page, store):
    ann, bob = visit(page, "ann"), visit(page, "bob")
    form = fields(ann) | {"choice": "equal"}
    for _ in range(2):
        assert "is kept" in ann.post("/answer", data=form).text
    assert "no longer yours" in ann.post("/answer", data=form | {"number": "x" * 32}).text
    theirs = fields(bob)["ticket"]
    assert theirs != fields(ann)["ticket"]
    assert "no longer yours" in send(ann, "/answer", choice="left", ticket=theirs).text
    assert store.history() == [(0, 0.5)]


def test_several_people_at_once(store):
    """Each pair is judged once, whoever comes when."""
    page = Page(store, "secret", names_of("localhost"))

    def work(name):
        client = visit(page, name)
        while "No pair" not in (answered := send(client, "/answer", choice="equal").text):
            assert "kept" in answered

    threads = [threading.Thread(target=work, args=(f"person {n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.ticket for answer in store.answers()) == list(range(6))


def test_nobody_gets_in_without_the_token(page, store):
    stranger = visit(page)
    for params in ({}, {"token": "wrong"}, {"token": "\u03c4"}, {"token": ""}):
        assert stranger.get("/", params=params).status_code == 401
    assert stranger.get("/pictures/0").status_code == 403
    for path in ("/name", "/answer", "/undo"):
        assert stranger.post(path, data={"name": "eve", "csrf": ""}).status_code == 403
    stranger.cookies.set("sobirl", "eyJjc3JmIjogIngifQ==.forged.signature")
    assert stranger.get("/").status_code == 401
    assert store.history() == []


def test_the_cookie_and_the_address(page):
    client = TestClient(page.app, base_url="http://localhost", follow_redirects=False)
    opened = client.get("/", params={"token": page.secret})
    assert opened.status_code == 303 and opened.headers["location"] == "/"
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie


def test_forms_of_other_sites_are_refused(page, store):
    ann = visit(page, "ann")
    form = fields(ann) | {"choice": "left"}
    assert ann.post("/answer", data=form | {"csrf": "x"}).status_code == 403
    assert (
        ann.post("/answer", data={k: v for k, v in form.items() if k != "csrf"}).status_code == 403
    )
    assert ann.post("/answer", json=form).status_code == 415
    assert ann.post("/answer", files={"csrf": b"x"}).status_code == 415
    assert store.history() == []


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil", ""])
def test_other_hosts_are_refused(page, host):
    ann = visit(page, "ann")
    assert ann.get("/", headers={"Host": host}).status_code == 400


def test_every_response_has_the_headers(page):
    ann = visit(page, "ann")
    for path in (
        "/",
        "/static/page.js",
        "/static/page.css",
        "/pictures/0",
        "/pictures/5",
        "/nowhere",
    ):
        headers = ann.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    text = ann.get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bon\w+=|\bstyle=|https?://|javascript:", text)


def test_what_people_write_is_escaped(page, store):
    eve = visit(page, UNSAFE[:40])
    text = eve.get("/").text
    assert "<script>alert" not in text and text.count("&lt;script&gt;alert") >= 2


@pytest.mark.parametrize(
    "path",
    [
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/..%2fpage.py",
        "/static//etc/passwd",
        "/pictures/../store.sqlite",
        "/pictures/%2e%2e%2fsecret",
        "/pictures/-1",
        "/pictures/1",
        "/pictures/99999999999999999999999",
        "/labels/secret",
    ],
)
def test_no_other_file_can_be_read(page, path):
    assert visit(page, "ann").get(path).status_code in (403, 404)


def test_limits(page, store):
    ann = visit(page, "ann")
    assert send(ann, "/answer", choice="left", reason="x" * 501).status_code == 400
    assert send(ann, "/answer", choice="left", reason="x" * LARGEST).status_code == 413
    many = iter([b"csrf=", b"x" * LARGEST])
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert ann.post("/answer", content=many, headers=form).status_code == 413
    assert send(ann, "/name", name="x" * 41).status_code == 400
    assert send(ann, "/name", name=" \x00\u200b ").status_code == 400
    assert send(ann, "/answer", choice="both").status_code == 400
    assert send(ann, "/answer", choice="left", ticket="\u0661").status_code == 400
    assert store.history() == []


def test_too_many_requests(store):
    page = Page(store, "secret", names_of("localhost"), buckets=Buckets(rate=0.0, burst=5.0))
    client = visit(page)
    assert [client.get("/static/page.js").status_code for _ in range(7)] == [200] * 5 + [429] * 2


def test_an_error_of_ours_shows_nothing(page, monkeypatch, caplog):
    ann = visit(page, "ann")
    monkeypatch.setattr(page.desk, "next", lambda name: 1 / 0)
    answer = ann.get("/")
    assert (
        answer.status_code == 500 and "Traceback" not in answer.text and "Zero" not in answer.text
    )
    assert "default-src" in answer.headers["content-security-policy"]
    assert "ZeroDivisionError" in caplog.text


def test_the_secret_is_kept_and_hidden(tmp_path):
    secret = secret_in(tmp_path)
    assert len(secret) > 40 and secret_in(tmp_path) == secret
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


TEXT = st.text(max_size=60) | st.sampled_from(
    ["left", "equal", "skip", "0", "-1", "\x00", "\ud7ff"]
)
FIELDS = ("csrf", "ticket", "number", "choice", "reason", "name", "x")


@settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    path=st.sampled_from(["/", "/name", "/answer", "/undo", "/pictures/0", "/static/page.css"])
    | TEXT,
    method=st.sampled_from(["GET", "POST", "POST", "PUT", "HEAD"]),
    changes=st.dictionaries(st.sampled_from(FIELDS), TEXT, max_size=4),
    raw=st.none() | st.binary(max_size=80),
)
def test_whatever_is_sent_nothing_fails_and_nothing_is_lost(
    page, store, path, method, changes, raw
):
    ann = visit(page, "ann")
    before = store.history()
    form = fields(ann) | changes
    sent = {"content": raw} if raw is not None else {"data": form}
    answer = ann.request(method, "/" + quote(path.lstrip("/").encode("utf-8", "replace")), **sent)
    assert answer.status_code < 500
    assert store.history()[: len(before)] == before
    assert len(store.history()) - len(before) in (0, 1)


def test_a_run_without_people_has_no_page(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    code, _, error = sobirl("label", tmp_path)
    assert code == 2 and "has nobody to ask" in error


def test_hosts():
    assert names_of("127.0.0.1") == ["127.0.0.1", "localhost"]
    assert "localhost" in names_of("0.0.0.0") and "*" not in names_of("0.0.0.0")
    assert names_of("10.0.0.7") == ["10.0.0.7", "127.0.0.1", "localhost"]

"""The labelling page in a browser: mouse, keyboard, two people, reloads, a killed server."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experience.streams import fragments
from sobirl.apps.labelling.safety import secret_in
from sobirl.deep.envs import Discrete, EnvSpec
from sobirl.deep.reward_model import RewardModel
from sobirl.experience import Fragment
from sobirl.experiments.rlhf import people
from sobirl.prefs import PreferenceStore

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = importlib.util.find_spec("axe_playwright_python")  # has axe-core's axe.min.js
pytestmark = [
    pytest.mark.slow,  # half a minute, and needs a browser
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]
SERVER = """
import sys
from pathlib import Path
import uvicorn
from sobirl.apps.labelling.page import Page
from sobirl.apps.labelling.safety import names_of, secret_in
from sobirl.prefs import PreferenceStore
store = PreferenceStore(Path(sys.argv[1]))
page = Page(store, secret_in(store.path), names_of("127.0.0.1"), cookie="sobirl-test")
uvicorn.run(page.app, port=int(sys.argv[2]), log_level="warning", access_log=False)
"""


class Server:
    """A server in a process of its own, which can be killed and started again."""

    def __init__(self, path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.path, self.secret = path, secret_in(path)
        self.start()

    def start(self):
        words = [sys.executable, "-c", SERVER, self.path, self.port]
        self.process = subprocess.Popen([*map(str, words)])
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def store(tmp_path, monkeypatch):
    """50 pairs of carts."""
    monkeypatch.setattr(people, "_spread", lambda *_: np.tile([0.1, 0.4, 0.0, 0.2], (2, 1)))
    spec = EnvSpec("CartPole-v1", (4,), np.dtype(np.float32), Discrete(2), "gymnax")
    draw = np.random.default_rng(0)
    with PreferenceStore(tmp_path / "labels") as store:
        painter, pairs = people.People(store, spec), []
        for number in range(50):
            seen = draw.normal(size=(2, 4, 4)).astype(np.float32) / 5
            fields = vars(fragments(2, seed=number)) | {"observation": seen}
            pairs.append(Fragment(**fields | {"mask": np.ones((2, 4), bool)}))
        model = RewardModel((4,), jax.random.key(0), num_actions=2)
        store.ask(pairs, 0, [painter.showing(pair, model) for pair in pairs])
        yield store


@pytest.fixture
def server(store):
    server = Server(store.path)
    yield server
    server.kill()


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as program:
        browser = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def person(browser, server, name, **options):
    page = browser.new_context(**options).new_page()
    page.errors = []
    page.on("console", lambda told: told.type == "error" and page.errors.append(told.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.port}/?token={server.secret}")
    page.fill("#name", name)
    page.keyboard.press("Enter")
    ready(page)
    return page


def ready(page):
    page.wait_for_selector("#clips[data-ready]")


def check_accessibility(page):
    if AXE is None:
        return
    script = Path(AXE.origin).parent / "axe.min.js"
    page.evaluate(script.read_text() + "; window.axe = axe; 0")
    found = page.evaluate("async () => (await axe.run()).violations.map((v) => v.id)")
    assert found == []


def test_people_label_in_browsers(store, server, browser):
    ann = person(browser, server, "ann", color_scheme="dark")
    assert "token" not in ann.url
    check_accessibility(ann)
    for number in range(20):
        if number % 2:
            ann.click("button[value=left]")
        else:
            ann.keyboard.press("ArrowRight")
        ready(ann)
        assert len(store.answers()) == number + 1  # 20 answers: the next is a hidden repeat
    ann.keyboard.press("u")
    ready(ann)
    assert "taken back" in ann.text_content("[role=status]") and len(store.answers()) == 19
    ann.keyboard.press("3")
    ready(ann)
    ann.go_back()
    ann.reload()
    ready(ann)
    assert len(store.answers()) == 20

    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    bob = person(browser, server, "bob", **phone)
    assert ann.get_attribute("#clips", "data-sheet") != bob.get_attribute("#clips", "data-sheet")
    assert bob.evaluate("document.documentElement.scrollWidth") == 390
    check_accessibility(bob)
    server.kill()
    server.start()
    bob.tap("button[value=unsure]")
    ready(bob)
    assert len(store.answers()) == 21
    assert store.answers()[-1].labeller == "bob" and store.answers()[-1].value is None
    assert ann.errors == bob.errors == []


def test_the_player(store, server, browser):
    ann = person(browser, server, "ann", reduced_motion="reduce")
    at = lambda: ann.text_content("#at")  # noqa: E731
    assert (at(), ann.text_content("#play")) == ("1 / 4", "Play")
    for key, there in (
        (".", "2 / 4"),
        (".", "3 / 4"),
        (",", "2 / 4"),
        ("m", "4 / 4"),
        (".", "1 / 4"),
    ):
        ann.keyboard.press(key)
        assert at() == there
    ann.keyboard.press("+")
    assert ann.input_value("#speed") == "2"
    ann.fill("#reason", "1 u s")  # letters are no keys there
    assert len(store.answers()) == 0
    ann.keyboard.press(" ")
    ann.click("button[value=equal]")
    ready(ann)
    assert ann.input_value("#speed") == "2" and store.answers()[0].reason == "1 u s"


def test_a_server_killed_between_requests_loses_nothing(store, server, kills=5):
    """An answer of which the page said that it is kept is kept; one that is sent again is one."""
    import re

    import httpx2

    said = {}
    client = httpx2.Client(base_url=f"http://127.0.0.1:{server.port}", follow_redirects=True)
    client.get("/", params={"token": server.secret})
    fields = lambda text: dict(re.findall(r'name="(csrf|ticket|number)" value="([^"]*)"', text))  # noqa: E731
    store.set(repeats=0)
    client.post("/name", data=fields(client.get("/").text) | {"name": "ann"})
    for number in range(kills):
        form = fields(client.get("/").text) | {"choice": ["equal", "unsure"][number % 2]}
        if number % 3:
            server.kill()
            server.start()
        answer = client.post("/answer", data=form)
        assert answer.status_code == 200
        said[int(form["ticket"])] = None if number % 2 else 0.5
        if not number % 3:
            server.kill()
            server.start()
            client.post("/answer", data=form)
        assert store.labels() == said and len(store.history()) == len(said)

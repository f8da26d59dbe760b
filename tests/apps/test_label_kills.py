"""Server and trainer killed at random moments, while people label over HTTP."""

import random
import socket
import threading
import time

import httpx2
import pytest

from apps.page_schema import forms
from experiments.test_rlhf import SMALL
from reborn import Reborn
from sobirl.apps.labelling.safety import secret_in
from sobirl.prefs import PreferenceStore

SIDES = {"left", "right"}  # which clip that is was chance


class Person(threading.Thread):
    """Answers what the page asks; what is not acknowledged is sent again.

    Attributes:
        said: the choice that was acknowledged, by number of the request.
    """

    def __init__(self, name, address, secret, seed):
        super().__init__(daemon=True)
        self.who, self.said, self.done = name, {}, False
        self._draw = random.Random(seed)
        self._client = httpx2.Client(base_url=address, follow_redirects=True, timeout=30)
        self._secret = secret

    def run(self):
        self._insist("GET", "/", params={"token": self._secret})
        page = self._insist("POST", "/name", form="/name", name=self.who)
        while not self.done:
            form = forms(page.text).get("/answer")
            if form is None:
                time.sleep(0.1)
                page = self._insist("GET", "/")
                continue
            choice = self._draw.choice(["left", "right", "equal", "unsure"])
            page = self._insist("POST", "/answer", data=form.hidden | {"choice": choice})
            if page is not None:
                assert "said=kept" in str(page.url)
                self.said[f"{self.who}/{form.hidden['number']}"] = choice

    def _insist(self, method, path, form=None, name=None, **words):
        if form is not None:
            hidden = forms(self._insist("GET", "/").text)[form].hidden
            words["data"] = hidden | {"name": name}
        while not self.done:
            try:
                answer = self._client.request(method, path, **words)
                assert answer.status_code == 200, answer.text
                return answer
            except httpx2.TransportError:
                time.sleep(0.02)
        return None


@pytest.mark.slow  # two minutes of processor
def test_fifty_kills_lose_and_double_nothing(tmp_path, servers=40, trainers=10, pairs=240):
    run, draw = tmp_path / "run", random.Random(0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = SMALL.replace("--pairs 12 --steps 120", f"--pairs {pairs} --steps 480").split()
    human = ["--teacher", "human", "--wait-for", pairs, "--out", run]
    label = ["label", run, "--port", port, "--repeats", 0]
    trainer = Reborn([*words, *human], ["resume", run])
    try:
        _until(lambda: (run / "labels" / "pairs" / "00000000.npz").exists())
        server = Reborn(label, label)
        _until(lambda: (run / "labels" / "secret").exists())
        address, secret = f"http://127.0.0.1:{port}", secret_in(run / "labels")
        people = [Person(f"person {n}", address, secret, n) for n in range(2)]
        for person in people:
            person.start()
        given = lambda: sum(len(person.said) for person in people)  # noqa: E731
        victims = [server] * servers + [trainer] * trainers
        draw.shuffle(victims)
        with PreferenceStore(run / "labels") as store:
            for number, victim in enumerate(victims, start=1):
                _until(lambda n=number: given() >= n * pairs // (len(victims) + 5))
                time.sleep(draw.uniform(0, 0.3))
                before = {request for person in people for request in dict(person.said)}
                victim.kill()
                kept = [request for (request,) in store.database.read("SELECT request FROM answer")]
                assert before <= set(kept)
        assert trainer.wait() == 0
        for person in people:
            person.done = True
            person.join()
    finally:
        trainer.end()
        server.end()
    with PreferenceStore(run / "labels") as store:
        rows = store.database.read("SELECT question, request, choice, undone FROM answer")
        assert store.first_seen().keys() == set(range(pairs))
    said = {request: choice for person in people for request, choice in person.said.items()}
    assert sorted(request for _, request, *_ in rows) == sorted(said)
    assert sorted(question for question, *_ in rows) == list(range(pairs))
    for _, request, choice, _ in rows:
        assert choice == said[request] or (said[request] in SIDES and choice in ("first", "second"))
    print(f"{server.kills} + {trainer.kills} kills, {len(said)} labels acknowledged")


def _until(holds, seconds=300):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)

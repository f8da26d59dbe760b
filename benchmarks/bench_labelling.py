"""Fifty people label at once on this machine: how long the page takes, and whether all is kept.

    python benchmarks/bench_labelling.py [--people 50] [--seconds 60]

A server in a process of its own has a store of pairs with pictures; each person, a coroutine of
this process, loads the page and the pair's pictures, looks for half a second to two, and answers.
"""

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import numpy as np

from machine import header
from sobirl.apps.labelling.page import Page
from sobirl.apps.labelling.safety import names_of, secret_in
from sobirl.experience import Fragment
from sobirl.prefs import PreferenceStore, Showing

ARRIVALS = 5.0  # seconds within which all have come: the limit on requests is one of an address
LOOKS = 0.5, 2.0  # seconds at a pair
ABOUT = {"width": 240, "height": 160, "columns": 50, "frames": [25, 25], "marks": [[], []]}
PICTURES = 60_000  # bytes, as those of CartPole


def main() -> None:
    """Serve, label, and look what is in the store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = filled(Path(folder) / "labels", round(options.people * options.seconds))
        words = [sys.executable, __file__, "--serve", store.path]
        server = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            print(f"{header()}; load {os.getloadavg()[0]:.1f} before", flush=True)
            times, acknowledged = asyncio.run(everyone(address, secret_in(store.path), options))
        finally:
            server.terminate()
            server.wait()
        rows = store.database.read("SELECT request FROM answer")
        kept = sorted(request for (request,) in rows)
        lost = set(acknowledged) - set(kept)
        store.close()
    print(f"\n{options.people} people, {options.seconds:g} s, {len(acknowledged)} labels")
    print(f"acknowledged and not kept: {len(lost)}; kept twice: {len(kept) - len(set(kept))}\n")
    print("| request | count | median, ms | 95 %, ms | 99 %, ms | largest, ms |")
    print("|---|---|---|---|---|---|")
    for name, seconds in times.items():
        cells = 1e3 * np.quantile(seconds, [0.5, 0.95, 0.99, 1.0])
        print(f"| {name} | {len(seconds)} | " + " | ".join(f"{cell:.0f}" for cell in cells) + " |")


def filled(path: Path, count: int) -> PreferenceStore:
    """A store of pairs that look alike."""
    store = PreferenceStore(path)
    zeros = np.zeros((2, 25), np.float32)
    pair = Fragment(
        observation=np.zeros((2, 25, 4), np.float32),
        action=np.zeros((2, 25), np.int32),
        reward=zeros,
        log_prob=zeros,
        mask=np.ones((2, 25), bool),
        taken_at=np.zeros(2, np.int32),
    )
    showing = Showing(random.Random(0).randbytes(PICTURES), ABOUT | {"rate": 12.5})
    store.ask([pair] * count, 0, [showing] * count)
    return store


def serve(path: Path) -> None:
    """The page of a store, as `sobirl label` serves it."""
    import socket

    import uvicorn

    with PreferenceStore(path) as store, socket.create_server(("127.0.0.1", 0)) as bound:
        page = Page(store, secret_in(path), names_of("127.0.0.1"))
        print(f"http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
        config = uvicorn.Config(page.app, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run([bound])


async def everyone(address: str, secret: str, options) -> tuple[dict[str, list], list[str]]:
    """How long every request took, by kind, and the numbers of the answers acknowledged."""
    times: dict[str, list[float]] = {"page": [], "pictures": [], "answer": []}
    acknowledged: list[str] = []
    end = time.monotonic() + options.seconds

    async def timed(kind: str, call):
        start = time.perf_counter()
        answer = await call
        times[kind].append(time.perf_counter() - start)
        assert answer.status_code in (200, 303), answer.text
        return answer

    async def person(number: int):
        draw, name = random.Random(number), f"person {number}"
        async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
            await asyncio.sleep(draw.uniform(0, ARRIVALS))
            await client.get("/", params={"token": secret})
            await client.post("/name", data=hidden((await client.get("/")).text) | {"name": name})
            while time.monotonic() < end:
                form = hidden((await timed("page", client.get("/"))).text)
                await timed("pictures", client.get(f"/pictures/{form['ticket']}"))
                await asyncio.sleep(draw.uniform(*LOOKS))
                form |= {"choice": draw.choice(["left", "right", "equal", "unsure"])}
                answer = await timed("answer", client.post("/answer", data=form))
                assert answer.headers["location"].endswith("said=kept")
                acknowledged.append(f"{name}/{form['number']}")

    await asyncio.gather(*map(person, range(options.people)))
    return times, acknowledged


def hidden(text: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'name="(csrf|ticket|number)" value="([^"]*)"', text))


if __name__ == "__main__":
    main()

"""A scripted person in a browser teaches CartPole what its reward does not say: a side to be on.

    python benchmarks/bench_browser_teaching.py [--pairs 60] [--seed 0] [--out FOLDER]

The person steps through both clips on the page of `sobirl label`, reads off the drawn pictures
where the cart is, and prefers the clip with more steps on the wanted side. The same person wanting
the other side is the control. Afterwards the clips that each run has drawn of its policy are read
in the same way. Needs playwright and Chromium.
"""

import argparse
import base64
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from machine import header

RUN = "run rlhf --env CartPole-v1 --method drlhf --teacher human --clips 3"
SIDES = {"left": -1, "right": 1}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# All pictures of both clips, as the player shows them step by step.
LOOK = """() => {
  document.getElementById("step").value = 1;
  document.getElementById("step").dispatchEvent(new Event("input"));
  const canvases = [...document.querySelectorAll("canvas")], seen = [[], []];
  const steps = Number(document.getElementById("step").max);
  for (let step = 0; step < steps; step++) {
    canvases.forEach((canvas, side) =>
      step < Number(canvas.dataset.count) && seen[side].push(canvas.toDataURL().split(",")[1]));
    document.getElementById("forth").click();
  }
  return seen;
}"""


def main() -> None:
    """Teach both sides, and tell where the carts are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/browser-teaching"))
    parser.add_argument("--figure", type=Path, help="draw the carts' ways there")
    options = parser.parse_args()
    if CHROMIUM is None:
        print("there is no Chromium: nothing is taught")
        return
    print(header())
    paths = {}
    for side in SIDES:
        run = options.out / side
        if not (run / "summary.json").exists():
            start = time.time()
            answers = teach(run, side, options)
            print(f"{side}: {answers}, {time.time() - start:.0f} s in all", flush=True)
        paths[side] = ways(run)
        means = ", ".join(f"{way.mean():+.2f}" for way in paths[side])
        print(f"{side}: mean position {means} of half the width in its clips", flush=True)
    if options.figure:
        draw(paths, options).savefig(options.figure, dpi=150)


def teach(run: Path, side: str, options) -> dict[str, int]:
    """A run whose questions a person in a browser answers; how often each answer was given."""
    from playwright.sync_api import Error, sync_playwright

    sobirl = [sys.executable, "-m", "sobirl.apps.cli"]
    words = [*RUN.split(), "--pairs", options.pairs, "--wait-for", options.pairs]
    words += ["--steps", options.steps, "--seed", options.seed, "--out", run, "--quiet"]
    words += ["--instruction", f"In which clip is the cart longer {side} of the center?"]
    trainer = subprocess.Popen([*map(str, [*sobirl, *words])])
    while not (run / "labels" / "pairs" / "00000000.webp").exists():
        assert trainer.poll() is None
        time.sleep(0.2)
    label = [*map(str, [*sobirl, "label", run, "--port", 0])]
    server = subprocess.Popen(label, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().split()[-1]
    given = {"left": 0, "right": 0, "equal": 0}
    try:
        with sync_playwright() as program:
            browser = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(address)
            page.fill("#name", "a script")
            page.keyboard.press("Enter")
            while trainer.poll() is None:
                try:  # it looks for pairs by itself
                    page.wait_for_selector("#clips[data-ready]", timeout=2000)
                    choice = preferred(page.evaluate(LOOK), SIDES[side])
                except Error:
                    continue
                with page.expect_navigation():
                    page.click(f"button[value={choice}]")
                given[choice] += 1
            browser.close()
    finally:
        server.terminate()
        server.wait()
        if trainer.poll() is None:
            trainer.terminate()
    assert trainer.returncode == 0
    return given


def preferred(clips: list[list[str]], sign: int) -> str:
    """The clip with more steps on the wanted side."""
    left, right = (
        sum(sign * position(Image.open(io.BytesIO(base64.b64decode(one)))) > 0 for one in clip)
        for clip in clips
    )
    return "equal" if left == right else "left" if left > right else "right"


def position(picture: Image.Image) -> float:
    """Where the cart is in a picture, from -1 to 1: the middle of what is black, its rail aside."""
    dark = np.asarray(picture.convert("RGB")).max(axis=-1) < 60
    dark = dark[dark.sum(axis=1) < 0.5 * dark.shape[1]]
    columns = np.nonzero(dark)[1]
    return float(2 * columns.mean() / (dark.shape[1] - 1) - 1)


def ways(run: Path) -> list[np.ndarray]:
    """The cart's position in every picture of the clips that a run has drawn of its policy."""
    found = []
    for path in sorted(run.glob("**/*.webp")):
        if path.parent.name != "pairs":
            frames = ImageSequence.Iterator(Image.open(path))
            found.append(np.array([position(frame) for frame in frames]))
    return found


def draw(paths: dict[str, list[np.ndarray]], options) -> Figure:
    """Where the carts are over time."""
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for (side, found), color, line in zip(
        paths.items(), ("#0072b2", "#d55e00"), ("-", "--"), strict=True
    ):
        for number, way in enumerate(found):
            label = f"taught to be {side}" if not number else None
            axes.plot(2.4 * way, color=color, linestyle=line, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        xlabel="step",
        ylabel="cart, read off the clip",
        ylim=(-2.4, 2.4),
        title=f"CartPole-v1 after {options.pairs} answers in a browser",
    )
    axes.legend()
    return figure


if __name__ == "__main__":
    main()

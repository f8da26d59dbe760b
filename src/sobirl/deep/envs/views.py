"""Pictures of what was observed, where the environment itself is long past that.

Screens and boards are pictures already. Classic control, numbered states (FrozenLake) and most
bodies of MuJoCo are set to the state that the observation tells, and drawn by Gymnasium. Everything
else is drawn as curves over time.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sobirl.deep.envs.pictures import board, camera_for, without_display
from sobirl.deep.envs.spec import EnvSpec

Pictures = list[np.ndarray]  # (H,W,3) each, of bytes

# Coordinates of the body that MuJoCo's observations leave out at their beginning.
_UNSEEN = {
    "InvertedPendulum": 0,
    "HalfCheetah": 1,
    "Hopper": 1,
    "Walker2d": 1,
    "Swimmer": 2,
    "Ant": 2,
    "Humanoid": 2,
    "HumanoidStandup": 2,
}


def _pusher(frame: np.ndarray, model: Any) -> np.ndarray:
    """The arm's joints, and how far object and goal slid along y and x from where they begin."""
    places = frame[-6:].reshape(2, 3) - [model.body(name).pos for name in ("object", "goal")]
    return np.concatenate([frame[:7], places[:, [1, 0]].ravel()])


# What MuJoCo calls `qpos`, where observations tell all of it in other words.
_POSES: dict[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "InvertedDoublePendulum": lambda o, _: np.append(o[0], np.arctan2(o[1:3], o[3:5])),
    "Reacher": lambda o, _: np.append(np.arctan2(o[2:4], o[:2]), o[4:6]),
    "Pusher": _pusher,
}
_SIDE = 240  # pixels of what MuJoCo draws
_CURVES = 8  # of an observation
_INK, _PALE, _DOT, _PAPER = (20, 40, 90), (150, 165, 195), (213, 94, 0), (255, 255, 255)


class View(NamedTuple):
    """How fragments become pictures.

    Attributes:
        draw: the frames of several fragments, (L,*obs) each -> their pictures. They are drawn
            together, since curves have a common scale.
        frames_per_second: how fast pictures should follow each other.
    """

    draw: Callable[[Sequence[np.ndarray]], list[Pictures]]
    frames_per_second: float | int


def view_of(spec: EnvSpec) -> View:
    """What draws observations of an environment; curves where nothing better can be had."""
    shape = spec.observation_shape
    if spec.observation_dtype == np.uint8 and len(shape) in (2, 3):
        return View(_each(_screen), 15)
    if len(shape) == 3:
        return View(_each(board), 10)
    try:
        camera = _camera_of(spec)
    except Exception:  # drivers, displays and packages fail in many ways
        camera = None
    if camera is None:
        return View(_curves, 10)
    return View(*camera)


def _each(draw: Callable[[np.ndarray], np.ndarray]):
    return lambda fragments: [[draw(frame) for frame in frames] for frames in fragments]


def _screen(frame: np.ndarray) -> np.ndarray:
    if frame.ndim == 2 or frame.shape[-1] == 1:
        return np.repeat(frame.reshape(*frame.shape[:2], 1), 3, axis=-1)
    return frame[..., :3]


def _camera_of(spec: EnvSpec) -> tuple[Callable, float | int] | None:
    """A way to draw, and its pace; None where observations do not tell the state.

    Raises:
        Exception: whatever keeps a driver from drawing.
    """
    if spec.name in _CONTROL:
        camera = camera_for(spec)

        def set_control(frame, first):
            camera.state = np.array(_CONTROL[spec.name](frame.astype(float)))

        return _drawn(camera, set_control)
    body = spec.name.partition("-")[0]
    is_body = body in _UNSEEN or body in _POSES
    if spec.backend != "gymnasium" or not (is_body or _is_numbered(spec)):
        return None
    without_display()
    size: dict[str, Any] = {"width": _SIDE, "height": _SIDE} if is_body else {}
    camera: Any = gymnasium.make(spec.name, render_mode="rgb_array", **size).unwrapped
    camera.reset(seed=0)
    if not is_body:
        return _drawn(camera, lambda frame, first: setattr(camera, "s", int(frame.argmax())))
    if body in _POSES:
        model, pose, still = camera.model, _POSES[body], np.zeros(camera.model.nv)
        return _drawn(
            camera, lambda frame, first: camera.set_state(pose(frame.astype(float), model), still)
        )
    model, unseen = camera.model, _UNSEEN[body]
    place = np.zeros(unseen)

    def set_body(frame, first):
        # Where the body is cannot be seen, but how fast it moves.
        seen = model.nq - unseen
        speed = frame[seen : seen + model.nv].astype(float)
        place[:] = 0 if first else place + speed[:unseen] * camera.dt
        camera.set_state(np.concatenate([place, frame[:seen]]), speed)

    return _drawn(camera, set_body)


def _drawn(camera: Any, put: Callable[[np.ndarray, bool], None]) -> tuple[Callable, float | int]:
    def draw(fragments):
        pictures = []
        for frames in fragments:
            pictures.append([])
            for number, frame in enumerate(frames):
                put(frame, number == 0)
                pictures[-1].append(np.asarray(camera.render(), np.uint8))
        return pictures

    camera.render()  # fails now, if it does
    return draw, camera.metadata.get("render_fps", 30)


def _is_numbered(spec: EnvSpec) -> bool:
    """Whether an observation is the number of a state, one-hot."""
    known = gymnasium.registry.get(spec.name)
    return known is not None and "toy_text" in str(known.entry_point)


# What Gymnasium calls `state`, from the observation.
_CONTROL: dict[str, Callable[[np.ndarray], Any]] = {
    "CartPole-v1": lambda o: o,
    "MountainCar-v0": lambda o: o,
    "MountainCarContinuous-v0": lambda o: o,
    "Pendulum-v1": lambda o: (np.arctan2(o[1], o[0]), o[2]),
    "Acrobot-v1": lambda o: (np.arctan2(o[1], o[0]), np.arctan2(o[3], o[2]), o[4], o[5]),
}


def _curves(fragments: Sequence[np.ndarray]) -> list[Pictures]:
    """Two numbers as a path in a plane, others as curves over time, with a dot for now."""
    tables = [np.reshape(frames, (len(frames), -1))[:, :_CURVES] for frames in fragments]
    low, high = (
        bound([bound(table, axis=0) for table in tables], axis=0) for bound in (np.min, np.max)
    )
    tables = [(table - low) / np.where(high > low, high - low, 1) for table in tables]
    return [
        [
            _plane(table, now) if table.shape[1] == 2 else _strips(table, now, low, high)
            for now in range(len(table))
        ]
        for table in tables
    ]


def _plane(table: np.ndarray, now: int) -> np.ndarray:
    width = height = 240
    image, pen = _sheet(width, height)
    points = [(12 + 216 * x, 228 - 216 * y) for x, y in table.tolist()]
    if len(points) > 1:
        pen.line(points, fill=_PALE, width=2)
    if now:
        pen.line(points[: now + 1], fill=_INK, width=3)
    _dot(pen, *points[now], 7)
    return np.asarray(image)


def _strips(table: np.ndarray, now: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    width, height, font = 320, 34, ImageFont.load_default(11)
    image, pen = _sheet(width, height * table.shape[1])
    for row, values in enumerate(table.T.tolist()):
        top = row * height
        steps = max(len(values) - 1, 1)
        points = [(62 + 248 * t / steps, top + 28 - 22 * v) for t, v in enumerate(values)]
        pen.text((3, top + 3), f"{high[row]:.3g}", fill=_INK, font=font)
        pen.text((3, top + 18), f"{low[row]:.3g}", fill=_INK, font=font)
        if len(points) > 1:
            pen.line(points, fill=_PALE, width=2)
        if now:
            pen.line(points[: now + 1], fill=_INK, width=2)
        _dot(pen, *points[now], 4)
    return np.asarray(image)


def _sheet(width: int, height: int):
    image = Image.new("RGB", (width, height), _PAPER)
    return image, ImageDraw.Draw(image)


def _dot(pen, x: float, y: float, radius: int) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_DOT, outline=_INK)

"""The server of a labelling page."""

import socket
import sys
from pathlib import Path

import numpy as np
import uvicorn

from sobirl.apps.labelling.page import Page
from sobirl.apps.labelling.safety import is_loopback, names_of, secret_in
from sobirl.core.errors import InvalidInputError
from sobirl.prefs import PreferenceStore
from sobirl.runs.saved import LABELS, METRICS, SavedRun


def serve(
    run: SavedRun, host: str, port: int, overlap: int | None = None, repeats: float | None = None
) -> None:
    """Serve until Ctrl-C; the address is printed.

    Args:
        run: with a store of labels.
        host: an address of this machine, or 0.0.0.0 for all of them.
        port: 0 for any.
        overlap: people for every pair; as it was set before by default.
        repeats: share of the answers that are asked for again; likewise.

    Raises:
        InvalidInputError: the address cannot be had.
    """
    with PreferenceStore(run.path / LABELS) as store, _bound(host, port) as bound:
        chosen = {"overlap": overlap, "repeats": repeats}
        store.set(**{name: value for name, value in chosen.items() if value is not None})
        secret, port = secret_in(store.path), bound.getsockname()[1]
        page = Page(store, secret, names_of(host), str(run.path), Accuracy(run), f"sobirl-{port}")
        if not is_loopback(host):
            print(
                "sobirl: warning: everyone who can reach this machine and knows the address may "
                "label; nothing is encrypted (see docs/labelling.md)",
                file=sys.stderr,
            )
        shown = socket.gethostname() if host == "0.0.0.0" else host
        print(f"label at http://{shown}:{port}/?token={secret}", flush=True)
        config = uvicorn.Config(
            page.app, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
        uvicorn.Server(config).run([bound])


def _bound(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise InvalidInputError(
            f"--host {host} --port {port}: cannot be served ({error.strerror})"
        ) from error


class Accuracy:
    """The last held-out accuracy of a run, read again where its metrics have changed.

    Args:
        run: whose metrics.
    """

    def __init__(self, run: SavedRun):
        self._run, self._path = run, Path(run.path) / METRICS
        self._read: tuple[int, float | None] = (0, None)

    def __call__(self) -> float | None:
        """The share of pairs that it predicts; None where nothing is known yet."""
        changed = self._path.stat().st_mtime_ns if self._path.exists() else 0
        if changed != self._read[0]:
            column = self._run.metrics().get("held_out_accuracy", np.array([]))
            known = column[np.isfinite(column)]
            self._read = changed, float(known[-1]) if len(known) else None
        return self._read[1]

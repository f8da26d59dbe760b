"""A process that forks children which label pairs in a loop until they are killed.

    python -m prefs.store_process FOLDER KILLS SEED

Forking spares every child the seconds that importing takes. The parent kills each child with
SIGKILL at a random moment, and then looks whether all that it acknowledged is in the store.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from experience.streams import fragments
from sobirl.prefs import PreferenceStore


def work(folder, acknowledge, seed):
    """Add pairs and label any of them, for ever; each line is written once it is done."""
    rng = random.Random(seed)
    with PreferenceStore(folder) as store:
        while True:
            if len(store) == 0 or rng.random() < 0.3:
                ticket = store.add(fragments(2, seed=len(store)))
                os.write(acknowledge, f"pair {ticket}\n".encode())
            else:
                ticket, value = rng.randrange(len(store)), rng.choice([0.0, 0.5, 1.0, None])
                store.label(ticket, value)
                os.write(acknowledge, f"label {ticket} {value}\n".encode())


def until_killed(folder, seed, seconds):
    """What a child acknowledged in its life, word by word."""
    receive, acknowledge = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        work(folder, acknowledge, seed)
    os.close(acknowledge)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        sys.exit("a child ended by itself")
    with os.fdopen(receive) as said:
        return [line.split() for line in said]


def main(folder, kills, seed):
    rng = random.Random(seed)
    history, num_pairs, acknowledged = [], 0, 0
    for kill in range(kills):
        said = until_killed(folder, kill, rng.uniform(0.02, 0.3))
        acknowledged += len(said)
        for kind, ticket, *value in said:
            if kind == "pair":
                assert int(ticket) == num_pairs
                num_pairs += 1
            else:
                history.append((int(ticket), None if value == ["None"] else float(value[0])))
        with PreferenceStore(folder) as store:
            found = store.history()
            # What it did last may be there although there was no time to say so.
            assert found[: len(history)] == history, (found, history)
            assert len(found) - len(history) + len(store) - num_pairs in (0, 1)
            history, num_pairs = found, len(store)
            assert store.labels() == dict(history)
    with PreferenceStore(folder) as store:
        for ticket in range(num_pairs):
            expected = fragments(2, seed=ticket).observation
            assert (store.pairs([ticket]).observation[0] == expected).all()
    print(f"killed {kills} acknowledged {acknowledged}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

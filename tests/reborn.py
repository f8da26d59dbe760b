"""A command whose process is killed again and again, and each time begun anew.

    python -m reborn FIRST_COMMAND -- COMMAND_AFTER_A_KILL

A parent that has imported what the command needs forks children that run it, which spares them the
seconds that importing takes; to SIGKILL they are processes like any other. It writes the number of
each, and ends like the first one that ends by itself.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path


def main(words):
    import jax  # noqa: F401

    import sobirl.apps.labelling.server
    import sobirl.experiments.rlhf.run  # noqa: F401
    from sobirl.apps import cli

    end = words.index("--")
    command = words[:end]
    while True:
        child = os.fork()
        if not child:
            cli.main(command)
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status)
        command = words[end + 1 :]


class Reborn:
    """The parent, and the number of its present child.

    Args:
        first: words of the command of sobirl.
        after: those after a kill.
    """

    def __init__(self, first, after):
        words = [sys.executable, "-m", "reborn", *first, "--", *after]
        tests = Path(__file__).parent
        self.parent = subprocess.Popen(
            [*map(str, words)], cwd=tests, stdout=subprocess.PIPE, text=True
        )
        self.kills = 0
        self.child = self._next()

    def _next(self):
        for line in self.parent.stdout:
            if line.strip().isdecimal():  # the command says things too
                return int(line)
        raise AssertionError(f"{shlex.join(map(str, self.parent.args))}: ended")

    def kill(self):
        """SIGKILL the child; another takes its place."""
        os.kill(self.child, 9)
        self.kills += 1
        self.child = self._next()

    def wait(self):
        """The exit code, once the command has ended by itself."""
        self.parent.stdout.read()
        return self.parent.wait()

    def end(self):
        """No more children."""
        if self.parent.poll() is None:
            self.parent.kill()  # first, so that it begins no other
            os.kill(self.child, 9)
        self.parent.wait()
        self.parent.stdout.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`sobirl run maze`: options, run and figures."""

from sobirl.experiments.maze.options import MazeRun as MazeRun

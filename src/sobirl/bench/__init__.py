"""Benchmarks: methods × problems × seeds within one budget, and a leaderboard of all of them.

from sobirl.bench import Budget, run_bench

board = run_bench(["four-rooms"], ["exact", "hpgd"], seeds=5, budget=Budget(), out="bench")
"""

from sobirl.bench.bench import run_bench
from sobirl.bench.leaderboard import Leaderboard, Line
from sobirl.bench.tasks import Budget, Task, cells_of, tasks

__all__ = ["Budget", "Leaderboard", "Line", "Task", "cells_of", "run_bench", "tasks"]

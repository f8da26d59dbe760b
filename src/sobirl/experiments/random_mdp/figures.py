"""Convergence of a run on a random MDP."""

import numpy as np
from matplotlib.figure import Figure


def convergence(
    norms: np.ndarray, objectives: np.ndarray, reference: np.ndarray | None = None
) -> Figure:
    """The hyper-gradient's norm and the objective's excess over its lowest value, by step."""
    steps = np.arange(1, len(norms) + 1)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.loglog(steps, norms, color="tab:blue", lw=2, label="sobirl")
    if reference is not None:
        label = "authors' code"
        left.loglog(steps[: len(reference)], reference, "--", color="tab:orange", label=label)
        left.legend(frameon=False)
    left.set(title="Hyper-gradient", xlabel="outer step k", ylabel=r"$\|\nabla\varphi(x_k)\|$")
    excess = objectives - objectives.min()
    right.loglog(steps[excess > 0], excess[excess > 0], color="tab:blue", lw=2)
    right.set(
        title=f"Objective (lowest: {objectives.min():.6g})",
        xlabel="outer step k",
        ylabel=r"$f(x_{k+1}, \pi_{k+1})$ above its lowest",
    )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure

"""The toll problem of the README, recorded, and read back.

    python examples/tolls.py

Stopped with Ctrl-C it goes on where it was when it is called again; `sobirl show runs/tolls` says
how far it is, `sobirl report runs/tolls` draws it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sobirl as sb

jax.config.update("jax_enable_x64", True)

rng = np.random.default_rng(0)
P = rng.dirichlet(np.ones(20), size=(20, 4))  # P[s, a, s']: 20 places, 4 ways to travel
comfort = rng.uniform(size=(20, 4))  # what a traveller gets from each
rho = np.full(20, 1 / 20)  # where travellers start


def tolls(x):
    """The last way of travelling stays free."""
    return jnp.pad(x, ((0, 0), (0, 1)))


def follower(x):
    """The world that the tolls make."""
    reward = comfort - tolls(x)
    return sb.SoftMDP(sb.Dense(P), reward, discount=0.99, temperature=0.1, initial=rho)


def objective(x, response):
    """Minus the revenue."""
    return -sb.policy_return(follower(x), response.policy, reward=tolls(x), discount=0.95)


problem = sb.BilevelProblem(follower, objective)

if __name__ == "__main__":
    sb.record(
        problem,
        jnp.zeros((20, 3)),
        out="runs/tolls",
        name="tolls",
        optimizer=optax.adam(1e-2),
        num_steps=500,
        metrics=lambda result: {"revenue": -result.objective},
    )

    run = sb.load_run("runs/tolls", problem)
    print("tolls in place 0:", np.round(run.x[0], 3))
    print("what travellers do there:", np.round(run.policy(0), 3))
    print("what they get from the first way:", round(run.reward(0, 0), 3))
    print("the last row:", {name: float(column[-1]) for name, column in run.history.items()})

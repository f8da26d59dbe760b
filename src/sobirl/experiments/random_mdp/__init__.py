"""`sobirl run random-mdp`: options, run and figures."""

from sobirl.experiments.random_mdp.options import RandomMDPRun as RandomMDPRun

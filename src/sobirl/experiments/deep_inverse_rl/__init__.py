"""`sobirl run deep-inverse-rl`: options, run and figures."""

from sobirl.experiments.deep_inverse_rl.options import DeepInverseRLRun as DeepInverseRLRun

"""`sobirl run inverse-rl`: options, run and figures."""

from sobirl.experiments.inverse_rl.options import InverseRLRun as InverseRLRun

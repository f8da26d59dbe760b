"""`sobirl run rlhf`: options, presets, what is learned in which rounds, clips and figures."""

from sobirl.experiments.rlhf.options import RLHFRun as RLHFRun

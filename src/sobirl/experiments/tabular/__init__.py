"""`sobirl run tabular`: options, run and figures."""

from sobirl.experiments.tabular.options import TabularRun as TabularRun

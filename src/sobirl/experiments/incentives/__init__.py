"""`sobirl run incentives`: options, what follows from them, rounds, figures and clips."""

from sobirl.experiments.incentives.options import IncentivesRun as IncentivesRun

"""`sobirl run discrete-choice`: options, run and figures."""

from sobirl.experiments.discrete_choice.options import DiscreteChoiceRun as DiscreteChoiceRun

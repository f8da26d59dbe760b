"""Estimating what agents want from what they choose: dynamic discrete choice, inverse RL."""

from sobirl.estimation.demonstrations import Demonstrations
from sobirl.estimation.estimators import CCP, NPL, Estimator, MaximumLikelihood
from sobirl.estimation.frequencies import Frequencies
from sobirl.estimation.increments import Increments
from sobirl.estimation.inverse_rl import MaximumLikelihoodIRL
from sobirl.estimation.irl_result import IRLResult
from sobirl.estimation.levels import Bins, Quantiles
from sobirl.estimation.mixture import MixtureResult, fit_mixture
from sobirl.estimation.model import DiscreteChoice
from sobirl.estimation.result import ChoiceResult
from sobirl.estimation.shaping import shaped

__all__ = [
    "CCP",
    "NPL",
    "Bins",
    "ChoiceResult",
    "Demonstrations",
    "DiscreteChoice",
    "Estimator",
    "Frequencies",
    "IRLResult",
    "Increments",
    "MaximumLikelihood",
    "MaximumLikelihoodIRL",
    "MixtureResult",
    "Quantiles",
    "fit_mixture",
    "shaped",
]

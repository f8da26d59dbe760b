"""Estimating what agents want from what they choose: dynamic discrete choice."""

from sobirl.estimation.estimators import CCP, NPL, Estimator, MaximumLikelihood
from sobirl.estimation.first_stage import Frequencies, Increments
from sobirl.estimation.levels import Bins, Quantiles
from sobirl.estimation.mixture import MixtureResult, fit_mixture
from sobirl.estimation.model import DiscreteChoice
from sobirl.estimation.result import ChoiceResult

__all__ = [
    "CCP",
    "NPL",
    "Bins",
    "ChoiceResult",
    "DiscreteChoice",
    "Estimator",
    "Frequencies",
    "Increments",
    "MaximumLikelihood",
    "MixtureResult",
    "Quantiles",
    "fit_mixture",
]

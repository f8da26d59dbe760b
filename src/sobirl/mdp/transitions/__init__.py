"""Transition operators: laws P(s'|s,a) in the form that their structure allows."""

from sobirl.mdp.transitions.dense import Dense
from sobirl.mdp.transitions.function import FunctionTransition
from sobirl.mdp.transitions.operator import TransitionOperator, invert
from sobirl.mdp.transitions.post_decision import PostDecision
from sobirl.mdp.transitions.product import Product
from sobirl.mdp.transitions.successor_list import SuccessorList

__all__ = [
    "Dense",
    "FunctionTransition",
    "PostDecision",
    "Product",
    "SuccessorList",
    "TransitionOperator",
    "invert",
]

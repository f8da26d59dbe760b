"""sobirl."""
from sobirl.mdp import Dense, SoftMDP, SuccessorList, rollout
from sobirl.solve import *
from sobirl.core import *

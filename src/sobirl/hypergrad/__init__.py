"""Methods: ways to get the hyper-gradient, one file each."""

from sobirl.hypergrad.exact import Exact
from sobirl.hypergrad.m_sobirl import MSoBiRL

__all__ = ["Exact", "MSoBiRL"]

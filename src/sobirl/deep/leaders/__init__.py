"""Leaders of deep followers: what a reward is for, and how the two terms of its gradient are found.

One file a leader, behind the contract of `sobirl.deep.leaders.leader`.
"""

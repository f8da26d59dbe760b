"""A tabular example: tolls and a cheaper bus that keep cars away from a school street.

Commuters start at any of 16 junctions, where four streets cross four avenues, and go to the office
at the eastern end of Market Street. They drive from junction to junction or take the bus. Driving
costs time and may end in a jam, at the same junction; for many the best way is School Street. The
city may put a toll on three streets and subsidize the bus: x has these four amounts, in euros. It
wants little time lost and little harm done, most of which is done on School Street. Tolls and
subsidies change hands within the city: they count neither way (transfer = 0), but for what they
change. If each harm had its toll, the best toll would be the harm: Pigou (1920).
"""

import numpy as np

from sobirl.problems.tabular.problem import Tabular, transition_operator

STREETS = ("Ring", "Market", "School", "River")
AVENUES = ("West", "Park", "Church", "East")
ACTIONS = ("bus", "east", "south", "west", "north")
FEATURES = ("toll_ring", "toll_market", "toll_school", "bus_subsidy")
OFFICE = "Office"

# Along a street or an avenue: the driver's cost, the chance of a jam, the harm to the city; euros.
DRIVES = {
    "Ring": (0.5, 0.05, 0.1),
    "Market": (0.6, 0.3, 0.3),
    "School": (0.4, 0.05, 0.6),
    "River": (0.9, 0.1, 0.3),
    "avenue": (0.5, 0.1, 0.2),
}
BUS = (2.5, 0.2, 0.1)  # the fare and the time, the chance to wait longer, the harm


def example() -> Tabular:
    """The school street: 17 states, 5 actions, x in R⁴."""
    junctions = [(street, avenue) for street in range(4) for avenue in range(4)]
    moves = {"east": (0, 1), "south": (1, 0), "west": (0, -1), "north": (-1, 0)}
    office = len(junctions)
    shape = (office + 1, len(ACTIONS))
    reward, leader_reward, features = np.zeros(shape), np.zeros(shape), np.zeros((*shape, 4))
    available = np.zeros(shape, dtype=bool)
    steps = []
    for here, (street, avenue) in enumerate(junctions):
        for action, name in enumerate(ACTIONS):
            if name == "bus":
                there, way = office, BUS
                features[here, action, FEATURES.index("bus_subsidy")] = 1.0
            else:
                down, right = moves[name]
                end = (street + down, avenue + right)
                is_arrival = (STREETS[street], AVENUES[avenue], name) == ("Market", "East", "east")
                if end not in junctions and not is_arrival:
                    continue
                there = office if is_arrival else junctions.index(end)
                along = STREETS[street] if right else "avenue"
                way = DRIVES[along]
                toll = f"toll_{along.lower()}"
                if toll in FEATURES:
                    features[here, action, FEATURES.index(toll)] = -1.0
            cost, delay, harm = way
            available[here, action] = True
            reward[here, action] = -cost
            leader_reward[here, action] = -round(cost + harm, 2)
            steps += [(here, action, there, 1 - delay), (here, action, here, delay)]
    terminal = np.arange(office + 1) == office
    state, action, target, chance = zip(*steps, strict=True)
    return Tabular(
        transition=transition_operator(
            available, *map(np.array, (state, action, target)), chance=np.array(chance)
        ),
        reward=reward,
        features=features,
        leader_reward=leader_reward,
        initial=~terminal / office,
        available=available,
        terminal=terminal,
        states=(*(f"{STREETS[s]} & {AVENUES[a]}" for s, a in junctions), OFFICE),
        actions=ACTIONS,
        feature_names=FEATURES,
    )

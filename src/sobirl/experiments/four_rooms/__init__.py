"""`sobirl run four-rooms`: options, run and figures."""

from sobirl.experiments.four_rooms.options import FourRoomsRun as FourRoomsRun

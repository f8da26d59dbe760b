"""`sobirl run fleet`: options, run and figures."""

from sobirl.experiments.fleet.options import FleetRun as FleetRun

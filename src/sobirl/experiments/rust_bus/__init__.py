"""`sobirl run rust-bus`: options, run and figures."""

from sobirl.experiments.rust_bus.options import RustBusRun as RustBusRun

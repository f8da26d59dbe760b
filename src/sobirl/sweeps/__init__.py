"""Sweeps: many runs over commands, methods, options and seeds, on one machine or a cluster.

    from sobirl.sweeps import Cell, LocalEngine, run_sweep

    cells = [Cell("random-mdp", {"method": "exact", "seed": seed}) for seed in range(5)]
    swept = run_sweep(cells, "sweeps/mine", LocalEngine(workers=2))

The same from a file: `read_config("sweep.toml").cells()`.
"""

from typing import TYPE_CHECKING

from sobirl.core.lazy import lazy_names

if TYPE_CHECKING:
    from sobirl.sweeps.cells import Cell as Cell
    from sobirl.sweeps.config import SweepConfig as SweepConfig
    from sobirl.sweeps.config import as_config as as_config
    from sobirl.sweeps.config import read_config as read_config
    from sobirl.sweeps.engines import Engine as Engine
    from sobirl.sweeps.local import LocalEngine as LocalEngine
    from sobirl.sweeps.on_ray import RayEngine as RayEngine
    from sobirl.sweeps.sweep import Swept as Swept
    from sobirl.sweeps.sweep import run_sweep as run_sweep
else:
    _MODULES = {
        "Cell": "sobirl.sweeps.cells",
        "Engine": "sobirl.sweeps.engines",
        "LocalEngine": "sobirl.sweeps.local",
        "RayEngine": "sobirl.sweeps.on_ray",
        "SweepConfig": "sobirl.sweeps.config",
        "Swept": "sobirl.sweeps.sweep",
        "as_config": "sobirl.sweeps.config",
        "read_config": "sobirl.sweeps.config",
        "run_sweep": "sobirl.sweeps.sweep",
    }
    __all__ = sorted(_MODULES)
    __getattr__, __dir__ = lazy_names(__name__, _MODULES)

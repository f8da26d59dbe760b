"""`pytest --compile-report`: what each test file spends on JAX's compilation, and its memory.

Inner jitted functions are traced within outer ones, so that tracing is counted more than once.
"saved" is what compilation would have taken of programs that were in the cache.
"""

import collections
import resource

import jax.monitoring
import pytest

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
    "/jax/compilation_cache/compile_time_saved_sec": "saved",
}
COLUMNS = ("seconds", *STAGES.values(), "programs", "peak MB")


def pytest_addoption(parser):
    parser.addoption("--compile-report", action="store_true", help=__doc__.splitlines()[0])


def pytest_configure(config):
    if config.getoption("compile_report"):
        config.pluginmanager.register(CompileReport())


class CompileReport:
    """Listens in the workers, adds up where their reports arrive."""

    def __init__(self):
        self.now, self.files = collections.Counter(), collections.defaultdict(collections.Counter)
        jax.monitoring.register_event_duration_secs_listener(self.listen)

    def listen(self, event, seconds, **_):
        if stage := STAGES.get(event):
            self.now[stage] += seconds
            self.now["programs"] += stage == "compiling"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        report.compilation, self.now = dict(self.now), collections.Counter()
        report.compilation["seconds"] = report.duration
        report.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return report

    def pytest_runtest_logreport(self, report):
        file = self.files[report.nodeid.partition("::")[0]]
        file.update(report.compilation)
        file["peak MB"] = max(file["peak MB"], report.peak)

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("compilation")
        terminalreporter.write_line("".join(f"{name:>10}" for name in COLUMNS) + "  file")
        total = collections.Counter()
        for name, file in sorted(self.files.items(), key=lambda item: -item[1]["seconds"]):
            total.update(file)
            terminalreporter.write_line(self.line(file) + name)
        total["peak MB"] = max(file["peak MB"] for file in self.files.values())
        terminalreporter.write_line(self.line(total) + "all")

    def line(self, file):
        return (
            "".join(f"{file[name]:10.{2 * (name in STAGES.values())}f}" for name in COLUMNS) + "  "
        )

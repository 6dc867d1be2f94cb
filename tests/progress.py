"""What is said while files run beside each other: a line for each file when it is done, and each failure at once."""

from collections import Counter
from dataclasses import dataclass, field

import pytest


@dataclass
class File:
    """What is known of one file of tests."""

    tests: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def is_done(self) -> bool:
        return self.outcomes.total() >= self.tests


class Progress:
    """A plugin of the process that the workers report to. It replaces the dots, which say nothing of where they are."""

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager
        self._files: dict[str, File] = {}
        #: What is known so far of tests that are not over, and are not simply passing.
        self._outcomes: dict[str, str] = {}
        self._done = 0
        self._is_quiet = False

    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        counts = Counter(_file(nodeid) for nodeid in ids)
        self._files = {name: File(count) for name, count in counts.items()}

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> object:
        """The category only, which the summary counts, for as long as it is asked for a report that has come."""
        category, letter, word = yield
        return (category, "", "") if self._is_quiet else (category, letter, word)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> object:
        self._is_quiet = True
        yield
        self._is_quiet = False
        self._note(report)

    def _note(self, report: pytest.TestReport) -> None:
        if (file := self._files.get(_file(report.nodeid))) is None:
            return
        file.seconds += report.duration
        if report.failed and self._outcomes.get(report.nodeid) != "failed":
            self._say(f"FAILED {report.nodeid}", red=True)
        if not report.passed:
            self._outcomes[report.nodeid] = report.outcome
        if report.when == "teardown":
            outcome = self._outcomes.pop(report.nodeid, "passed")
            file.outcomes[outcome] += 1
            self._done += 1
            if file.is_done:
                self._tell(_file(report.nodeid), file)

    def _tell(self, name: str, file: File) -> None:
        share = 100 * self._done // sum(each.tests for each in self._files.values())
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(file.outcomes.items()))
        self._say(f"{share:3d} %  {file.seconds:5.1f} s  {name}: {counts}")

    def _say(self, line: str, **markup: bool) -> None:
        self._plugins.get_plugin("terminalreporter").write_line(line, **markup)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]

"""The client side is for Linux, macOS and Windows: what its modules import first of all is to be had on each."""

import ast
import re
import tomllib

import pytest

from tests.support.daemon import ROOT

#: Of the standard library, what Windows lacks.
POSIX_ONLY = {"curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}

MODULES = sorted(path for room in ("client", "pyvisa_daemon") for path in (ROOT / room).rglob("*.py"))


def linux_only() -> set[str]:
    """The packages that are installed on Linux alone, as they are imported."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    marked = [line for line in dependencies if "sys_platform" in line]
    return {re.split(r"[^A-Za-z0-9_-]", line)[0].lower().replace("-", "_") for line in marked}


def imported_at_once(tree: ast.Module) -> set[str]:
    """The top-level modules that are imported whatever the system is: not within a function, an `if` or a `try`."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_packages_for_linux_are_known():
    """Else the test below would look for nothing."""
    assert {"psutil", "structlog", "uvloop"} <= linux_only()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_what_every_system_has(module):
    """Where one system only has something, the import stands where it is needed."""
    assert not imported_at_once(ast.parse(module.read_text("utf-8"))) & (POSIX_ONLY | linux_only())

"""What is built, and an environment that has it and what it declares to need, and nothing else."""

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from zipfile import Path as ZipPath
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.daemon import ROOT


@dataclass(frozen=True)
class Built:
    """A source distribution, and the wheel that was built from it, unpacked; as pip does it."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Installed:
    """An environment, and an empty folder to work in."""

    environment: Path
    folder: Path

    def command(self, name: str) -> str:
        return str(self.environment / "bin" / name)

    def variables(self) -> dict[str, str]:
        """The caller's, less what leads Python elsewhere."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYVISA", "VIRTUAL"))
        }
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(self.folder)}

    def run(self, name: str, *arguments: str) -> str:
        """What the command says on stdout; it ends well."""
        done = subprocess.run(
            [self.command(name), *arguments],
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    build("sdist", ROOT, folder)
    [sdist] = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-xf", sdist, "-C", folder], check=True, timeout=60)
    build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)
    [wheel] = folder.glob("*.whl")
    return Built(sdist, wheel)


def build(target: str, source: Path, folder: Path) -> None:
    """With the build backend that is installed here, so without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a new environment, with what it requires; that is lent by the environment of the tests."""
    environment = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True, timeout=60)
    [packages] = (environment / "lib").glob("python3*/site-packages")
    for needed in required(built.wheel):
        lend(needed, packages)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "--disable-pip-version-check"]
    command = [*pip, "install", "--no-index", "--no-deps", "--no-compile", "--quiet", str(built.wheel)]
    subprocess.run(command, check=True, timeout=60)
    return Installed(environment, tmp_path_factory.mktemp("empty"))


def metadata(wheel: Path) -> Distribution:
    """What the wheel says of itself."""
    with ZipFile(wheel) as archive:
        [folder] = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    return PathDistribution(ZipPath(wheel, f"{folder}/"))  # type: ignore[arg-type] # as good as a Path


def required(wheel: Path) -> list[Distribution]:
    """What is installed with the wheel on this system: what it requires, and what that does; without the extras."""
    found: dict[str, Distribution] = {}
    waiting = requirements(metadata(wheel))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            found[name] = distribution(name)
            waiting.extend(requirements(found[name]))
        assert found[name].version in requirement.specifier, requirement
    return list(found.values())


def requirements(of: Distribution) -> list[Requirement]:
    every = [Requirement(line) for line in of.requires or ()]
    return [each for each in every if each.marker is None or each.marker.evaluate({"extra": ""})]


def lend(needed: Distribution, packages: Path) -> None:
    """Have in the folder `packages` what the distribution has in the one of the tests; not the commands."""
    for name in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
        (packages / name).symlink_to(Path(str(needed.locate_file(name))))

"""The Dockerfile, as far as that can be said without a container engine: its steps, its context, and its commands."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from front_proc.configuration.settings import read_settings
from tests.packaging.conftest import build
from tests.packaging.test_distributions import PACKAGES
from tests.support.daemon import READY, ROOT

TEXT = (ROOT / "Dockerfile").read_text()
#: Instruction and argument, in order; lines that go on in the next one are joined.
STEPS = [
    tuple(line.split(" ", 1))
    for line in re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()
    if line
]
FIRST_STAGE = STEPS[: [number for number, (word, _) in enumerate(STEPS) if word == "FROM"][1]]
#: Where the package is in the image.
PLACE = "/usr/local/lib/instrument-daemon"


def said(instruction: str) -> list[str]:
    return [argument for word, argument in STEPS if word == instruction]


def environment() -> dict[str, str]:
    [line] = said("ENV")
    return dict(word.split("=", 1) for word in shlex.split(line))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What `COPY . .` finds: .dockerignore lets in whole files and folders, by name, and nothing else."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    folder = tmp_path / "context"
    folder.mkdir()
    for name in [line[1:] for line in lines if line.startswith("!")]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    assert {line for line in lines[1:] if not line.startswith("!")} == {"**/__pycache__"}
    return folder


def test_context_is_what_the_package_is_built_from(context):
    """No token, no log, no work in progress."""
    files = {"LICENSE", "README.md", "pyproject.toml", "requirements.lock"}
    assert {path.name for path in context.iterdir()} == files | set(PACKAGES)


def test_context_builds_the_same_wheel(context, built, tmp_path):
    build("wheel", context, tmp_path)
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_daemon_of_the_image_has_the_folder_that_is_kept(monkeypatch):
    """Without an option: for whoever runs a command in the container."""
    [folder] = said("VOLUME")
    state = environment()["XDG_STATE_HOME"]
    monkeypatch.setenv("XDG_STATE_HOME", state)
    assert f"ln --symbolic {folder} {read_settings([]).run_dir}" in said("RUN")[-1]
    assert f"--mode 0700 {folder} " in said("RUN")[-1]
    assert said("WORKDIR")[-1] == folder


def test_command_of_the_image_is_accepted():
    """It listens where it can be reached, on the port that is published; as a user who is not root."""
    command, *options = json.loads(said("CMD")[-1])
    settings = read_settings(options)
    assert (command, settings.host, settings.daemonize) == ("instrument-daemon", "0.0.0.0", False)
    assert said("EXPOSE") == [str(settings.port)]
    assert said("USER") == ["instrument-daemon"]
    assert said("USER")[0] in said("RUN")[-1]


def test_health_is_asked_in_a_way_that_works(daemon):
    """It ends with 0 while the daemon serves, and else not."""
    [line] = said("HEALTHCHECK")
    command = json.loads(line.partition(" CMD ")[2])
    assert command[:3] == ["instruments", "--host", "127.0.0.1"]
    installed = Path(sys.executable).with_name("instruments")

    def asked(port: int) -> int:
        words = [str(installed), *(f"127.0.0.1:{port}" if word == "127.0.0.1" else word for word in command[1:])]
        return subprocess.run(words, capture_output=True, timeout=60).returncode

    assert asked(daemon.port) == 0
    daemon.end()
    assert asked(daemon.port) != 0


def test_steps_install_into_the_place_that_is_copied():
    """And both commands are found there."""
    installs = [step for word, step in FIRST_STAGE if word == "RUN"]
    assert all(PLACE in step for step in installs)
    assert f"--from=build {PLACE} {PLACE}" in said("COPY")
    assert environment()["PATH"] == f"{PLACE}/bin:$PATH"
    assert "--require-hashes" in installs[1]


def test_shell_of_every_step_parses():
    for step in said("RUN"):
        done = subprocess.run(["bash", "-n", "-c", step], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_pages_keep_the_folder_that_is_to_be_kept():
    """Another one would be root's, and gone with the container."""
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    kept = set(re.findall(r"(?:-v|--volume) \w+:(/\S+)", TEXT + pages))
    assert kept == set(said("VOLUME"))


@pytest.mark.full
@pytest.mark.timeout(600)
def test_steps_make_a_daemon_that_serves(context, tmp_path):
    """The steps of the first stage, executed here in order; then the command, on loopback."""
    place, folder = tmp_path / "place", tmp_path / "build"
    folder.mkdir()
    for word, argument in FIRST_STAGE:
        if word == "COPY":
            source, _ = argument.split()
            subprocess.run(["cp", "-r", f"{context}/{source}", folder], check=True)
        elif word == "RUN":
            step = argument.replace(PLACE, str(place))
            subprocess.run(["bash", "-c", step], cwd=folder, check=True, timeout=500)
    variables = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "XDG_STATE_HOME": str(tmp_path)}
    command = [*json.loads(said("CMD")[-1]), "--host", "127.0.0.1", "--port", "0", "--demo"]
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stdout is not None
            ready = READY.fullmatch(daemon.stdout.readline().strip())
            assert ready is not None
            asked = ["instruments", "--host", f"127.0.0.1:{ready['port']}", "query", "multimeter", "*IDN?"]
            answer = subprocess.run(asked, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
            assert answer.stdout == "DEMO BENCH,MULTIMETER,DM000022,1.0\n"
            daemon.terminate()
            assert daemon.wait(60) == 0
        finally:
            daemon.kill()
    assert (tmp_path / "pyvisa-daemon" / "audit.jsonl").exists()

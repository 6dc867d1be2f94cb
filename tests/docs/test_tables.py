"""The tables in docs/ that come from code are as the code has them."""

import re
import shutil
import subprocess
import sys

from front_proc.process.lifecycle import TRANSITIONS
from pyvisa_daemon.errors import ERRORS
from tests.docs.pages import PAGES, prose
from tests.support.daemon import ROOT

#: What docs/tables.py looks at.
PARTS = ("benchmarks", "client", "demo_bench", "docs", "front_proc", "instrument_proc", "pyvisa_daemon")


def run(*arguments, script=ROOT / "docs" / "tables.py"):
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=60)


def test_tables_agree_with_the_code():
    """`python docs/tables.py --check` has nothing to say."""
    done = run("--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_shows_what_would_change(tmp_path):
    """A table that the code has left behind fails with a diff; rewriting mends it and keeps the page's own words."""
    for name in PARTS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    script = tmp_path / "docs" / "tables.py"
    errors = tmp_path / "docs" / "reference" / "errors.md"
    right = errors.read_text()
    errors.write_text(right.replace("-1073807339", "-1073807338"))
    checked = run("--check", script=script)
    assert checked.returncode == 1
    assert "+| `VI_ERROR_TMO` | -1073807339 |" in checked.stderr
    assert run(script=script).returncode == 0
    assert errors.read_text() == right


def test_a_row_without_words_is_refused(tmp_path):
    """A new error token must be explained before the check passes."""
    for name in PARTS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    table = tmp_path / "pyvisa_daemon" / "errors.py"
    table.write_text(table.read_text().replace('("FORBIDDEN",', '("BEWITCHED", "VI_ERROR_IO", "new"), ("FORBIDDEN",'))
    remedies = table.with_name("remedies.py")
    remedies.write_text(remedies.read_text().replace('"FORBIDDEN":', '"BEWITCHED": "Fly.", "FORBIDDEN":'))
    checked = run("--check", script=tmp_path / "docs" / "tables.py")
    assert checked.returncode == 1
    assert "'BEWITCHED' has no words yet for: effect" in checked.stderr


def test_every_transition_is_in_the_drawing():
    """An arrow for each pair of states, be it by way of the choice that deaths share."""
    page = (ROOT / "docs" / "explanation" / "life-cycle.md").read_text()
    arrows = re.findall(r"^    (\w+) --> (\w+): (.+)$", page, re.MULTILINE)
    drawn = {(start, event, end) for start, end, labels in arrows for event in labels.split(", ")}
    behind_death = {(event, end) for start, event, end in drawn if start == "death"}
    for state, row in TRANSITIONS.items():
        for event, (following, _) in row.items():
            is_death = (state, "died", "death") in drawn and (event, following) in behind_death
            assert is_death or (state, event, following) in drawn


def test_tokens_in_the_prose_exist():
    """What looks like an error token in a page is one."""
    tokens = {
        token
        for page in PAGES
        for token in re.findall(
            r"`((?:VI_ERROR|INSTRUMENT|SESSION|QUEUE|LINE|BAD|NO|WRITE|START)_[A-Z_]+)`", prose(page)
        )
    }
    constants = {"START_TIME", "LINE_LIMIT", "SESSION_LIMIT", "QUEUE_LIMIT", "QUEUE_TIME", "WRITE_LIMIT"}
    assert tokens - constants <= ERRORS.keys()


#: Where front_proc writes into the daemon's own log: the event is the string in the call.
_LOGGED = re.compile(
    r'(?:\blog\.put\(|self\._tell\(|_report\(now, |_news\.append\(\(|add\(time\.time\(\), )"(\w+)"',
)


def test_events_of_the_daemons_log_are_all_told():
    """The table in the page on systemd has each that the code writes, and no other."""
    code = "".join(file.read_text() for file in (ROOT / "front_proc").rglob("*.py"))
    written = set(_LOGGED.findall(code.replace("_log.put", "log.put")))
    page = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
    [table] = re.findall(r"^\| event \| what happened \|\n\| --- \| --- \|\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == written


def test_nobody_is_told_to_install_this_package_by_its_name():
    """It comes from a checkout; on an index of packages the name may be anybody's."""
    texts = [ROOT / "README.md", *PAGES]
    texts += [file for part in ("client", "front_proc", "pyvisa_daemon") for file in (ROOT / part).rglob("*.py")]
    told = re.compile(r"install [^\n`]*\bpyvisa[-_]daemon(?!\w)")
    assert [str(file) for file in texts if told.search(file.read_text("utf-8"))] == []

"""The site that scripts/docs.sh makes: it builds without a warning, and nothing in it leads nowhere."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import PAGES, name_of
from tests.support.daemon import ROOT

WEBSITE = ROOT / "docs" / "website"

#: What fetches, and by which attribute.
_FETCHES = {"img": "src", "script": "src", "link": "href"}


class Page(HTMLParser):
    """What an HTML page links to, what it fetches, and which anchors it has."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if name := given.get("id"):
            self.anchors.add(name)
        if tag == "a" and (target := given.get("href")):
            self.links.append(target)
        if target := given.get(_FETCHES.get(tag, "")):
            self.fetched.append(target)


def build(out: Path, website: Path = WEBSITE) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, website, out], cwd=ROOT, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The folder with the site."""
    out = tmp_path_factory.mktemp("site").resolve() / "docs"
    done = build(out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "index.html" in done.stdout
    return out


@pytest.fixture(scope="module")
def site(root):
    """All its pages, by file."""
    return {file: Page(file) for file in root.rglob("*.html")}


def test_site_has_every_page(site, root):
    """And begins with index.html."""
    for page in PAGES:
        name = "index.html" if name_of(page) == "README.md" else str(Path(name_of(page)).with_suffix(".html"))
        assert root / name in site
    assert root / "readme.html" in site


def test_links_of_the_site_lead_somewhere(site):
    """To a file that is there, and to an anchor that it has."""
    nowhere = []
    for page in site.values():
        for target in (*page.links, *page.fetched):
            parts = urlsplit(target)
            if parts.scheme or target.startswith("data:"):
                continue
            file = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file.resolve()
            is_known = file not in site or unquote(parts.fragment) in site[file].anchors
            if not file.exists() or not is_known:
                nowhere.append(f"{page.file.name}: {target}")
    assert nowhere == []


def test_site_fetches_nothing_from_elsewhere(site):
    """A laboratory's network may have no way out."""
    fetched = {target for page in site.values() for target in page.fetched}
    assert [target for target in fetched if urlsplit(target).scheme not in ("", "data")] == []


def test_every_page_is_reached_from_the_first(site, root):
    """By the contents beside it, which are the lists of docs/README.md."""
    first = root / "index.html"
    linked = {(root / unquote(urlsplit(link).path)).resolve() for link in site[first].links}
    assert [file.name for file in site.keys() - linked - {first} if file.name != "search.html"] == []


def test_build_fails_when_a_link_leads_nowhere(tmp_path):
    """A warning is an error, and no half of a site is left."""
    pages = tmp_path / "docs"
    shutil.copytree(WEBSITE, pages / "website", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "pyvisa_daemon", tmp_path / "pyvisa_daemon", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "README.md").write_text("# All\n\nSee [that](docs/nowhere.md).\n")
    (pages / "README.md").write_text("# Pages\n\n## Begin here\n\n* [README](../README.md)\n")
    done = build(tmp_path / "out", pages / "website")
    assert done.returncode == 1
    assert "nowhere.md" in done.stderr
    assert not (tmp_path / "out").exists()

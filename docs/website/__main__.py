"""The site of these pages: `scripts/docs.sh`, or `python docs/website [FOLDER]`, default build/docs.

Reading tour:

    pages      the pages, as Sphinx is given them; the order of the site, which is that of docs/README.md
    conf       what Sphinx makes of them: theme, extensions
    drawing    the life cycle's drawing, for there is no Mermaid without a script from the network

Warnings are errors: a link that leads nowhere, a page that is in no list, a block in no language. Nothing in the site
is fetched from anywhere, so it can be read from a folder, on a network without a way out.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT)]

from pages import stage  # noqa: E402 - beside this file
from sphinx.cmd.build import build_main  # noqa: E402 - imported late, as it takes its time


def build(out: Path) -> int:
    """Sphinx's exit code. `out` is made anew, and is not there without a site that is sound."""
    with tempfile.TemporaryDirectory() as folder:
        source, site = Path(folder) / "pages", Path(folder) / "site"
        stage(source)
        options = ["-b", "html", "-c", str(HERE), "-d", str(Path(folder) / "doctrees")]
        code = build_main([*options, "--quiet", "--fail-on-warning", "--keep-going", str(source), str(site)])
        shutil.rmtree(out, ignore_errors=True)
        if not code:
            (site / ".buildinfo").unlink(missing_ok=True)
            shutil.copytree(site, out)
    return code


def main() -> None:
    if len(sys.argv) > 2 or (len(sys.argv) == 2 and sys.argv[1].startswith("-")):
        sys.exit("usage: python docs/website [FOLDER]")
    out = Path(sys.argv[1]) if len(sys.argv) == 2 else ROOT / "build" / "docs"
    if code := build(out):
        sys.exit(code)
    print(f"{os.path.relpath(out)}/index.html: {sum(1 for _ in out.rglob('*.html'))} pages")


if __name__ == "__main__":
    main()

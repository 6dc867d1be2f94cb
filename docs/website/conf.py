"""Sphinx's settings: see __main__, which calls it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pyvisa_daemon.version import __version__

project = "pyvisa-daemon"
version = release = __version__
html_title = f"pyvisa-daemon {__version__}"
language = "en"

extensions = ["myst_parser", "sphinx_copybutton"]
myst_heading_anchors = 4  # headings have the names that a forge gives them
suppress_warnings = [
    "myst.header",  # a page may begin with a heading below the first
    "misc.highlighting_failure",  # Pygments does not know all of Tcl; the block is shown without colours then
]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "none"
pygments_style, pygments_dark_style = "friendly", "monokai"

# Prompts and answers are not copied with what is typed.
copybutton_prompt_text = r"\$ |> |A> |B> "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

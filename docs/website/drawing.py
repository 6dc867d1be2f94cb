"""A Mermaid state diagram as a picture: each state has a lane, each arrow a line of its own.

So nothing crosses a label, however many states there are. Mermaid itself draws in the reader's browser, with a script
from the network, which this site does without.
"""

import re
from html import escape

_ARROW = re.compile(r"^ +(\S+) --> (\S+?)(?:: (.+))?$", re.MULTILINE)
_LANE, _LINE, _TOP, _HEAD = 74, 24, 40, 6
_INK, _PALE, _GRAVE = "#2b3a4a", "#ccd3da", "#b3402a"

#: The way to these is drawn in red: the process is ended, or is gone.
_ENDS = {"killing", "terminating", "wedged", "death", "broken"}


def drawn(diagram: str) -> str:
    """An SVG of a `stateDiagram-v2`; of what that knows, arrows only."""
    arrows = [arrow for arrow in _ARROW.findall(diagram) if arrow[0] != "[*]"]
    states = list(dict.fromkeys(state for start, end, _ in arrows for state in (start, end)))
    height = _TOP + _LINE * (len(arrows) + 1)
    width = _LANE * len(states)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for state in states:
        lines += _lane(state, _middle(states, state), height)
    for number, (start, end, label) in enumerate(arrows, 1):
        color = _GRAVE if end in _ENDS else _INK
        lines += _arrow(_middle(states, start), _middle(states, end), _TOP + _LINE * number, label, color)
    return "\n".join([*lines, "</svg>", ""])


def _middle(states: list[str], state: str) -> int:
    return _LANE * states.index(state) + _LANE // 2


def _lane(state: str, x: int, height: int) -> list[str]:
    return [
        f'<text x="{x}" y="20" text-anchor="middle" font-weight="bold" font-size="11" fill="{_INK}">',
        f"{escape(state)}</text>",
        f'<line x1="{x}" y1="28" x2="{x}" y2="{height}" stroke="{_PALE}"/>',
    ]


def _arrow(start: int, end: int, y: int, label: str, color: str) -> list[str]:
    """From lane to lane, with what it is for above it, and a dot where it begins."""
    back = _HEAD if end < start else -_HEAD
    return [
        f'<circle cx="{start}" cy="{y}" r="3" fill="{color}"/>',
        f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}" stroke="{color}"/>',
        f'<path d="M{end} {y}l{back} -4v8z" fill="{color}"/>',
        f'<text x="{(start + end) // 2}" y="{y - 4}" text-anchor="middle" fill="{color}" stroke="#fff" '
        f'stroke-width="3" paint-order="stroke">{escape(label)}</text>',
    ]

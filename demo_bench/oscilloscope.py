"""The oscilloscope: shows a sine of 1 kHz and 2 V amplitude, and hands its record over as a binary block.

Samples are signed bytes, 256 levels over eight divisions, so a record holds every byte value there is, LF among them.
The record is computed from the settings, never stored: the same settings give the same bytes.
"""

import functools
import math
from array import array

from demo_bench.instrument import Handler, Instrument, Link
from demo_bench.scpi import Command, block, number

FREQUENCY_HZ = 1000.0
AMPLITUDE_V = 2.0

POINTS, SECONDS_PER_DIV, VOLTS_PER_DIV = "ACQuire:POINts", "TIMebase:SCALe", "CHANnel1:SCALe"


class Oscilloscope(Instrument):
    """CURV? (or WAV:DATA?) gives the record, WAV:PRE? what its bytes mean; ACQ:POIN says how many there are."""

    identity = "DEMO BENCH,OSCILLOSCOPE,SC005340,1.0"
    settings = {
        POINTS: number(1000, 10, 1_000_000),
        SECONDS_PER_DIV: number(1e-4, 1e-9, 10),
        VOLTS_PER_DIV: number(0.5, 1e-3, 10),
    }

    def table(self) -> dict[str, Handler]:
        return super().table() | {
            "CURVe?": self._record,
            "WAVeform:DATA?": self._record,
            "WAVeform:PREamble?": self._preamble,
            "MEASure:FREQuency?": self._frequency,
            "MEASure:VPP?": self._peak_to_peak,
        }

    @property
    def _points(self) -> int:
        return int(float(self.values[POINTS]))

    @property
    def _seconds_per_point(self) -> float:
        return 10 * float(self.values[SECONDS_PER_DIV]) / self._points

    @property
    def _volts_per_level(self) -> float:
        return 8 * float(self.values[VOLTS_PER_DIV]) / 256

    async def _record(self, link: Link, command: Command) -> bytes:
        return block(record(self._points, self._seconds_per_point, self._volts_per_level))

    async def _preamble(self, link: Link, command: Command) -> bytes:
        """format 0 = bytes, type 0 = normal, points, averages, x increment, origin, reference, y the same."""
        x, y = self._seconds_per_point, self._volts_per_level
        return f"0,0,{self._points},1,{x:.9g},0,0,{y:.9g},0,0".encode()

    async def _frequency(self, link: Link, command: Command) -> bytes:
        return f"{FREQUENCY_HZ:+.6E}".encode()

    async def _peak_to_peak(self, link: Link, command: Command) -> bytes:
        return f"{2 * AMPLITUDE_V:+.6E}".encode()


@functools.lru_cache(maxsize=8)
def record(points: int, seconds_per_point: float, volts_per_level: float) -> bytes:
    """The sine as signed bytes; what does not fit the screen is cut at its edge."""
    step, scale = 2 * math.pi * FREQUENCY_HZ * seconds_per_point, AMPLITUDE_V / volts_per_level
    levels = (round(scale * math.sin(step * point)) for point in range(points))
    return array("b", [max(-128, min(127, level)) for level in levels]).tobytes()

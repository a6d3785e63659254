"""Figures as a reader would write them.

Belongs here: numbers to text. Does not belong: choosing what to show (page.py, site.py).
"""

from __future__ import annotations

import math

MISSING = "–"


def percent(value: float | None) -> str:
    """A fraction as percent with two decimals and no sign: 0.5 is '50.00'."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:.2f}"


def figure(value: float | None) -> str:
    """A number with three decimals."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Seconds in the unit a reader would choose: '0.4 s', '12 s', '3 min 05 s', '14 min', '2 h 10 min'."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float | None) -> str:
    """Bytes in decimal units with three figures: '812 B', '1.50 kB', '23.4 MB'."""
    if count is None:
        return MISSING
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def points(value: float | None) -> str:
    """A difference of fractions in points of a percent, signed: 0.012 is '+1.2'."""
    return MISSING if value is None or not math.isfinite(value) else f"{100 * value:+.1f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A number with its sign and one decimal: '+1.3', '−0.4'."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:+z.1f}".replace("-", "−")

"""Which tissue is bright with which timing: signal of brain tissues from the relaxation equations.

Fixed ranges of TR and TE break at other field strengths, so the timing of a header is turned into
the signal of white matter, grey matter and fluid, and the order of the three says the weighting.

Source: steady-state signal equations of spin echo, inversion recovery and spoiled gradient echo;
T1 against the field: Rooney et al., Magn Reson Med 2007;57:308-318.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Hz per tesla of the proton.
GYROMAGNETIC = 42.577e6
#: Field in tesla where the header does not say.
USUAL_FIELD = 1.5
#: Below this inversion time (ms) fat is suppressed (STIR), not fluid.
SHORT_INVERSION_MS = 300.0
#: Shortest echo time (ms) that a fluid-suppressed image with T2 weighting has.
T2_WEIGHTED_ECHO_MS = 55.0


@dataclass(frozen=True)
class Tissue:
    """Proton density (fluid is 1) and relaxation times in ms."""

    density: float
    t1: float
    t2: float
    t2_star: float


@dataclass(frozen=True)
class Timing:
    """How an image was made: times in ms, angle in degrees, field in tesla; None where unknown."""

    repetition: float
    echo: float
    inversion: float | None = None
    flip: float | None = None
    train: float | None = None
    field: float | None = None
    gradient_echo: bool = False


def tissues(field: float) -> tuple[Tissue, Tissue, Tissue]:
    """White matter, grey matter and cerebrospinal fluid at a field in tesla."""
    hertz = GYROMAGNETIC * field
    faster = min(1.0, (1.5 / max(field, 0.5)) ** 0.35)  # T2 is a little shorter at high fields
    star = 1.5 / max(field, 0.3)
    return (
        Tissue(0.70, 0.71 * hertz**0.382, 74.0 * faster, min(66.0 * star, 70.0)),
        Tissue(0.82, 1.16 * hertz**0.376, 92.0 * faster, min(84.0 * star, 88.0)),
        Tissue(1.00, 4300.0, 1700.0 * faster, 900.0),
    )


def signals(timing: Timing) -> tuple[float, float, float]:
    """Signal of white matter, grey matter and fluid, in shares of full magnetisation."""
    white, grey, fluid = (
        _signal(tissue, timing) for tissue in tissues(timing.field or USUAL_FIELD)
    )
    return white, grey, fluid


def _signal(tissue: Tissue, timing: Timing) -> float:
    decay = math.exp(-_effective_echo(timing) / _decay_time(tissue, timing))
    return tissue.density * abs(_magnetisation(tissue.t1, timing)) * decay


def _decay_time(tissue: Tissue, timing: Timing) -> float:
    return tissue.t2_star if timing.gradient_echo else tissue.t2


def _effective_echo(timing: Timing) -> float:
    """Long trains of low refocusing angles look as if the echo were much earlier."""
    long = (timing.train or 0) > 60 or timing.echo > 220
    return timing.echo / 3.5 if long and not timing.gradient_echo else timing.echo


def _magnetisation(t1: float, timing: Timing) -> float:
    """What is there to be tipped, and how much of it is, as a share of the full amount."""
    if timing.inversion:
        # Gradient echo trains between inversions: a short repetition is that of the echoes.
        cycle = max(timing.repetition, 2.2 * timing.inversion)
        return 1 - 2 * math.exp(-timing.inversion / t1) + math.exp(-cycle / t1)
    left = math.exp(-timing.repetition / t1)
    if not timing.gradient_echo:
        return 1 - left
    angle = math.radians(timing.flip or 30.0)
    return math.sin(angle) * (1 - left) / (1 - math.cos(angle) * left)


def weighting(timing: Timing) -> tuple[str, float]:
    """What an image with this timing shows.

    Returns
    -------
    name : str
        ``"T1w"``, ``"T2w"``, ``"FLAIR"``, ``"PD"``, ``"T2*w"``, ``"STIR"`` or empty.
    strength : float
        0 to 1: how clear the order of the tissues is.
    """
    if timing.repetition <= 0 or timing.echo <= 0:
        return "", 0.0
    if timing.inversion and timing.inversion < SHORT_INVERSION_MS and not timing.gradient_echo:
        return "STIR", 0.6
    white, grey, fluid = signals(timing)
    if timing.gradient_echo:
        return _gradient_echo(timing, white, grey, fluid)
    echo = _effective_echo(timing)
    if timing.inversion and fluid < 0.75 * grey and echo >= T2_WEIGHTED_ECHO_MS and white < grey:
        return "FLAIR", 0.75
    if white > 1.04 * grey > fluid and echo < 45:
        return "T1w", _clear(white / grey, 1.04, 1.25)
    if fluid > 1.25 * grey and grey > white and echo >= T2_WEIGHTED_ECHO_MS:
        return "T2w", _clear(fluid / grey, 1.25, 2.2)
    if not timing.inversion and grey > 1.02 * white and fluid < 1.15 * grey and echo < 40:
        return "PD", 0.5
    return "", 0.0


def _gradient_echo(timing: Timing, white: float, grey: float, fluid: float) -> tuple[str, float]:
    if not timing.inversion and timing.echo >= 12.0 * min(1.0, 3.0 / (timing.field or 3.0)):
        return "T2*w", 0.5
    if white > 1.04 * grey > fluid and timing.echo < 10:
        return "T1w", 0.9 * _clear(white / grey, 1.04, 1.2)
    return "", 0.0


def _clear(ratio: float, least: float, full: float) -> float:
    """0.4 at the least ratio that counts, 0.75 from the full one on."""
    return 0.4 + 0.35 * min(1.0, max(0.0, (ratio - least) / (full - least)))

"""The menu: every figure by name, ``group/figure``. One file a group."""

from benchmarks.suite import (
    health,
    nsl_kdd,
    reconstruction,
    resume,
    scoring_speed,
    small_fit,
    startup,
    tables,
    time_to_quality,
    training_speed,
)

GROUPS = {
    "startup": startup.FIGURES,
    "small_fit": small_fit.FIGURES,
    "training_speed": training_speed.FIGURES,
    "time_to_quality": time_to_quality.FIGURES,
    "scoring_speed": scoring_speed.FIGURES,
    "reconstruction": reconstruction.FIGURES,
    "nsl_kdd": nsl_kdd.FIGURES,
    "tables": tables.FIGURES,
    "resume": resume.FIGURES,
    "health": health.FIGURES,
}
FIGURES = {f"{group}/{name}": figure for group, figures in GROUPS.items() for name, figure in figures.items()}

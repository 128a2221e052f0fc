"""The menu: every figure by name, ``group/figure``. One file a group."""

from benchmarks.suite import (
    adaptive,
    adversarial,
    features,
    generation,
    health,
    nll,
    nsl_kdd,
    quantized,
    recipes,
    reconstruction,
    resume,
    scoring_speed,
    small_fit,
    sparse,
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
    "nll": nll.FIGURES,
    "generation": generation.FIGURES,
    "features": features.FIGURES,
    "nsl_kdd": nsl_kdd.FIGURES,
    "tables": tables.FIGURES,
    "quantized": quantized.FIGURES,
    "adaptive": adaptive.FIGURES,
    "resume": resume.FIGURES,
    "sparse": sparse.FIGURES,
    "adversarial": adversarial.FIGURES,
    "recipes": recipes.FIGURES,
    "health": health.FIGURES,
}
FIGURES = {f"{group}/{name}": figure for group, figures in GROUPS.items() for name, figure in figures.items()}

"""The menu of tasks: a subcommand each.

A room for each kind of job, with what serves it beside it: a new task is a file in the room that it belongs to, and a
line here.
"""

from isthmus.tasks.base import Result, Task

TASKS: dict[str, Task] = {
    "detect": Task(
        "detection.detect:detect", "Score rows, flag anomalies at a promised rate, say why.",
        follows=True, sweeps=True,
    ),
    "denoise": Task(
        "denoising.denoise:denoise", "Take the noise off pictures, and write them back as they came.",
        fits="denoising.learn_noise:Denoising",
    ),
    "encode": Task("codes:encode", "Turn rows into codes.", sweeps=True),
    "decode": Task("codes:decode", "Turn codes back into rows."),
    "reconstruct": Task("codes:reconstruct", "Pass rows through the isthmus and back.", sweeps=True),
    "sample": Task("codes:sample", "Draw new rows, from the density that codes have."),
    "blend": Task("generation.between:blend", "Go from one row to another through the rows between."),
    "shift": Task("generation.between:shift", "Give rows what others have: the difference of mean codes."),
    "traverse": Task("generation.between:traverse", "Show what each number of the code does, from low to high."),
    "fidelity": Task("generation.fidelity:fidelity", "Say how close drawn rows come to real ones."),
    "compress": Task(
        "compression.compress:compress", "Write rows in few bytes, exactly or with a promised error; or pictures.",
        sweeps=True, fits="compression.learn_compress:Compressing",
    ),
    "decompress": Task("compression.compress:decompress", "Bring back what compress wrote."),
    "probe": Task("features.probe:probe", "Say for which models, and since how many labels, codes are worth it."),
    "columns": Task("features.columns:columns", "Say which columns the code can do without, and why."),
    "predict": Task(
        "features.heads:predict", "Say the label that a head was taught (isthmus head).", sweeps=True
    ),
    "compare": Task("checkup.compare:compare", "Hold the model against same-size PCA on rows."),
    "verify": Task("searching.verify:verify", "Say whether two rows are of the same: a person, a part, a place."),
    "health": Task("checkup.health:health", "Say what is wrong with the model, and what mends it."),
}  # fmt: skip

__all__ = ["TASKS", "Result", "Task"]

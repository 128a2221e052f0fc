"""The menu of tasks: a subcommand each."""

from isthmus.tasks.base import Result, Task

TASKS: dict[str, Task] = {
    "detect": Task(
        "isthmus.tasks.detect:detect", "Score rows, flag anomalies at a promised rate, say why.",
        follows=True, sweeps=True,
    ),
    "denoise": Task(
        "isthmus.tasks.denoise:denoise", "Take the noise off pictures, and write them back as they came.",
        fits="isthmus.tasks.learn_noise:Denoising",
    ),
    "encode": Task("isthmus.tasks.codes:encode", "Turn rows into codes.", sweeps=True),
    "decode": Task("isthmus.tasks.codes:decode", "Turn codes back into rows."),
    "reconstruct": Task("isthmus.tasks.codes:reconstruct", "Pass rows through the isthmus and back.", sweeps=True),
    "sample": Task("isthmus.tasks.codes:sample", "Draw new rows, from the density that codes have."),
    "blend": Task("isthmus.tasks.between:blend", "Go from one row to another through the rows between."),
    "shift": Task("isthmus.tasks.between:shift", "Give rows what others have: the difference of mean codes."),
    "traverse": Task("isthmus.tasks.between:traverse", "Show what each number of the code does, from low to high."),
    "fidelity": Task("isthmus.tasks.fidelity:fidelity", "Say how close drawn rows come to real ones."),
    "compress": Task(
        "isthmus.tasks.compress:compress", "Write rows in few bytes, exactly or with a promised error; or pictures.",
        sweeps=True, fits="isthmus.tasks.learn_compress:Compressing",
    ),
    "decompress": Task("isthmus.tasks.compress:decompress", "Bring back what compress wrote."),
    "probe": Task("isthmus.tasks.probe:probe", "Say for which models, and since how many labels, codes are worth it."),
    "columns": Task("isthmus.tasks.columns:columns", "Say which columns the code can do without, and why."),
    "predict": Task(
        "isthmus.tasks.heads:predict", "Say the label that a head was taught (isthmus head).", sweeps=True
    ),
    "compare": Task("isthmus.tasks.compare:compare", "Hold the model against same-size PCA on rows."),
    "verify": Task("isthmus.tasks.verify:verify", "Say whether two rows are of the same: a person, a part, a place."),
    "health": Task("isthmus.tasks.health:health", "Say what is wrong with the model, and what mends it."),
}  # fmt: skip

__all__ = ["TASKS", "Result", "Task"]

"""Rows larger than memory: is memory flat, and what does it cost in time?

Tables of 30 columns are made up (20 numbers, one with heavy tails and one with gaps; 4 counts, 4 categories of 3 to 60
levels, yes or no, a date), as Parquet in row groups of 131,072 rows, eight of them in a file.
`$ISTHMUS_STREAM_GB` names other sizes, such as 1,4,8; `$ISTHMUS_STREAM_HOURS`, `…_DOCUMENTS` and `…_PICTURES` those of
recordings, texts and pictures.

Memory is the peak of `isthmus fit` and `isthmus detect` as commands, so it counts Python and torch too.
Their net is small (`encoder.widths=[32]`, batches of 8,192, one epoch, the detector `likelihood`), so that many rows
pass in little time; what is held does not depend on that. `fit_speed` and `detect_…` have default nets.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data
from benchmarks.figures import Bar, Figure, Measured, Settings, Skip
from benchmarks.paired import paired
from benchmarks.record import ROOT, megabytes

SIZES = tuple(float(size) for size in os.environ.get("ISTHMUS_STREAM_GB", "0.25,1,2").split(","))
#: Hours of sound, documents, and pictures.
HOURS = tuple(float(said) for said in os.environ.get("ISTHMUS_STREAM_HOURS", "0.25,1").split(","))
DOCUMENTS = tuple(int(said) for said in os.environ.get("ISTHMUS_STREAM_DOCUMENTS", "10000,40000").split(","))
PICTURES = tuple(int(said) for said in os.environ.get("ISTHMUS_STREAM_PICTURES", "20000,60000").split(","))
GROUP = 131_072
SMALL_NET = ("--set", "encoder.widths=[32]", "--set", "decoder.widths=[32]", "--batch-size", "8192", "--epochs", "1")
NATS = ("--set", "detector.kind=likelihood")

#: Runs a command, and says last what it took.
RUN = """
import json, resource, sys, time
from isthmus.app.cli import main
began = time.perf_counter()
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print("\\n" + json.dumps({"code": code, "seconds": time.perf_counter() - began, "kb": used.ru_maxrss,
                         "cpu_seconds": used.ru_utime + used.ru_stime}))
"""


def rows(n: int, seed: int) -> pa.Table:
    g = np.random.default_rng(seed)
    z = g.normal(size=(n, 6))
    x = z @ np.random.default_rng(0).normal(size=(6, 20)) + 0.3 * g.normal(size=(n, 20))
    columns: dict[str, Any] = {f"f{j}": x[:, j] for j in range(18)}
    columns["tails"] = np.exp(x[:, 18])
    columns["gaps"] = pa.array(np.where(g.random(n) < 0.05, np.nan, x[:, 19]), from_pandas=True)
    columns |= {f"n{j}": g.poisson(np.exp(0.5 * z[:, j]) + 1) for j in range(4)}
    for j, levels in enumerate((3, 8, 30, 60)):
        which = (np.abs(z[:, j]) * levels / 3).astype(np.int32) % levels
        columns[f"c{j}"] = pa.DictionaryArray.from_arrays(which, [f"{j}-{k}" for k in range(levels)]).cast(pa.string())
    columns["yes"] = z[:, 0] > 0
    columns["when"] = pa.array(1_700_000_000 + g.integers(0, 10**7, n)).cast(pa.timestamp("s"))
    return pa.table(columns)


def folder_of(gigabytes: float) -> tuple[Path, int]:
    """A folder of so many gigabytes, and its rows."""
    if shutil.disk_usage(data.scratch(".").parent).free < 2.5e9 * gigabytes:
        raise Skip(f"the disk has no room for {2.5 * gigabytes:.0f} GB")
    folder = Path(tempfile.mkdtemp(prefix="rows-", dir=data.scratch(".")))
    # made once, and written again and again: what is measured does not look at whether rows are new
    groups = [rows(GROUP, seed) for seed in range(4)]
    size = n = 0
    while size < gigabytes * 1e9:
        path = folder / f"part-{n // GROUP:05}.parquet"
        with pq.ParquetWriter(path, groups[0].schema) as out:
            for _ in range(8 if gigabytes >= 0.25 else 1):
                out.write_table(groups[n // GROUP % 4], row_group_size=GROUP)
                n += GROUP
        size += path.stat().st_size
    return folder, n


def command(*said: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, said)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {"code": done.returncode}
    if found["code"]:
        raise RuntimeError(f"isthmus {said[0]} ended with {found['code']}: {done.stderr.strip()[-300:]}")
    mb = found["kb"] / (2**20 if sys.platform == "darwin" else 2**10)
    return {"memory_mb": round(mb, 1), **{k: round(found[k], 2) for k in ("seconds", "cpu_seconds")}}


@cache
def sizes(settings: Settings) -> list[dict[str, Any]]:
    """What `fit` and `detect` take, size by size."""
    runs = []
    for gigabytes in settings.pick(SIZES, (0.03, 0.06)):
        folder, n = folder_of(gigabytes)
        model, out = data.scratch(f"{gigabytes:g}.isthmus"), data.scratch(f"{gigabytes:g}.parquet")
        fit = command("fit", folder, "-o", model, "--stream", "--quiet", *SMALL_NET, *NATS)
        detect = command("detect", model, folder, "-o", out, "--stream", "--quiet")
        assert pq.read_metadata(out).num_rows == n
        runs.append({"gigabytes": gigabytes, "rows": n, "fit": fit, "detect": detect})
        shutil.rmtree(folder)
        out.unlink()
    return runs


def memory(what: str, ratio: bool, settings: Settings) -> Measured:
    runs = sizes(settings)
    peaks = [run[what]["memory_mb"] for run in runs]
    told = ", ".join(f"{run['gigabytes']:g} GB: {peak:.0f} MB" for run, peak in zip(runs, peaks, strict=True))
    return Measured(
        value=round(max(peaks) / min(peaks) if ratio else max(peaks) / 1000, 4),
        runs=runs,
        data=f"made up, 30 mixed columns, {runs[-1]['rows']:,} rows at most",
        seed=settings.seed,
        memory_mb=max(peaks),
        seconds=sum(run[what]["seconds"] for run in runs),
        note=told,
    )


@cache
def pictures(settings: Settings) -> list[dict[str, Any]]:
    """What `fit` and `detect` take of folders of grey PNGs of 96 × 96: 200 again and again, by other names."""
    from PIL import Image

    runs = []
    for n in settings.pick(PICTURES, (300, 600)):
        folder = Path(tempfile.mkdtemp(prefix="pictures-", dir=data.scratch(".")))
        for i in range(n):
            path = folder / f"{i:06}.png"
            if i < 200:
                g = np.random.default_rng(i)
                light = g.uniform(60, 160) + g.uniform(0, 0.8) * np.arange(96) + g.normal(0, 8, (96, 96))
                Image.fromarray(light.clip(0, 255).astype(np.uint8)).save(path)
            else:
                os.link(folder / f"{i % 200:06}.png", path)
        model, out = data.scratch("pictures.isthmus"), data.scratch("pictures.parquet")
        fit = command("fit", folder, "-o", model, "--stream", "--quiet", "--latent-dim", 16, "--epochs", 1)
        detect = command("detect", model, folder, "-o", out, "--stream", "--quiet")
        runs.append({"pictures": n, "fit": fit, "detect": detect})
        shutil.rmtree(folder)
    return runs


def pictures_memory(what: str, settings: Settings) -> Measured:
    return growth(pictures(settings), "pictures", what, "made up, pictures of 96 × 96", settings)


@cache
def recordings(settings: Settings) -> list[dict[str, Any]]:
    """What `fit` and `detect` take of folders of WAV files: 8 channels at 2,000 samples a second, a quarter of an hour
    each.
    """
    import soundfile

    runs, mix = [], np.random.default_rng(0).normal(size=(2, 8))
    for hours in settings.pick(HOURS, (0.02, 0.06)):
        folder = Path(tempfile.mkdtemp(prefix="recordings-", dir=data.scratch(".")))
        samples = 0
        for i, part in enumerate(np.array_split(np.arange(int(2000 * 3600 * hours)), max(1, round(4 * hours)))):
            noise = np.random.default_rng(i).normal(size=(len(part), 8))
            tones = np.sin(2 * np.pi * part[:, None] / np.array([50, 400])) @ mix + 0.05 * noise
            soundfile.write(folder / f"{i:03}.wav", (8000 * tones).clip(-32768, 32767).astype(np.int16), 2000)
            samples += len(part)
        model, out = data.scratch("recordings.isthmus"), data.scratch("recordings.parquet")
        fit = command("fit", folder, "-o", model, "--stream", "--quiet", *SMALL_NET, *NATS)
        detect = command("detect", model, folder, "-o", out, "--stream", "--quiet")
        assert pq.read_metadata(out).num_rows == samples
        runs.append({"hours": hours, "samples": samples, "fit": fit, "detect": detect})
        shutil.rmtree(folder)
        out.unlink()
    return runs


@cache
def texts(settings: Settings) -> list[dict[str, Any]]:
    """What `fit` and `detect` take of a document on every line: 200 words each, as common as words are, of a vocabulary
    that goes on growing with the corpus.
    """
    runs = []
    for n in settings.pick(DOCUMENTS, (600, 1800)):
        path = data.scratch("corpus.txt")
        with path.open("w") as file:
            g = np.random.default_rng(settings.seed)
            for begin in range(0, n, 1024):
                topics = g.integers(0, 50, (min(1024, n - begin), 1))
                ranks = g.zipf(1.2, (len(topics), 200))
                # half of a document's words are those of its topic
                words = np.where(g.random(ranks.shape) < 0.5, ranks * 50 + topics, ranks)
                file.writelines(" ".join(map(_word, line)) + "\n" for line in words.tolist())
        model, out = data.scratch("corpus.isthmus"), data.scratch("corpus.parquet")
        fit = command("fit", path, "-o", model, "--stream", "--quiet", "--latent-dim", 32, "--epochs", 1,
                      "--batch-size", 1024)  # fmt: skip
        detect = command("detect", model, path, "-o", out, "--stream", "--quiet")
        assert pq.read_metadata(out).num_rows == n
        runs.append({"documents": n, "megabytes": round(path.stat().st_size / 1e6, 1), "fit": fit, "detect": detect})
        out.unlink()
    return runs


def _word(rank: int) -> str:
    """A word of letters for a number, the same for the same."""
    letters, rank = "", rank % (1 << 40)
    while rank or not letters:
        rank, at = divmod(rank, 20)
        letters += "bcdfghjklmnprstvwxyz"[at] + "aeiou"[(rank + at) % 5]
    return letters


def growth(runs: list[dict[str, Any]], unit: str, what: str, made: str, settings: Settings) -> Measured:
    """The largest peak ÷ the smallest, of sizes that are told in this unit."""
    peaks = [run[what]["memory_mb"] for run in runs]
    told = ", ".join(f"{run[unit]:,} {unit}: {peak:.0f} MB" for run, peak in zip(runs, peaks, strict=True))
    return Measured(
        value=round(max(peaks) / min(peaks), 4), runs=runs, data=made, seed=settings.seed,
        memory_mb=max(peaks), seconds=sum(run[what]["seconds"] for run in runs), note=told,
    )  # fmt: skip


def recordings_memory(what: str, settings: Settings) -> Measured:
    return growth(recordings(settings), "hours", what, "made up, WAV of 8 channels, 2,000 samples a second", settings)


def texts_memory(what: str, settings: Settings) -> Measured:
    return growth(texts(settings), "documents", what, "made up, 200 words a line", settings)


def fit_speed(settings: Settings) -> Measured:
    """Rows a second of the training itself, of rows that fill the buffer some times; what is read before it is not
    counted on either side.
    """
    folder, n = folder_of(settings.pick(0.4, 0.02))
    for path in folder.iterdir():  # into the page cache
        path.read_bytes()

    def run(stream: str) -> dict[str, Any]:
        model = data.scratch("speed.isthmus")
        options = ("--epochs", settings.pick(2, 1), "--batch-size", 1024, "--seed", settings.seed, *NATS)
        used = command("fit", folder, "-o", model, stream, "--quiet", *options)
        from isthmus import open_model

        epochs = [epoch["rows_per_second"] for epoch in open_model(model).record.history[1:]]
        return {**used, "rows_per_second": round(statistics.median(epochs), 1)}

    result = paired(lambda _: run("--stream"), lambda _: run("--no-stream"), repeats=settings.pick(3, 1),
                    key="rows_per_second")  # fmt: skip
    return Measured(result.ratio, result.runs, f"made up, {n:,} × 30 mixed columns", settings.seed)


def detect_speed(detector: str | None, settings: Settings) -> Measured:
    """Seconds of `detect` with its output ÷ seconds of reading the same files in stretches, in one process."""
    from isthmus import open_model, open_rows
    from isthmus.tasks.detection.detect import detect

    folder, n = folder_of(settings.pick(0.1 if detector else 0.02, 0.02))
    path = data.scratch("detect.isthmus")
    command("fit", next(folder.iterdir()), "-o", path, "--quiet", "--epochs", 1, "--batch-size", 1024,
            *(NATS if detector else ()))  # fmt: skip
    model, rows = open_model(path), open_rows(folder, stream=True)

    def read() -> dict[str, Any]:
        begin = perf_counter()
        assert sum(len(some) for some in rows.chunks(model.stretch)) == n
        return {"seconds": perf_counter() - begin}

    def find() -> dict[str, Any]:
        begin, used = perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        detect(model, rows).save(data.scratch("found.parquet"))
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = perf_counter() - begin
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        return {"seconds": seconds, "cpu_seconds": cpu, "memory_mb": megabytes(after)}

    read()
    result = paired(lambda _: find(), lambda _: read(), repeats=settings.pick(3, 1), key="seconds")
    took = statistics.median(run["seconds"] for run in result.a)
    return Measured(
        result.ratio, result.runs, f"made up, {n:,} × 30 mixed columns", settings.seed,
        note=f"{model.spec.detector.kind}: {n / took:,.0f} rows/s, so {1e7 / n * took:,.0f} s for ten million",
    )  # fmt: skip


def counting(settings: Settings) -> Measured:
    """Seconds of counting what all rows hold, before a fit ÷ seconds of reading the same files in stretches."""
    from isthmus import open_rows

    folder, n = folder_of(settings.pick(0.25, 0.02))

    def read() -> dict[str, Any]:
        rows, begin = open_rows(folder, stream=True), perf_counter()
        assert sum(len(some) for some in rows.chunks(GROUP)) == n
        return {"seconds": perf_counter() - begin}

    def count() -> dict[str, Any]:
        rows, begin = open_rows(folder, stream=True), perf_counter()
        assert rows.data.census()["c0"].n == n
        return {"seconds": perf_counter() - begin}

    read()
    result = paired(lambda _: count(), lambda _: read(), repeats=settings.pick(5, 1), key="seconds")
    shutil.rmtree(folder)
    return Measured(result.ratio, result.runs, f"made up, {n:,} × 30 mixed columns", settings.seed)


def compress_memory(settings: Settings) -> Measured:
    """Peak memory of `compress`, of which chunks are coded one by one."""
    runs = []
    for gigabytes in settings.pick((0.01, 0.06), (0.01, 0.03)):
        folder, n = folder_of(gigabytes)
        model, out = data.scratch("packing.isthmus"), data.scratch("packed.isz")
        command("fit", folder, "-o", model, "--stream", "--quiet", *SMALL_NET, *NATS)
        said = ("--max-error", "1%", "--no-compare", "--stream", "--quiet")
        runs.append({"gigabytes": gigabytes, "rows": n, **command("compress", model, folder, "-o", out, *said)})
        shutil.rmtree(folder)
    peaks = [run["memory_mb"] for run in runs]
    told = ", ".join(f"{run['rows']:,} rows: {run['memory_mb']:.0f} MB" for run in runs)
    return Measured(round(max(peaks) / min(peaks), 4), runs, "made up, 30 mixed columns", settings.seed,
                    memory_mb=max(peaks), note=told)  # fmt: skip


FIGURES = {
    "counting": Figure("seconds of counting over all rows ÷ of reading them", counting, Bar(at_most=1)),
    "compress_memory": Figure("peak memory of compress, the largest size ÷ the smallest", compress_memory,
                              Bar(at_most=1.15)),
    "fit_memory": Figure("peak memory of fit, the largest size ÷ the smallest", partial(memory, "fit", True),
                         Bar(at_most=1.15)),
    "fit_peak": Figure("peak memory of fit, GB", partial(memory, "fit", False), Bar(at_most=1.5)),
    "detect_memory": Figure("peak memory of detect, the largest size ÷ the smallest", partial(memory, "detect", True),
                            Bar(at_most=1.15)),
    "detect_peak": Figure("peak memory of detect, GB", partial(memory, "detect", False), Bar(at_most=1.5)),
    "pictures/fit_memory": Figure("the same of folders of pictures, fit", partial(pictures_memory, "fit"),
                                  Bar(at_most=1.15)),
    "pictures/detect_memory": Figure("the same, detect", partial(pictures_memory, "detect"), Bar(at_most=1.15)),
    "recordings/fit_memory": Figure("the same of folders of WAV files, fit", partial(recordings_memory, "fit"),
                                    Bar(at_most=1.15)),
    "recordings/detect_memory": Figure("the same, detect", partial(recordings_memory, "detect"), Bar(at_most=1.15)),
    "text/fit_memory": Figure("the same of a text, a document on every line, fit", partial(texts_memory, "fit"),
                              Bar(at_most=1.15)),
    "text/detect_memory": Figure("the same, detect", partial(texts_memory, "detect"), Bar(at_most=1.15)),
    "fit_speed": Figure("rows/s of fit, streaming ÷ in memory", fit_speed, Bar(at_least=0.8)),
    "detect_likelihood": Figure("seconds of detect ÷ of reading alone", partial(detect_speed, "likelihood"),
                                Bar(at_most=3)),
    "detect_default": Figure("seconds of detect ÷ of reading alone", partial(detect_speed, None), Bar(at_most=3)),
}  # fmt: skip

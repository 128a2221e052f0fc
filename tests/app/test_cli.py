"""The command line: what it prints where, what it refuses, and with which exit code."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus.app import cli, commands, voice
from isthmus.app.cli import main
from isthmus.model import open_model
from isthmus.recipes import RECIPES
from isthmus.tasks import TASKS

pytestmark = pytest.mark.usefixtures("brief_committee")

ROWS = 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A table, a hostile one too, and a tiny model of it."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    z = rng.normal(size=(ROWS, 2))
    x = z @ rng.normal(size=(2, 5)) + 0.1 * rng.normal(size=(ROWS, 5))
    kind = np.where(z[:, 0] > 0, "tcp", "udp")
    lines = ["a,b,c,<script>alert(1)</script>,e,kind"]
    lines += [",".join(f"{v:.4f}" for v in row) + f",{k}" for row, k in zip(x, kind, strict=True)]
    (folder / "rows.csv").write_text("\n".join(lines))
    code = main(
        [
            "fit",
            str(folder / "rows.csv"),
            "-o",
            str(folder / "m.isthmus"),
            "--epochs",
            "3",
            "--latent-dim",
            "2",
            "-q",
        ]
    )
    assert code == 0
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Run a command line in the folder; return code, standard output and standard error."""
    monkeypatch.chdir(folder)

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([word for line in args for word in line.split()])
        return code, *capsys.readouterr()

    return run


# -- help ---------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    told = (
        "import sys; from isthmus.app.cli import main; main(['--help']);"
        "heavy = ('torch', 'numpy', 'pyarrow', 'sklearn', 'rich', 'jinja2', 'PIL');"
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True,
                           cwd=Path(cli.__file__).parents[2])  # fmt: skip
    assert found.stdout.endswith("[]\n")
    for name, task in TASKS.items():
        assert name in found.stdout
        assert task.about[:20] in found.stdout


def test_the_command_alone_is_help(run):
    assert run() == run("--help")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_a_subcommand_with_the_options_of_its_function(name, run):
    code, out, _ = run(name, "--help")
    assert code == 0
    for parameter in inspect.signature(TASKS[name].load()).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "watch":
            assert ("--" if len(parameter.name) > 1 else "-") + parameter.name.replace("_", "-") in out
    for option in ("--output", "--device", "--json", "--quiet", "--debug"):
        assert option in out


def test_options_follow_the_annotations():
    def task(
        model,
        rows,
        queries,
        *,
        rate: float = 0.5,
        n: int = 3,
        deep: bool = False,
        how: "Literal['near', 'far']" = "near",
        size: "int | str" = "auto",
        limit: "int | None" = None,
    ):
        """Do.

        Args:
            rate: how much,
                and more.
            n: how many.
        """

    class Line:
        about, follows, sweeps = "Do.", False, False
        load = staticmethod(lambda: task)

    command = commands.task_command("do", Line())
    found = {p.name: p for p in command.params}
    assert [p.name for p in command.params if p.param_type_name == "argument"] == [
        "model_path",
        "rows",
        "queries",
    ]
    assert found["rate"].type.name == "float"
    assert found["rate"].help == "How much, and more."
    assert found["n"].type.name == "integer"
    assert found["deep"].is_flag
    assert found["deep"].secondary_opts == ["--no-deep"]
    assert list(found["how"].type.choices) == ["near", "far"]
    assert found["size"].type.convert("4", None, None) == 4
    assert found["limit"].default is None


def test_recipes_and_parts_are_listed(run):
    code, out, _ = run("recipes")
    assert code == 0
    assert all(name in out for name in RECIPES)
    code, out, _ = run("parts", "encoder")
    assert code == 0
    assert "mlp" in out
    assert "widths=" in out
    code, out, _ = run("parts", "--json")
    assert json.loads(out)["bottleneck"]["gaussian"]["options"]["free_bits"] == 0.0


# -- the main job -------------------------------------------------------------------------------


def test_fit_says_what_it_did(run):
    code, out, err = run(
        "fit rows.csv -o again.isthmus --epochs 2 --latent-dim 2 --profile --max-time 1m",
        "--validation 0.2 --encoder mlp --set encoder.widths=[16,8] --set training.clip=3",
        "--set modality.scaling=robust",
        "--column kind=ignore --penalties l2 --set penalties.l2.weight=0.01",
    )
    assert code == 0, err
    assert "240 rows" in out
    assert "192 rows to fit, 48 held out" in out
    assert "5 → 16 → 8 → [2] → " in out
    assert "PCA-2" in out
    assert "train " in out
    assert "next: isthmus detect again.isthmus" in out
    assert not Path("again.isthmus.checkpoint").exists()
    code, out, _ = run("info", "again.isthmus", "--json")
    told = json.loads(out)
    assert told["plan"]["clip"] == 3
    assert told["plan"]["max_time"] == 60
    assert told["spec"]["encoder"]["widths"] == [16, 8]
    assert told["spec"]["penalties"] == [{"kind": "l2", "weight": 0.01}]


def test_json_is_one_object_and_words_go_to_stderr(run):
    code, out, err = run("fit", "rows.csv", "-o", "j.isthmus", "--epochs", "2", "--latent-dim", "2", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["rows"]["train"] + told["rows"]["held_out"] == ROWS
    assert told["held_out"]["latent_dim"] == 2
    assert "240 rows" in err
    for name in ("detect", "encode", "reconstruct", "compare"):
        code, out, _ = run(name, "m.isthmus", "rows.csv", "--json")
        assert code == 0
        assert json.loads(out)["task"] == name


def test_quiet_is_quiet(run):
    assert run("fit", "rows.csv", "-o", "q.isthmus", "--epochs", "2", "--latent-dim", "2", "-q") == (
        0,
        "",
        "",
    )
    assert run("detect", "q.isthmus", "rows.csv", "-o", "q.csv", "-q") == (0, "", "")
    assert run("detect", "q.isthmus", "rows.csv", "--quiet") == (0, "", "")
    assert run("info", "q.isthmus", "--quiet") == (0, "", "")


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "json"])
def test_detect_writes_what_was_asked_for(ending, run, folder):
    code, out, _ = run("detect", "m.isthmus", "rows.csv", "-o", f"scored.{ending}", "--false-alarm-rate", "0.05")
    assert code == 0
    assert f"scored.{ending}" in out
    written = (folder / f"scored.{ending}").read_bytes()
    if ending == "csv":
        assert b"score" in written.splitlines()[0]
        assert len(written.splitlines()) == ROWS + 1
    if ending == "json":
        assert json.loads(written)["false_alarm_rate"] == 0.05


def test_detect_without_an_output_shows_the_strangest(run):
    code, out, _ = run("detect", "m.isthmus", "rows.csv")
    assert code == 0
    assert "why" in out
    assert "expected" in out
    assert "-o scored.csv keeps" in out


def test_there_and_back(run, folder):
    assert run("encode", "m.isthmus", "rows.csv", "-o", "codes.npy")[0] == 0
    assert np.load(folder / "codes.npy").shape == (ROWS, 2)
    assert run("decode", "m.isthmus", "codes.npy", "-o", "back.csv")[0] == 0
    assert run("reconstruct", "m.isthmus", "rows.csv", "-o", "same.csv")[0] == 0
    assert (folder / "back.csv").read_text() == (folder / "same.csv").read_text()


def test_info_tells_rows_parts_training_and_calibration(run):
    code, out, _ = run("info", "m.isthmus")
    assert code == 0
    for word in ("rows.csv", "mlp", "epochs", "PCA-2", "rows that it has not seen", "false-alarm rate", "torch"):
        assert word in out
    told = json.loads(run("info", "m.isthmus", "--json")[1])
    assert set(told["calibration"]["thresholds"]) == {"0.01", "0.05"}


def test_info_opens_no_network_and_tells_the_same(run, folder):
    found = isthmus_told(folder / "m.isthmus", "'torch' in sys.modules")
    assert found.splitlines()[-1] == "False"
    quick = (run("info", "m.isthmus")[1], json.loads(run("info", "m.isthmus", "--json")[1]))
    open_model(folder / "m.isthmus", device="cpu").save(folder / "opened.isthmus")  # which writes nothing to tell
    slow = (run("info", "opened.isthmus")[1], json.loads(run("info", "opened.isthmus", "--json")[1]))
    assert quick[0].splitlines()[1:] == slow[0].splitlines()[1:]
    assert {**quick[1], "file": "", "bytes": 0} == {**slow[1], "file": "", "bytes": 0}


def isthmus_told(path, question):
    """``isthmus info``, and the answer to a question of Python behind it."""
    program = f"import sys; from isthmus.app.cli import main; main(['info', {str(path)!r}]); print({question})"
    where = {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **where},
                          check=True).stdout  # fmt: skip


def test_a_csv_on_standard_input(run, folder, monkeypatch):
    with (folder / "rows.csv").open() as rows:
        monkeypatch.setattr("sys.stdin", rows)
        code, out, err = run("detect m.isthmus - --json")
    assert code == 0, err
    assert json.loads(out)["rows"] == ROWS


def test_a_reader_that_leaves_is_no_error(folder):
    where = {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = f"{sys.executable} -m isthmus recipes | true; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, **where})
    assert found.stdout.strip() == "0"
    assert found.stderr == ""


def test_health_says_what_is_wrong_and_draws(run, folder):
    code, out, err = run("health m.isthmus rows.csv -o health.html")
    assert code == 0, err
    assert "of the variance of these rows comes back" in out
    assert "What each code does" in (folder / "health.html").read_text()
    code, out, _ = run("health m.isthmus rows.csv --json")
    told = json.loads(out)
    assert told["task"] == "health"
    assert [line["code"] for line in told["codes"]] == [0, 1]
    assert all({"what", "words", "remedy"} <= finding.keys() for finding in told["findings"])


def test_a_fit_that_heals_says_what_it_did(run):
    args = "fit rows.csv -o healed.isthmus --recipe beta --epochs 12 --warm-start none --set likelihood.sigma=9"
    code, out, err = run(args, "--auto-heal")
    assert code == 0, err
    assert "healing: posterior collapse" in out
    assert "left as you said: likelihood.sigma=9" in out
    assert not Path("healed.isthmus.checkpoint").exists()
    told = json.loads(run("info healed.isthmus --json")[1])
    assert told["record"]["healing"][0]["change"]["bottleneck.free_bits"] == 0.25
    assert "healing" in run("info healed.isthmus")[1]
    assert "healing" not in run("info m.isthmus")[1]


# -- the checkpoint -----------------------------------------------------------------------------


def test_a_checkpoint_is_gone_on_from_only_when_asked(run, folder, monkeypatch):
    left = folder / "c.isthmus.checkpoint"

    def interrupted(self, path, **said):
        raise KeyboardInterrupt

    from isthmus.model import Model

    args = "fit rows.csv -o c.isthmus --epochs 3 --latent-dim 2"
    with monkeypatch.context() as m:
        m.setattr(Model, "save", interrupted)
        assert run(args)[0] == 130
    assert left.exists()
    assert not (folder / "c.isthmus").exists()
    code, out, err = run(args, "--resume")
    assert code == 0, err
    assert "going on from" in out
    assert not left.exists()
    left.write_bytes(b"of another run")
    code, out, err = run(args)
    assert code == 0, err
    assert "starting over" in out


def test_an_interrupted_fit_leaves_a_model_and_a_checkpoint(run, folder, monkeypatch):
    from isthmus.training.progress import Progress

    def interrupted(self, run, epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    args = "fit rows.csv -o i.isthmus --epochs 4 --latent-dim 2"
    with monkeypatch.context() as m:
        m.setattr(Progress, "epoch", interrupted)
        code, out, _ = run(args)
    assert code == 0
    assert "--resume" in out
    assert (folder / "i.isthmus").exists()
    code, out, _ = run(args, "--resume", "--json")
    assert code == 0
    assert json.loads(out)["stopped"] is None
    assert not (folder / "i.isthmus.checkpoint").exists()


# -- what a person gets wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("dtect m.isthmus rows.csv", "Did you mean 'detect'?"),
        ("fit rows.csv", "--output"),
        ("fit rows.csv -o", "argument"),
        ("fit rows.csv -o x.isthmus --epoch 3", "--epochs"),
        ("fit rows.csv -o .", "is a folder"),
        ("fit rows.csv -o nowhere/x.isthmus", "folder nowhere does not exist"),
        ("fit rows.csv -o rows.csv/x.isthmus", "is a file, not a folder"),
        ("fit rows.csv -o x.isthmus --recipe plian", "Did you mean 'plain'?"),
        ("fit rows.csv -o x.isthmus --encoder mpl", "Did you mean 'mlp'?"),
        ("fit rows.csv -o x.isthmus --penalties l3", "Did you mean 'l2'?"),
        ("fit rows.csv -o x.isthmus --encoder mlp --set encoder.width=[8]", "Did you mean 'widths'?"),
        ("fit rows.csv -o x.isthmus --set encoder.width=[8]", "Did you mean 'widths'?"),
        ("fit rows.csv -o x.isthmus --set encodr.widths=[8]", "Did you mean 'encoder'?"),
        ("fit rows.csv -o x.isthmus --set encoder=[8]", "names no option"),
        ("fit rows.csv -o x.isthmus --set encoder", "NAME=VALUE"),
        ("fit rows.csv -o x.isthmus --set training.clop=3", "Did you mean 'clip'?"),
        ("fit rows.csv -o x.isthmus --set modality.scalling=robust", "Did you mean 'scaling'?"),
        ("fit rows.csv -o x.isthmus --epochs none", "'auto'"),
        ("fit rows.csv -o x.isthmus --epochs 0", "epochs"),
        ("fit rows.csv -o x.isthmus --max-time soon", "60s"),
        ("fit rows.csv -o x.isthmus --size 8", "64x64"),
        ("fit rows.csv -o x.isthmus --latent-dim 99", "latent_dim"),
        ("fit rows.csv -o x.isthmus --column nokind=numeric", "nokind"),
        ("fit rows.csv -o x.isthmus --validation rows2.csv", "rows2.csv"),
        ("fit rows.csv -o x.isthmus --device cudda", "cudda"),
        ("fit missing.csv -o x.isthmus", "missing.csv"),
        ("detect missing.isthmus rows.csv", "missing.isthmus"),
        ("detect cut.isthmus rows.csv", "cut.isthmus"),
        ("detect rows.csv rows.csv", "rows.csv"),
        ("detect m.isthmus rows.csv --false-alarm-rate 2", "between 0 and 1"),
        ("detect m.isthmus rows.csv -o scored.doc", ".doc"),
        ("detect m.isthmus other.csv", "error"),
        ("report m.isthmus rows.csv -o r.pdf", ".html"),
        ("parts encodr", "Did you mean 'encoder'?"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(args, said, run, folder):
    (folder / "cut.isthmus").write_bytes((folder / "m.isthmus").read_bytes()[:-100])
    (folder / "other.csv").write_text("p,q\n1,2\n3,4\n")
    code, out, err = run(args)
    assert code == 2, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in out + err
    assert not (folder / "x.isthmus").exists()


def test_our_own_mistake_is_said_to_be_one(run, monkeypatch):
    def broken(model, rows):
        raise RuntimeError("the\nsky fell")

    monkeypatch.setattr("isthmus.tasks.checkup.compare.compare", broken)
    code, out, err = run("compare", "m.isthmus", "rows.csv")
    assert (code, out) == (1, "")
    assert "RuntimeError: the sky fell" in err
    assert "bug" in err
    assert "--debug" in err
    assert "Traceback" not in err
    with pytest.raises(RuntimeError, match="sky"):
        run("compare", "m.isthmus", "rows.csv", "--debug")


def test_no_colour_where_nobody_looks(run, monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert voice.painted("a", Terminal(), bold=True) != "a"
    monkeypatch.setenv("NO_COLOR", "1")
    assert voice.painted("a", Terminal(), bold=True) == "a"
    assert "\x1b" not in run("recipes")[1]

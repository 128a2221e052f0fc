"""The demo does what it says."""

from isthmus.app import demo


def test_the_demo_writes_all_that_it_names(tmp_path, capsys, monkeypatch):
    from isthmus.spec import Plan

    monkeypatch.setattr("isthmus.estimators.Plan", lambda **said: Plan(**{**said, "epochs": 2}))
    assert demo.main(tmp_path) == 0
    said = capsys.readouterr().out
    for name in ("digits.isthmus", "digits.png", "scored.csv", "report.html"):
        assert (tmp_path / name).stat().st_size > 1000
        assert name in said

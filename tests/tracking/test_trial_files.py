import json
from pathlib import Path

from pipeline.core import paths
from pipeline.tracking import Identity, trial_files
from pipeline.tracking.trial_files import MetricReader, MetricRow


def test_a_reader_returns_each_complete_line_once(tmp_path: Path) -> None:
    curves, reader = tmp_path / "curves.jsonl", MetricReader(tmp_path)
    assert reader.read_new(1.0) == []
    curves.write_text('{"step": 5, "loss": 0.5}\n{"step": 10, "lo')
    assert reader.read_new(2.0) == [MetricRow(5, 2.0, {"loss": 0.5})]
    assert reader.read_new(3.0) == []
    with curves.open("a") as file:
        file.write('ss": 0.4, "score": 0.7}\n')
    assert reader.read_new(4.0) == [MetricRow(10, 4.0, {"loss": 0.4, "score": 0.7})]
    assert reader.last_steps == {"loss": 10, "score": 10}


def test_resource_samples_keep_their_own_times_and_are_no_curves(tmp_path: Path) -> None:
    (tmp_path / "resources.jsonl").write_text('{"step": 0, "time": 7.5, "system/x": 1.0}\n')
    reader = MetricReader(tmp_path)
    assert reader.read_new(9.0) == [MetricRow(0, 7.5, {"system/x": 1.0})]
    assert reader.last_steps == {}


def test_artifacts_are_listed_where_the_trial_is_stored(tmp_path: Path) -> None:
    identity, folder = Identity("evaluate", "a"), tmp_path / "stored"
    folder.mkdir()
    home = paths.get_trial_dir("evaluate", "a", 0).relative_to(paths.ROOT)
    names = [str(home / "predictions.parquet"), str(home / "missing.txt"), "pyproject.toml"]
    (folder / "trial.json").write_text(json.dumps({"seed": 0, "artifacts": names}))
    (folder / "predictions.parquet").touch()
    assert trial_files.list_artifacts(identity, 0, folder) == [
        folder / "predictions.parquet", paths.ROOT / "pyproject.toml", folder / "trial.json",
    ]  # fmt: skip

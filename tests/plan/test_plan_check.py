import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import plan
from pipeline.core import paths
from pipeline.core.errors import UserError

SOUND: dict[str, Any] = {
    "tasks": ["mrpc", "cola"],
    "models": ["bert-tiny", "bert-mini"],
    "ratios": [0.25, 1.0],
    "recipes": ["standard"],
    "seeds": [0, 1],
    "benchmark": {
        "task": "mrpc",
        "models": [],
        "processes": [1],
        "threads": [1],
        "precisions": ["fp32"],
        "batches": [8],
    },
    "variants": {"long": {"task": "mrpc", "model": "bert-tiny", "ratio": 1.0, "recipe": "patient"}},
    "distill": {},
    "compress": {},
    "compare": {"budget": {}},
}
SECTIONS = "benchmark, compare, compress, distill, models, ratios, recipes, seeds, tasks, variants"


def mistakes(**changed: Any) -> list[str]:
    return plan.check({**SOUND, **changed})


def test_a_sound_plan_has_no_mistakes() -> None:
    assert mistakes() == []


@pytest.mark.parametrize("path", [paths.PARAMS, *sorted((paths.CONF / "plan").glob("*.yaml"))], ids=lambda p: p.stem)
def test_every_plan_that_ships_is_sound(path: Path) -> None:
    assert plan.check(plan.read(path)) == []


def test_an_unknown_task_is_told_with_the_nearest_name() -> None:
    (found,) = mistakes(tasks=["mprc", "cola"], variants={}, benchmark={**SOUND["benchmark"], "task": "cola"})
    allowed = ", ".join(sorted(file.stem for file in (paths.CONF / "task").glob("*.yaml")))
    assert found == f"tasks[0]: no task 'mprc' in conf/task/; did you mean 'mrpc'? (allowed: {allowed})"


def test_an_unknown_section_is_told_with_the_nearest_name() -> None:
    assert mistakes(variant={}) == [f"variant: unknown key; did you mean 'variants'? (allowed: {SECTIONS})"]


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01, "half", True, None, float("nan"), float("inf")])
def test_a_ratio_outside_its_range_is_refused(ratio: object) -> None:
    assert mistakes(ratios=[ratio, 1.0]) == [
        f"ratios[0]: got {'nothing' if ratio is None else repr(ratio)}; a ratio is a number above 0 and at most 1"
    ]


@pytest.mark.parametrize("seed", [1.5, "1", True, -1, 2**32])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    assert mistakes(seeds=[seed]) == [f"seeds[0]: got {seed!r}; a seed is a whole number from 0 to 4294967295"]


def test_a_ratio_that_leaves_a_class_out_is_refused_with_the_least_that_does_not() -> None:
    (found,) = mistakes(ratios=[0.0002, 1.0], tasks=["mrpc"])
    assert found.startswith("ratios[0]: 0.0002 of mrpc is 1 training rows, too few for every class to appear; use at")
    least = float(found.rsplit(" ", 1)[1])
    assert mistakes(ratios=[least, 1.0], tasks=["mrpc"]) == []
    assert len(mistakes(ratios=[least / 2, 1.0], tasks=["mrpc"])) == 1


@pytest.mark.parametrize("key", [7, 0.5, "a.b", "a/b", "a b", "$(id)", ""])
def test_a_variant_that_dvc_would_lose_is_refused(key: object) -> None:
    (found,) = mistakes(variants={key: SOUND["variants"]["long"]})
    assert found == (
        f"variants.{key}: a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)"
    )


def test_a_source_that_no_cell_makes_is_refused() -> None:
    entry = {"task": "rte", "model": "bert-base", "ratio": 0.5, "recipe": "patient"}
    advice = "add it to {0}s, or name one of them ({1})"
    assert mistakes(variants={"far": entry}) == [
        "variants.far.task: no cell makes 'rte'; " + advice.format("task", "mrpc, cola"),
        "variants.far.model: no cell makes 'bert-base'; " + advice.format("model", "bert-tiny, bert-mini"),
    ]


def test_outputs_that_two_cells_would_write_are_refused() -> None:
    assert mistakes(ratios=[0.5, 0.5]) == ["ratios: 0.5 is there 2 times; its outputs would be written twice; keep one"]
    assert mistakes(ratios=[1, 1.0]) == ["ratios: 1 is there 2 times; its outputs would be written twice; keep one"]
    entry = SOUND["variants"]["long"]
    assert plan.check({**SOUND, "ratios": [1], "variants": {"mrpc-bert-tiny-1-standard": entry}}) == [
        "2 cells would write runs/finetune/mrpc-bert-tiny-1-standard; rename one"
    ]


def test_all_mistakes_come_at_once(project: Path) -> None:
    (project / "params.yaml").write_text(
        "tasks: [nope, starter-swap]\nmodels: []\nratios: [2, 0.0001]\nrecipes: [standard]\nseeds: [a]\n"
        "variants: {1: {}}\nx: 1\n"
    )
    done = run_check(project)
    assert done.returncode == 1
    tasks = ", ".join(sorted(file.stem for file in (paths.CONF / "task").glob("*.yaml")))
    assert done.stderr.splitlines() == [
        f"error: params.yaml: {mistake}"
        for mistake in (
            f"tasks[0]: no task 'nope' in conf/task/; allowed: {tasks}",
            "models: got []; give a list with at least one entry",
            "ratios[0]: got 2; a ratio is a number above 0 and at most 1",
            "seeds[0]: got 'a'; a seed is a whole number from 0 to 4294967295",
            "variants.1: a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)",
            "distill: missing; write one entry a student, or {} for none",
            "compress: missing; write one entry a compression, or {} for none",
            "benchmark: missing; write task, models, processes, threads, precisions, batches, "
            "with models: [] for no benchmark",
            "compare: missing; write budget: with limits by name, or budget: {} for none",
            f"x: unknown key; allowed: {SECTIONS}",
            "ratios[1]: 0.0001 of starter-swap is 0 training rows, too few for every class to appear; "
            "use at least 0.0028",
        )
    ]


def test_a_mistake_of_one_kind_hides_none_of_another() -> None:
    entry = SOUND["variants"]["long"]
    assert mistakes(ratios=[1, 2], variants={"mrpc-bert-tiny-1-standard": entry, "a.b": entry}) == [
        "ratios[1]: got 2; a ratio is a number above 0 and at most 1",
        "variants.a.b: a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)",
        "2 cells would write runs/finetune/mrpc-bert-tiny-1-standard; rename one",
    ]


SOURCE = "source: {_target_: pipeline.models.checkpoint_sources.directory, path: mine}\n"
MINE = SOURCE + (
    "columns: {text_a: a, label: b}\nlabels: [x, y]\nmetrics: [accuracy]\nscore: accuracy\nreport: validation\n"
    "train_counts: [50, 50]\nselection: {fraction: 0.1, seed: 0}\nsubset_seed: 0\nmax_length: 64\n"
)


@pytest.mark.parametrize(
    ("group", "text", "messages"),
    [
        (
            "task",
            "",
            "got nothing; write keys and their values: name, source, columns, labels, range, metrics, score, report, "
            "train_counts, selection, subset_seed, max_length",
        ),
        ("task", "a: [", "line 2: not YAML that can be read: did not find expected node content"),
        ("task", MINE, "name: missing; give text"),
        (
            "task",
            "name: theirs\n" + MINE,
            "name: got 'theirs', but outputs are looked for under the file's name; write name: mine",
        ),
        (
            "task",
            "name: mine\n" + MINE.replace("train_counts: [50, 50]\n", ""),
            "train_counts: missing; give a list of whole numbers from 1",
        ),
        (
            "task",
            "name: mine\n" + MINE.replace("[50, 50]", "[0, 5]"),
            "train_counts[0]: got 0; give a whole number from 1",
        ),
        (
            "task",
            "name: mine\n" + MINE.replace("{fraction: 0.1, seed: 0}", "0.1"),
            "selection: got 0.1; give {fraction: ..., seed: ...}",
        ),
        (
            "model",
            f"name: bert-tiny\n{SOURCE}",
            "name: got 'bert-tiny', but outputs are looked for under the file's name; write name: mine",
        ),
        ("model", "name: mine\n", "source: missing; give a _target_ and its arguments by name"),
        (
            "recipe",
            (paths.CONF / "recipe/standard.yaml").read_text(),
            "name: got 'standard', but outputs are looked for under the file's name; write name: mine",
        ),
    ],
)
def test_a_file_of_conf_that_would_mislead_a_run_is_told_before_it(
    project: Path, group: str, text: str, messages: str
) -> None:
    (project / f"conf/{group}/mine.yaml").write_text(text)
    names = {"task": "mrpc", "model": "bert-tiny", "recipe": "patient", group: "mine"}
    entry = ", ".join(f"{key}: {name}" for key, name in names.items())
    (project / "params.yaml").write_text(
        f"tasks: [{names['task']}]\nmodels: [{names['model']}]\nratios: [0.5]\nrecipes: [standard]\nseeds: [0]\n"
        f"variants: {{long: {{{entry}, ratio: 1.0}}}}\ndistill: {{}}\ncompress: {{}}\n"
        f"benchmark: {{task: {names['task']}, models: [], processes: [], threads: [], precisions: [], batches: []}}\n"
        "compare: {budget: {}}\n"
    )
    done = run_check(project)
    assert (done.returncode, done.stderr) == (1, f"error: conf/{group}/mine.yaml: {messages}\n")


UNKNOWN = [
    ("task/starter-swap.yaml", "class_weights: balanced",
     "class_weights: unknown key; allowed: columns, labels, max_length, metrics, name, range, report, score, "
     "selection, source, subset_seed, train_counts"),
    ("model/starter-2x64.yaml", "lr: 3",
     "lr: unknown key; did you mean 'learning_rate'? (allowed: family, learning_rate, name, source, threads)"),
    ("finetune.yaml", "epochs: 9",
     "epochs: unknown key; it belongs in conf/recipe/ (allowed here: cell, checkpoint_seconds, exploration, "
     "processes, ratio, seed, threads)"),
    ("workspace.yaml", "seeds: [1]",
     "seeds: unknown key; did you mean 'seed'? (allowed: checkpoint_seconds, exploration, seed)"),
    ("compression/heads.yaml", "x: 1", "x: unknown key; allowed: method, name, recovery"),
    ("recipe/standard.yaml", "weight: 1",
     "weight: unknown key; did you mean 'weight_decay'? (allowed: batch_size, clip, epochs, evaluations, fractions, "
     "learning_rate, name, steps, warmup, weight_decay)"),
    ("sweep/seeds.yaml", "epochs: 1",
     "epochs: unknown key; it belongs in conf/recipe/ (allowed here: at_most, batch, budget, cell, checkpoint_seconds, "
     "dpi, exploration, latency, mirror, precision, processes, ratio, recovery, seed, size, source, teacher, "
     "threads, within)"),
    ("prepare.yaml", "cache: off",
     'cache: got off, which Hydra reads as false and DVC as "off"; put it in quotes: "off"'),
]  # fmt: skip


def test_a_key_that_no_code_reads_is_refused_in_every_file_of_conf_at_once(project: Path) -> None:
    for file, line, _ in UNKNOWN:
        with (project / "conf" / file).open("a") as opened:
            opened.write(f"{line}\n")
    done = run_check(project)
    assert done.returncode == 1
    for file, _, message in UNKNOWN:
        assert f"error: conf/{file}: {message}" in done.stderr.splitlines()


def test_class_names_that_yaml_reads_in_two_ways_are_refused_with_the_text_to_write(project: Path) -> None:
    file = project / "conf/task/starter-swap.yaml"
    file.write_text(file.read_text().replace("labels: [different, paraphrase]", "labels: [no, null]"))
    done = run_check(project)
    assert (done.returncode, done.stderr.splitlines()) == (1, [
        'error: conf/task/starter-swap.yaml: labels[0]: got no, which Hydra reads as false and DVC as "no"; put it in '
        'quotes: "no"',
        'error: conf/task/starter-swap.yaml: labels[1]: got null, which is no text; put it in quotes: "null"',
    ])  # fmt: skip


def test_a_value_of_the_plan_that_yaml_reads_in_two_ways_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        json.dumps({**SOUND, "variants": {}}).replace('"seeds": [0, 1]', '"seeds": [010]')
    )
    with pytest.raises(UserError) as error:
        plan.load(tmp_path / "params.yaml")
    assert str(error.value) == (
        "params.yaml: seeds[0]: got 010, which Hydra reads as 8 and DVC as 10; write the number you mean, or put it in "
        'quotes: "010"'
    )


def test_the_least_ratio_that_is_advised_is_a_ratio(project: Path) -> None:
    file = project / "conf/task/starter-swap.yaml"
    file.write_text(file.read_text().replace("train_counts: [500, 500]", "train_counts: [1, 1]"))
    assert "training rows, too few for every class to appear; use at least 1.0\n" in run_check(project).stderr


def test_a_plan_without_content_says_what_to_write(project: Path) -> None:
    (project / "params.yaml").write_text("# nothing yet\n")
    messages = "error: params.yaml: got nothing; write keys and their values: tasks, models, ratios, recipes, seeds\n"
    assert run_check(project).stderr == messages


def test_the_check_is_over_in_a_moment(project: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run_check(project).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # of the processor: others may work


def test_the_check_loads_nothing_heavy(project: Path) -> None:
    code = (
        "import sys; from pipeline import plan; plan.main();"
        "print(sorted({'torch', 'transformers', 'mlflow', 'hydra', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_check_makes_every_folder_that_the_comparison_depends_on_and_none_is_empty(project: Path) -> None:
    assert run_check(project).returncode == 0
    for stage in plan.COMPARED:
        assert [path.name for path in (project / "metrics" / stage).iterdir()] == [".gitkeep"]


def test_a_key_twice_is_a_mistake_with_its_line(project: Path) -> None:
    (project / "params.yaml").write_text("tasks: [mrpc]\ntasks: [cola]\n")
    done = run_check(project)
    assert done.returncode == 1
    assert done.stderr == (
        'error: params.yaml: line 2: not YAML that can be read: found duplicate key "tasks" with value "[]" '
        '(original value: "[]")\n'
    )


def test_a_missing_plan_says_where_to_find_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^absent.yaml: no such file; copy one of conf/plan/ to it$"):
        plan.load(tmp_path / "absent.yaml")


def run_check(project: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.plan"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        (None, ["compare: got nothing; write budget: with limits by name, or budget: {} for none"]),
        ([1], ["compare: got [1]; write budget: with limits by name, or budget: {} for none"]),
        (
            {"budgets": {}},
            [
                "compare.budget: missing; write limits by name (latency_p50_ms, storage_bytes, inference_memory_mib, "
                "train_seconds, train_examples, score), or {} for none",
                "compare.budgets: unknown key; did you mean 'budget'? (allowed: budget, margin)",
            ],
        ),
        (
            {"budget": {"latency_ms": 5, "score": 84}},
            [
                "compare.budget.score: got 84; give a score from 0 to 1, or null",
                "compare.budget.latency_ms: unknown key; did you mean 'latency_p50_ms'? (allowed: "
                "inference_memory_mib, latency_p50_ms, score, storage_bytes, train_examples, train_seconds)",
            ],
        ),
        *[
            (
                {"budget": {}, "margin": margin},
                [f"compare.margin: got {margin!r}; give a number of points above 0, such as 1.0"],
            )
            for margin in (0, -1, 100, True, "1")
        ],
        ({"budget": {}, "margin": 0.5}, []),
    ],
)
def test_a_budget_that_cannot_be_kept_to_is_refused_with_the_plan(given: object, messages: list[str]) -> None:
    assert mistakes(compare=given) == messages


def test_the_budget_is_part_of_the_plan(tmp_path: Path) -> None:
    limits = {"latency_p50_ms": 5, "score": 0.84}
    (tmp_path / "params.yaml").write_text(json.dumps({**SOUND, "variants": {}, "compare": {"budget": limits}}))
    found = plan.load(tmp_path / "params.yaml").budget
    assert (found.limits, found.score) == ({"latency_p50_ms": 5.0}, 0.84)


@pytest.mark.parametrize(("given", "margin"), [({}, 1.0), ({"margin": 2}, 2.0)])
def test_the_margin_is_part_of_the_plan_and_one_point_by_default(
    given: dict[str, object], margin: float, tmp_path: Path
) -> None:
    content = {**SOUND, "variants": {}, "compare": {"budget": {}, **given}}
    (tmp_path / "params.yaml").write_text(json.dumps(content))
    assert plan.load(tmp_path / "params.yaml").margin == margin

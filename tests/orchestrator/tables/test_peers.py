"""The paper's Table 1: published peers beside measured rows, three sweeps side by side, what is unlike the paper."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.experiment.bound_sweep import prepare
from orchestrator.spec.sweep import load
from orchestrator.store.store import Store
from orchestrator.tables.build import Table, records_from_store
from orchestrator.tables.columns import check_tables
from orchestrator.tables.latex_html import table_html, table_tex
from orchestrator.tables.published import load_published
from orchestrator.tables.side_by_side import join_tables
from orchestrator.tables.write_files import report_files, table_csv, table_markdown
from reskd.errors import BadInput
from tests.support.command_line import call
from tests.support.stored_sweep import SWEEP, StoredSweep
from tests.support.stored_tables import table_of

BASELINE, RESKD = (0.71, 0.72, 0.73), (0.79, 0.80, 0.805)


def table1(folder: Path, data: str, metric: str, *, epochs: int = 2, is_done: bool = True) -> Table:
    """Table 1 of a sweep on one data set, all seeds of the two rows done or none."""
    text = (
        SWEEP.replace("name: demo", f"name: {data}")
        .replace("optim: {epochs: 2", f"optim: {{epochs: {epochs}")
        .replace(
            "rows: row, columns: [test/top1, GMACs, clips/s]", f"rows: [baseline, PIXEL], columns: [{metric}, GMACs]"
        )
        .replace("table5: {", "table1: {peers: true, published_rows: {PIXEL: ResKD}, ")
        .replace("published: table5, plot: accuracy_vs_gmacs", "published: table1")
        .replace("PIXEL", "pixel-level MSE")
    )
    stored = StoredSweep(folder, name=f"table1_{data}", text=text)
    for row, values in (("baseline", BASELINE), ("pixel-level MSE", RESKD)):
        for seed, value in enumerate(values if is_done else ()):
            stored.finish(stored.id_of(row, seed), value)
    return table_of(stored, key="table1")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    asked = {"activitynet": "test/mAP", "mini_kinetics": "test/top1", "fcvid": "test/mAP"}
    folder = tmp_path_factory.mktemp("table1")
    return [table1(folder / data, data, metric) for data, metric in asked.items()]


def test_twelve_published_peers_stand_before_our_rows_and_have_no_measured_figure(three: list[Table]) -> None:
    table = three[0]
    paper = load_published().table("table1")
    assert [label.split(" (")[0] for label in table.peers] == [row for row in paper.rows if row != "ResKD"]
    assert len(table.peers) == 12
    assert table.peers[0] == "LiteEval (MN+RN101)"
    assert table.headings == ["row", "mAP (%)", "vs baseline (points)", "published", "GMACs a clip", "published"]
    assert table.cells("FrameExit (RN50)") == ["FrameExit (RN50)", "published only", "", "76.1", "-", "26.1"]
    assert table.cells("pixel-level MSE") == ["pixel-level MSE", "79.8 ± 1.9", "+7.8 ± 0.7", "80.0", "0.0625", "17.4"]
    for label in table.peers:
        for column in table.columns:
            assert table.entries[label, column.key].estimate.values == ()
            assert table.entries[label, column.key].state == "published only"


def test_a_data_set_has_the_peers_that_were_published_for_it(three: list[Table]) -> None:
    without = {label.split(" (")[0] for label in set(three[0].peers) - set(three[1].peers)}
    assert without == {"ListenToLook", "AdaFrame"}
    without = {label.split(" (")[0] for label in set(three[0].peers) - set(three[2].peers)}
    assert without == {"ListenToLook", "Dynamic-STE", "FrameExit"}


def test_peers_are_in_every_file_and_told_apart(three: list[Table]) -> None:
    table = three[0]
    assert "| OCSampler (MN-T+RN50) | published only |  | 77.2 | - | 25.8 |" in table_markdown(table)
    lines = {(line["row"], line["column"]): line for line in csv.DictReader(io.StringIO(table_csv(table)))}
    peer = lines["LiteEval (MN+RN101)", "test/mAP"]
    assert (peer["state"], peer["mean"], peer["values"], peer["published"]) == ("published only", "", "", "72.7")
    assert table_html(table).count("<tr class=peer>") == 12
    assert table_tex(table).count(r"\midrule") == 2  # one more than a table without peers has


def test_a_peer_that_we_measure_is_our_row_and_no_peer(tmp_path: Path) -> None:
    text = SWEEP.replace("published: table5", "published: table1, peers: true, published_rows: {baseline: FrameExit}")
    table = table_of(StoredSweep(tmp_path, text=text))
    assert len(table.peers) == 12  # ResKD is now one of them
    assert not any(label.startswith("FrameExit") for label in table.peers)
    assert table.cells("baseline")[3] == "72.8"  # of a top-1 it is the top-1


def test_peers_need_the_table_that_they_are_from(tmp_path: Path) -> None:
    path = tmp_path / "levels.yaml"
    path.write_text(SWEEP.replace("SEEDS", "[0]").replace("published: table5", "peers: true"))
    with pytest.raises(BadInput, match=r"'tables\.table5\.peers' needs 'tables\.table5\.published'"):
        load(path)


def test_three_sweeps_are_one_table_side_by_side(three: list[Table]) -> None:
    (joined,) = join_tables([[table] for table in three])
    assert [column.heading for column in joined.columns] == [
        "ActivityNet: mAP (%)",
        "ActivityNet: GMACs a clip",
        "Mini-Kinetics: top-1 (%)",
        "Mini-Kinetics: GMACs a clip",
        "FCVID: mAP (%)",
        "FCVID: GMACs a clip",
    ]
    assert joined.rows == ("baseline", "pixel-level MSE")
    assert joined.peers == three[0].peers
    published = [
        text
        for text, name in zip(joined.cells("pixel-level MSE"), joined.headings, strict=True)
        if name in ("ActivityNet: published", "Mini-Kinetics: published", "FCVID: published")
    ]
    assert published == ["80.0", "17.4", "75.4", "8.70", "84.4", "17.4"]
    assert joined.cells("ListenToLook (MN+RN101)")[-3:] == ["", "-", ""]
    assert joined.entries["ListenToLook (MN+RN101)", "FCVID: test/mAP"].state == "not asked"
    assert "ActivityNet: activitynet: 299 clips evaluated, 1 skipped as damaged; protocol val-f4-v1x1." in joined.head
    assert joined.head.count("3 seeds (0, 1, 2).") == 1
    assert set(report_files([joined])) == {"table1.md", "table1.csv", "table1.tex", "table1.html", "report.md"}


def test_tables_of_several_sweeps_writes_each_ones_and_the_joined_one_and_checks_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESKD_DATA", str(tmp_path / "none"))
    for data in ("activitynet", "fcvid"):
        table1(tmp_path, data, "test/mAP", is_done=False)
    sweeps = tmp_path / "table1_activitynet.yaml", tmp_path / "table1_fcvid.yaml"
    begun = prepare(sweeps[0], store=Store(tmp_path / "store"))
    begun.store.start(next(iter(begun.steps)), {"started_ms": 1, "workers": 1, "threads": 1}, afresh=True)
    options = ("--store", tmp_path / "store", "--from", "store")
    code, _ = call(monkeypatch, capsys, "tables", *sweeps, *options)
    assert code == 0
    folder = tmp_path / "store" / "tables"
    assert sorted(path.name for path in folder.iterdir()) == [
        "table1_activitynet",
        "table1_activitynet+table1_fcvid",
        "table1_fcvid",
    ]
    joined = folder / "table1_activitynet+table1_fcvid" / "table1.md"
    assert "ActivityNet: mAP (%)" in joined.read_text()
    joined.write_text("something else")
    code, text = call(monkeypatch, capsys, "tables", *sweeps, *options, "--check")
    assert code == 1
    assert f"{joined}: stale, it differs from what would be built now; run `reskd tables`" in text.splitlines()
    assert text.count("table1: baseline, test/mAP, GMACs: missing") == 2
    assert call(monkeypatch, capsys, "tables", *sweeps, "--store", tmp_path / "store")[0] == 0
    published = list((tmp_path / "store" / "artifacts").rglob("joined/table1.md"))
    assert [path.read_text() for path in published] == [joined.read_text()] * 2


def test_sweeps_on_the_same_data_set_are_joined_under_their_own_names(tmp_path: Path) -> None:
    tables = [table1(tmp_path / str(epochs), "fcvid", "test/mAP", epochs=epochs) for epochs in (2, 3)]
    (joined,) = join_tables([tables[:1], [tables[1]]])
    assert joined.columns[0].heading == "table1_fcvid: mAP (%)"
    assert join_tables([tables[:1], []]) == []


def test_what_is_unlike_the_published_figure_is_said_and_what_is_alike_too(tmp_path: Path) -> None:
    head = table1(tmp_path / "a", "activitynet", "test/mAP").head
    assert (
        "Not as published: resolution 24 px, published with 112 px (mAP (%) and GMACs a clip of pixel-level MSE)."
        in head
    )
    assert (
        "Not as published: protocol val-f4-v1x1-r64-c64, published with val-f16-v1x1-r256-c224 "
        "(mAP (%) and GMACs a clip of pixel-level MSE)." in head
    )
    assert "Not as published: epochs 2, published with 200 (mAP (%) of pixel-level MSE)." in head
    assert "Not as published: resampling antialias, published with opencv (mAP (%) of pixel-level MSE)." in head
    long = table1(tmp_path / "b", "activitynet", "test/mAP", epochs=200, is_done=False).head
    assert not any("epochs 200" in sentence for sentence in long)
    assert "As published: mAP (%): epochs." in long
    network = "Not as published: network tsn_mini10, published with tsn_resnet50 "
    assert f"{network}(mAP (%) and GMACs a clip of pixel-level MSE)." in head


def test_what_one_row_of_several_has_otherwise_is_not_called_as_published(tmp_path: Path) -> None:
    text = SWEEP.replace("name: demo", "name: activitynet").replace("test/top1", "test/mAP")
    text = text.replace("resolution: 24}", "resolution: 112}").replace(
        "short_side: 64, crop_size: 64", "short_side: 224, crop_size: 224"
    )
    same = table_of(StoredSweep(tmp_path / "same", text=text)).head
    assert "As published: mAP (%): resolution." in same
    other = text.replace("kd.level: clip}", "kd.level: clip, model.resolution: 96}")
    head = " ".join(table_of(StoredSweep(tmp_path / "other", text=other)).head)
    assert "Not as published: resolution 96 px, published with 112 px (mAP (%) of clip-level KL)." in head
    assert "As published:" not in head


def test_a_protocol_is_as_published_only_if_its_sizes_are_too(tmp_path: Path) -> None:
    text = SWEEP.replace("name: demo", "name: activitynet").replace("test/top1", "test/mAP")
    whole = text.replace("num_frames: 4", "num_frames: 16").replace("short_side: 64, crop_size: 64", "short_side: 256")
    same = " ".join(table_of(StoredSweep(tmp_path / "same", text=whole)).head)
    assert "As published: mAP (%): protocol." in same
    smaller = whole.replace("short_side: 256", "short_side: 224")
    head = " ".join(table_of(StoredSweep(tmp_path / "smaller", text=smaller)).head)
    assert "Not as published: protocol val-f16-v1x1-r224-c224, published with val-f16-v1x1-r256-c224 " in head


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (
            "",
            "Clip logits of clip-level KL: after dropout, as in the official code; the logits of the other levels are",
        ),
        (", kd.through_dropout: false", "Clip logits of clip-level KL: taken before dropout, as those of the other "),
    ],
)
def test_a_table_says_whether_clip_logits_pass_dropout(tmp_path: Path, field: str, said: str) -> None:
    text = SWEEP.replace("kd.level: clip}", f"kd.level: clip{field}}}")
    assert said in " ".join(table_of(StoredSweep(tmp_path / "with", text=text)).head)
    without = text.replace("name: tsn_mini10", "name: tsn_mini10, dropout: 0")
    assert "Clip logits" not in " ".join(table_of(StoredSweep(tmp_path / "without", text=without)).head)


def test_another_task_is_not_held_against_the_papers_protocol(tmp_path: Path) -> None:
    head = " ".join(table_of(StoredSweep(tmp_path)).head)
    assert "s published:" not in head


def test_another_metric_of_the_same_data_set_is_not_comparable_and_the_right_one_has_the_figure_alone(
    tmp_path: Path,
) -> None:
    text = SWEEP.replace("name: demo", "name: activitynet")
    other = table_of(StoredSweep(tmp_path / "other", text=text))
    assert other.headings[3] == "mAP, published"
    both = table_of(StoredSweep(tmp_path / "both", text=text.replace("[test/top1,", "[test/top1, test/mAP,")))
    assert [column.published is not None for column in both.columns[:2]] == [False, True]
    assert both.columns[1].is_comparable


def test_attentions_products_are_a_column_of_their_own(tmp_path: Path) -> None:
    text = SWEEP.replace("[test/top1, GMACs,", "[test/top1, GMACs, GMACs_with_attention,")
    stored = StoredSweep(tmp_path, text=text)
    stored.finish(stored.id_of("baseline", 0), 0.5)
    check_tables(stored.sweep, load_published())
    cells = dict(zip(table_of(stored).headings, table_of(stored).cells("baseline"), strict=True))
    # .0625 with element-wise terms, of which .06 are layers; .125 operations are .0625 products: .0025 are attention.
    assert cells["GMACs a clip"].split()[0] == "0.0625"
    assert cells["GMACs with attention"].split()[0] == "0.0650"


def test_cells_link_to_the_runs_of_a_tracking_server(tmp_path: Path) -> None:
    stored = StoredSweep(tmp_path)
    for seed in (0, 1, 2):
        stored.finish(stored.id_of("baseline", seed), 0.5)
    plain = records_from_store(stored.store, stored.steps)
    server = {key: replace(record, url=f"http://mlflow:5000/#/run/{key}") for key, record in plain.items()}
    local = {key: replace(record, url=f"/#/run/{key}") for key, record in plain.items()}
    table, page = table_of(stored, server), table_html(table_of(stored, server))
    for seed in (0, 1, 2):
        url = f"http://mlflow:5000/#/run/{stored.id_of('baseline', seed)}"
        assert f'<a href="{url}" title="MLflow run of seed {seed}">{seed}</a>' in page
        assert f"[{seed}]({url})" in table_markdown(table)
    assert table_html(table_of(stored, local)) == table_html(table_of(stored, plain))  # no address to link to
    assert table_csv(table) == table_csv(table_of(stored, plain))

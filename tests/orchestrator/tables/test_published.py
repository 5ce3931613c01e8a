"""The paper's figures, against relations that hold between them and against costs counted here."""

from pathlib import Path

import pytest

from orchestrator.tables.published import PUBLISHED_FILE, load_published
from reskd.errors import BadInput
from reskd.protocol import parse_protocol

# GMACs of one ResNet-50 frame, convolutions and linear layers alone.
RESNET50_GMACS = {"224": 4.0875, "144": 1.7580, "112": 1.0763, "96": 0.7511, "72": 0.5149, "56": 0.2974}


def test_every_published_table_is_there_with_its_number_of_figures():
    tables = load_published().tables
    figures = {key: sum(len(values) for values in table.rows.values()) for key, table in tables.items()}
    # Table 1: 13 methods; two lack Mini-Kinetics, three lack FCVID.
    assert figures == {"table1": 2 * (13 + 11 + 10), "table2": 1, "table3": 12, "table4": 18, "table5": 4, "table6": 4}


def test_published_costs_are_sixteen_frames_of_resnet50_and_a_percent_of_elementwise_work():
    rows = load_published().table("table4").rows
    for resolution, gmacs in RESNET50_GMACS.items():
        assert rows[resolution]["GFLOPs"] == pytest.approx(16 * gmacs * 1.008, abs=0.05 + 0.003 * 16 * gmacs)


def test_one_experiment_has_one_figure_in_every_table_that_shows_it():
    published = load_published()
    level, teacher = published.table("table5").rows, published.table("table6").rows
    assert level["baseline"] == teacher["baseline"]
    assert level["pixel-level MSE"] == teacher["ResKD"]
    long_run = published.table("table4").rows["112"]
    assert published.table("table1").rows["ResKD"]["ActivityNet mAP"] == long_run["mAP"]
    assert published.table("table1").rows["ResKD"]["ActivityNet GFLOPs"] == long_run["GFLOPs"]


def test_pixels_beat_frames_beat_clips_beat_nothing():
    rows = load_published().table("table5").rows
    assert list(rows) == ["baseline", "clip-level KL", "frame-level KL", "pixel-level MSE"]
    assert [values["mAP"] for values in rows.values()] == sorted(values["mAP"] for values in rows.values())


def test_every_cost_of_our_networks_names_its_network():
    named = {
        (table.key, row, column) for table in load_published().tables.values()
        for row, networks in table.networks.items() for column in networks
    }  # fmt: skip
    costs = {
        (table.key, row, column.name)
        for table in load_published().tables.values()
        for row, values in table.rows.items()
        for column in table.columns
        if column.measured == "GMACs" and column.name in values and (table.key != "table1" or row == "ResKD")
    }
    assert named == costs
    assert len(costs) == 3 + 6 + 6


def test_what_is_known_of_an_accuracy_agrees_with_the_network_whose_cost_stands_beside_it():
    for table in load_published().tables.values():
        for row, networks in table.networks.items():
            for column, network in networks.items():
                known = table.conditions_of(row, column)
                protocol = parse_protocol(known.protocol)
                found = known.resolution, protocol.num_frames, protocol.num_forwards
                assert found == (network.resolution, network.frames, network.views), (table.key, row, column)


def test_conditions_name_rows_columns_and_protocols_that_there_are(tmp_path: Path):
    slips = {
        "rows: [ResKD-Swin-S], epochs: 60": ("rows: [ResKD-Swin], epochs: 60", "did you mean 'ResKD-Swin-S'?"),
        "columns: [mAP, GFLOPs]": ("columns: [map, GFLOPs]", "conditions[0]: columns: 'map' is not known"),
        "val-f32s2-v4x3": ("val-f32-v4", "'val-f32-v4-r224-c224' is not a protocol's name"),
        "val-f8s8-v10x3-r224-c224": ("val-f8s8-v10x3-r224", "'val-f8s8-v10x3-r224' names no short side or no crop"),
        "resample: opencv": ("resample: cubic", "resample: 'cubic' is not one of antialias, opencv"),
        "epochs: 150": ("epochs: many", "epochs: 'many' is not a positive whole number"),
    }
    for old, (new, message) in slips.items():
        text = PUBLISHED_FILE.read_text()
        assert old in text
        path = tmp_path / f"{len(old)}.yaml"
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(BadInput) as caught:
            load_published(path)
        assert message in str(caught.value)


def test_unknown_figures_are_absent():
    assert set(load_published().table("table1").rows["ListenToLook"]) == {"ActivityNet mAP", "ActivityNet GFLOPs"}


def test_a_measured_column_meets_its_own_data_set_first_and_an_accuracy_meets_an_accuracy():
    published = load_published()
    comparison = published.table("table1")
    assert comparison.column_beside("test/mAP", data_name="fcvid").name == "FCVID mAP"
    assert comparison.column_beside("test/top1", data_name="mini_kinetics").name == "Mini-Kinetics top-1"
    level = published.table("table5")
    assert level.column_beside("test/top1", data_name="demo").name == "mAP"
    assert level.column_beside("GMACs", data_name="activitynet") is None
    assert level.column_beside("test/agreement", data_name="activitynet") is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "pixel-level MSE: {mAP:",
            "pixel-level MSE: {map:",
            "row 'pixel-level MSE': 'map' is not known; choose one of mAP",
        ),
        ("source: Table 6", "sauce: Table 6", "table6: 'sauce' is not known; did you mean 'source'?"),
        ("{top-1: 60.6}", "{top-1: unknown}", "table2: row 'ResKD': top-1: 'unknown' is not a number"),
        ("data: fcvid", "data: fcvd", "did you mean 'fcvid'?"),
        ("backbones: {ResKD:", "backbones: {RestKD:", "backbones: 'RestKD' is not known; did you mean 'ResKD'?"),
    ],
)
def test_a_slip_in_the_file_is_named_with_its_place(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "published.yaml"
    text = PUBLISHED_FILE.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput) as caught:
        load_published(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_unknown_table_is_refused_with_the_known_ones():
    with pytest.raises(BadInput, match="'table7' is not a published table; choose one of table1"):
        load_published().table("table7")

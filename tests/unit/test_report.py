"""The rendered reports: right numbers, self-contained, escaped, honest about what is unknown."""

import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import openpyxl
import pytest

from pyadmm.cli.report import main
from pyadmm.core.errors import PyadmmError
from pyadmm.report import plots, write_report
from pyadmm.report.html import render_html
from pyadmm.report.record import (
    BytePart,
    Check,
    Dataset,
    Epoch,
    FileRecord,
    Kernel,
    LayerCycles,
    LayerRecord,
    Quantity,
    ResourceUse,
    RunRecord,
    SpeedupCurve,
    record_from_json,
    record_to_json,
)
from pyadmm.report.reference import comparison, literature, literature_ratios
from pyadmm.report.xlsx import render_xlsx
from tests.unit.report_fixture import lenet_record

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "reference"
EVIL = '=HYPERLINK("http://x")<script>alert(\'x\')</script>$\\frac{&"'
CHARTS = {"training", "residuals", "layers", "curves", "bytes", "hardware"}


class Page(HTMLParser):
    """Tags, ids, attributes and visible text of a page, and a check that its tags are balanced."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(key, value or "") for key, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    @property
    def ids(self) -> list[str]:
        return [value for key, value in self.attributes if key == "id"]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_html(lenet_record()))


def sheets(record: RunRecord) -> openpyxl.Workbook:
    return openpyxl.load_workbook(io.BytesIO(render_xlsx(record)))


@pytest.mark.parametrize(
    "words",
    [
        "lenet5 on pynq-z2",
        "99.07 %",
        "± 0.10 (one standard error), integer model, 10,000 test images",
        "dense float network: 99.21 %",
        "×85.4",
        "5,041 of 430,500 weights left",
        "3,712 B",
        "×465 smaller than 32-bit floats (1,724,320 B)",
        "34,130 /s",
        "2,930 cycles each at 100 MHz (target; clock estimate 112 MHz, post-synthesis)",
        "passed; 0 failed, 1 skipped",
        "no Verilator",
        "6 min 43 s",
        "C synthesis and implementation: Vitis HLS and Vivado.",
        "weights only (no indices)",
        "weights and indices",
    ],
)
def test_the_page_shows(page: Page, words: str) -> None:
    assert words in page.words


def test_the_page_is_self_contained(page: Page) -> None:
    html = render_html(lenet_record())
    assert len(html.encode()) < 600_000
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == 0
    for key, value in page.attributes:
        if key in ("src", "href") or "url(" in value:
            assert re.search(r"(^|url\()#", value), (key, value)
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_the_page_has_six_charts_with_unique_ids(page: Page) -> None:
    assert page.tags["svg"] == len(CHARTS)
    assert len(page.ids) == len(set(page.ids))
    used = [v for k, v in page.attributes if "url(#" in v or (k == "href" and v.startswith("#"))]
    targets = {re.sub(r".*#([^)]*)\)?.*", r"\1", value) for value in used}
    assert targets <= set(page.ids)
    assert {i.partition("-")[0] for i in page.ids} >= CHARTS


def test_charts_take_their_colours_from_the_page() -> None:
    html = render_html(lenet_record())
    chart = html[html.index("<svg") : html.rindex("</svg>")]
    assert re.findall(r"(?:fill|stroke): #\w+", chart) == []
    for variable in set(re.findall(r"var\((--\w+)\)", chart)):
        assert f"{variable}:" in html


def test_our_row_of_the_comparison_is_marked(page: Page) -> None:
    html = render_html(lenet_record())
    tables = html.split("<table>")
    marked = [table for table in tables if table.count('<tr class="ours">') == 1]
    assert len(marked) == 2
    assert html.count('<tr class="ours">') == 2
    literature = next(table for table in marked if "Deep Compression" in table)
    assert literature.index('<tr class="ours">') < literature.index("Deep Compression")


def test_every_layer_is_shown_against_its_break_even(page: Page) -> None:
    html = render_html(lenet_record())
    table = html[html.index('id="decisions"') : html.index('id="designs"')]
    for layer in lenet_record().layers:
        assert f"×{layer.over_break_even:.3g}<" in table or "below<" in table
        assert f"×{layer.active_ratio:.3g} of active" in table
        assert str(layer.why) in table
    assert "Trials of pruning further, by validation accuracy: ×1: 99.02%, ×2: 98.71%." in table


def test_speedups_are_drawn_by_family_and_layer(page: Page) -> None:
    record = lenet_record()
    svg = plots.curves_svg(record)
    assert svg is not None
    texts = re.findall(r"<text[^>]*>([^<]*)<", svg)
    assert [name for name in ("sparse", "balanced", "this run") if name in texts] == [
        "sparse", "balanced", "this run",
    ]  # fmt: skip
    assert "shared" not in texts  # No kernel of that family fits.
    assert all(layer.name in texts for layer in record.layers)
    assert "Speedup of pruned kernels" in page.words
    assert "on the same area, post-synthesis, for" in page.words
    bare = replace(record, layers=tuple(replace(la, curves=()) for la in record.layers))
    assert plots.curves_svg(bare) is None
    assert "Speedup of pruned kernels" not in Page(render_html(bare)).words
    with pytest.raises(PyadmmError, match="curve sparse has 1 portions, but 0 speedups"):
        SpeedupCurve("sparse", "modelled", (0.5,), ())


def test_dense_designs_are_shown_as_multiples_of_the_sparse_one(page: Page) -> None:
    html = render_html(lenet_record())
    table = html[html.index('id="designs"') : html.index('id="literature"')]
    assert table.count("×9<") == 2 + 3
    assert table.count("×3<") == 2 + 3


def test_many_layers_are_rows_of_the_comparison_with_dense_designs() -> None:
    names = [f"layer{i}" for i in range(30)]
    designs = tuple(
        replace(
            design,
            layers=tuple(LayerCycles(name, 10.0 * factor, "sparse") for name in names),
        )
        for design, factor in zip(lenet_record().designs, (1, 9, 3), strict=True)
    )
    html = render_html(replace(lenet_record(), designs=designs))
    table = html[html.index('id="designs"') : html.index('id="literature"')]
    assert re.findall('<th scope="col"[^>]*>([^<]*)<', table) == [
        "Design", *(design.name for design in designs)
    ]  # fmt: skip
    assert [name for name in names if f'<span class="word">{name}</span>' in table] == names
    assert table.count("×9<") == 2 + len(names)


def test_modelled_figures_are_tagged_as_modelled(page: Page) -> None:
    html = render_html(lenet_record())
    # Break-even of every layer, block RAM, and three figures of every compared design.
    modelled = len(lenet_record().layers) + 1 + 3 * len(lenet_record().designs)
    assert html.count('class="tag modelled">modelled<') == modelled
    assert "break-even, modelled" in page.words


def test_unknown_everywhere_is_said_and_nothing_breaks() -> None:
    record = RunRecord(
        layers=(LayerRecord("conv1", "conv", 500, kernel=Kernel("sparse")),),
        history=(Epoch("dense", "train", 0),),
        file=FileRecord("a.admm", 7),
    )
    page = Page(render_html(record))
    assert page.words.count("unknown") > 30
    # Without records of break-evens there is no chart of their curves.
    assert page.words.count("Nothing to draw: unknown.") == len(CHARTS) - 1
    for empty in (RunRecord(), record):
        words = Page(render_html(empty)).words
        assert "None" not in words
        assert "nan" not in words.split()
    book = sheets(RunRecord())
    assert book["Summary"]["B4"].value == "unknown"
    assert [len(sheet._charts) for sheet in book] == [0] * 9


def test_a_run_that_trained_nothing_shows_no_empty_charts_and_columns() -> None:
    """As of an .admm file on the array: the array has passes, its layers no kernels of their own."""
    record = replace(
        lenet_record(),
        history=(),
        layers=tuple(
            replace(layer, planned=None, break_even=None, decision=None, kernel=None)
            for layer in lenet_record().layers
        ),
        designs=(),
        run=replace(lenet_record().run, model="net.admm"),
    )
    words = Page(render_html(record)).words
    assert "Nothing to draw" not in words
    assert "ADMM residuals" not in words
    assert "Every epoch" not in words
    assert "This run measured no break-even" in words
    assert "There is no published figure for this model." in words
    assert "'dense, compact'" not in words
    table = render_html(record).partition('<section id="layers">')[2].partition("</table>")[0]
    assert "Kernel" not in table
    assert "unknown" not in table


def test_a_resource_that_the_chip_lacks_has_no_share() -> None:
    absent = ResourceUse("URAM", Quantity(0, "modelled"), 0)
    wanted = ResourceUse("DSP", Quantity(3, "modelled"), 0)
    hardware = replace(lenet_record().hardware, resources=(absent, wanted))
    record = replace(lenet_record(), hardware=hardware)
    rows = render_html(record).partition("<td")[2]
    uram, dsp = (
        rows.partition(f">{name}</span>")[2].partition("</tr>")[0] for name in ("URAM", "DSP")
    )
    assert ">none<" in uram
    assert ">none<" not in dsp
    assert sheets(record)["Hardware"]["D2"].value == "none"


def test_alerts_name_what_makes_figures_bad() -> None:
    record = replace(
        lenet_record(),
        dataset=Dataset("MNIST subset", complete=False),
        checks=(Check("csim", "C++ and Python", "fail", 10, "3 logits differ"),),
        hardware=replace(
            lenet_record().hardware,
            resources=(ResourceUse("LUT", Quantity(60_000, "modelled"), 53_200),),
        ),
        notes=("A notice.",),
    )
    words = Page(render_html(record)).words
    assert "Check failed: csim (C++ and Python). 3 logits differ" in words
    assert "figures are not comparable" in words
    assert "does not fit the board: LUT" in words
    assert "A notice." in words
    assert "not comparable" not in Page(render_html(lenet_record())).words


def hostile_record() -> RunRecord:
    """Every free text is markup, a formula and mathtext at once."""
    tree = json.loads(record_to_json(lenet_record()))

    def poison(node: object, key: str = "") -> object:
        if isinstance(node, dict):
            return {k: poison(v, k) for k, v in node.items()}
        if isinstance(node, list):
            return [poison(v, key) for v in node]
        fixed = key in ("basis", "result", "date") or not isinstance(node, str)
        return node if fixed else EVIL

    return record_from_json(json.dumps(poison(tree)))


def test_hostile_names_stay_text_on_the_page() -> None:
    html = render_html(hostile_record())
    page = Page(html)
    assert page.tags["script"] == 0
    assert "alert('x')" in page.words
    assert page.tags["svg"] == len(CHARTS)


def test_hostile_names_stay_text_in_the_workbook() -> None:
    book = sheets(hostile_record())
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    texts = [cell for cell in cells if cell.value == EVIL]
    assert len(texts) > 50
    assert {cell.data_type for cell in cells} <= {"s", "n"}
    assert all(cell.hyperlink is None for cell in cells)


def test_extreme_numbers_are_drawn() -> None:
    layers = tuple(LayerRecord(f"layer{i}", "conv", 2**53, 1) for i in range(300))
    history = tuple(
        Epoch("s", f"p{i}", i, 1e15, i % 2, 2**53, 1e15, 1e-300, 0.0) for i in range(600)
    )
    parts = tuple(BytePart(f"s{i}", 2**40) for i in range(300))
    resources = tuple(ResourceUse(f"r{i}", Quantity(1e15, "csynth"), 1) for i in range(100))
    record = RunRecord(
        layers=layers,
        history=history,
        file=FileRecord("f", 2**53, 2**53, parts),
        hardware=replace(lenet_record().hardware, resources=resources),
    )
    html = render_html(record)
    assert Page(html).tags["svg"] == len(CHARTS) - 1  # No curves of break-evens.
    assert "report.xlsx holds them all" in html
    assert sheets(record)["History"].max_row == 601


def test_the_workbook_holds_the_numbers() -> None:
    record = lenet_record()
    book = sheets(record)
    assert book.sheetnames == [
        "Summary",
        "Layers",
        "Break-even",
        "Sparse and dense",
        "History",
        "Bytes",
        "Hardware",
        "Literature",
        "Checks",
    ]
    summary = {row[0].value: row[1].value for row in book["Summary"].iter_rows()}
    assert summary["Accuracy, compressed integers, test"] == pytest.approx(0.9907)
    assert summary["Pruning ratio"] == pytest.approx(430_500 / 5_041)
    assert summary["File, bytes"] == 3_712
    assert summary["Images per second"] == pytest.approx(1e8 / 2_930)
    layers = list(book["Layers"].iter_rows(min_row=2, max_row=5, values_only=True))
    assert [row[:4] for row in layers] == [
        (layer.name, layer.kind, layer.weights, layer.nnz) for layer in record.layers
    ]
    decided = list(book["Break-even"].iter_rows(min_row=2, max_row=5, values_only=True))
    over = [layer.over_break_even for layer in record.layers]
    assert [row[5] for row in decided] == pytest.approx(over)
    assert [row[-1] for row in decided] == [layer.why for layer in record.layers]
    tried = book["Break-even"].iter_rows(min_row=8, max_row=9, values_only=True)
    assert [row[1:3] for row in tried] == [
        (trial.factor, trial.accuracy) for trial in record.trials
    ]
    compared = list(book["Sparse and dense"].iter_rows(min_row=2, values_only=True))
    assert [row[4] for row in compared if row[1] == "conv2"] == [1, 9, 3]
    history = list(book["History"].iter_rows(min_row=2, values_only=True))
    assert [row[5] for row in history] == [e.val_accuracy for e in record.history]
    primal = [row[8] for row in history]
    assert primal == [e.primal and pytest.approx(e.primal) for e in record.history]
    sections = dict(book["Bytes"].iter_rows(min_row=2, max_col=2, values_only=True))
    assert sections["positions"] == 1_980
    assert sections["all"] == 3_712
    assert book["Checks"]["B5"].value == "skipped"
    assert book["Literature"].max_row == 1 + len(comparison(record))


def test_the_workbook_has_native_charts_and_frozen_headings() -> None:
    book = sheets(lenet_record())
    charts = {sheet.title: len(sheet._charts) for sheet in book}
    assert charts == {
        "Summary": 0,
        "Layers": 2,
        "Break-even": 0,
        "Sparse and dense": 0,
        "History": 2,
        "Bytes": 1,
        "Hardware": 1,
        "Literature": 0,
        "Checks": 0,
    }
    residuals = book["History"]._charts[1]
    assert residuals.y_axis.scaling.logBase == 10
    frozen = {sheet.title: sheet.freeze_panes for sheet in book}
    assert frozen.pop("Summary") == "A2"
    assert set(frozen.values()) == {"B2"}


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(lenet_record(), tmp_path / "a")
    second = write_report(lenet_record(), tmp_path / "b")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "record.json",
        "report.html",
        "report.xlsx",
    ]


def test_the_command_renders_a_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_report(lenet_record(), tmp_path)
    before = [path.read_bytes() for path in paths]
    paths.html.unlink()
    paths.xlsx.unlink()
    assert main([str(tmp_path)]) == 0
    assert [path.read_bytes() for path in paths] == before
    assert str(paths.html) in capsys.readouterr().out


def test_the_command_reports_a_bad_record_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "record.json").write_text('{"layers": [')
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: record.json: not JSON: ")
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_bad_record_writes_nothing(tmp_path: Path) -> None:
    bad = RunRecord(steps=(None,))  # type: ignore[arg-type]
    with pytest.raises(PyadmmError, match=r"field steps\[0\]"):
        write_report(bad, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference folder beside the checkout")
def test_the_packaged_comparison_agrees_with_the_reference_folder() -> None:
    facts = json.loads((REFERENCE / "admm_nn.json").read_text())
    ours = literature("lenet5")
    joint = facts["lenet5"]["joint"]
    assert {r.bytes for r in ours if r.method == "ADMM-NN joint"} == {
        joint["data_bytes"],
        joint["with_index_bytes"],
    }
    assert {r.size_ratio for r in ours if r.method == "ADMM-NN joint"} == {
        joint["data_ratio"],
        joint["with_index_ratio"],
    }
    ratios = literature_ratios("lenet5")
    for name, (weights, nnz, _) in facts["lenet5"]["joint_per_layer"].items():
        assert ratios[name] == pytest.approx(weights / nnz)
    for name, kept in facts["alexnet"]["kept_percent"].items():
        assert literature_ratios("alexnet")[name] == pytest.approx(100 / kept)
    for model, index_ratios in (
        ("alexnet", {facts["alexnet"]["joint"]["with_index_ratio"]}),
        ("vgg16", {facts["vgg16"]["joint"]["with_index_ratio"]}),
        ("resnet50", {row["with_index_ratio"] for row in facts["resnet50"]["joint"]}),
    ):
        rows = [row for row in literature(model) if row.counts == "weights and indices"]
        assert {row.size_ratio for row in rows} == index_ratios


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference folder beside the checkout")
def test_every_row_of_the_reference_table_is_packaged() -> None:
    rows = literature("lenet5")
    lines = (REFERENCE / "lenet5_mnist.csv").read_text().splitlines()[1:]
    packaged = {(r.pruning_ratio, r.bytes, r.size_ratio, r.accuracy_percent) for r in rows}
    for line in lines:
        _, error, ratio, size, total_ratio = line.split(",")[:5]
        expected = (
            float(ratio) if ratio else None,
            int(size) if size else None,
            float(total_ratio) if total_ratio else None,
            round(100 - float(error), 2) if error else None,
        )
        assert expected in packaged, line


def test_page_says_whether_admm_converged() -> None:
    record = lenet_record()
    said = "Converged: 1 of 2 runs of ADMM; the last one: not converged: primal 0.0983"
    assert said in " ".join(Page(render_html(record)).text)
    assert "Converged:" not in " ".join(Page(render_html(replace(record, admm=()))).text)

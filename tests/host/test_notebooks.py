"""The notebooks that ship run headless on the simulated board, unmodified, with checked outputs."""

from __future__ import annotations

import json

import pytest

from pyadmm.deploy.simulated_board.stage import Stage, last_lines

pytestmark = pytest.mark.slow

NOTEBOOKS = [
    *("1_quick_start", "2_live_demo", "3_other_weights", "4_break_even"),
    "5_switch_networks",
]
DRAW = """
import base64, datetime, io, json

ink = np.zeros((196, 196), np.uint8)
ink[40:150, 90:110] = 255
pixels = base64.b64encode(ink.tobytes()).decode()
canvas.field.value = json.dumps({"w": 196, "h": 196, "ink": pixels})
stroke, answer.value = answer.value, ""
total = board.probabilities(normalise(ink, (height, width))).sum()
print(f"Shares: {stroke.count('%</td>')}, sum {total:.6f}")


def upload_file(content):
    now = datetime.datetime.now()
    entry = {"name": "x.npy", "type": "", "size": len(content), "last_modified": now}
    upload.value = ({**entry, "content": content},)


blob = io.BytesIO()
np.save(blob, 255 - ink)
upload_file(blob.getvalue())
print("Uploaded the same:", answer.value == stroke)
upload_file(b"no picture")
print("Refused:", answer.value)
"""


def run(stage: Stage, name: str, *code: str) -> list[str]:
    notebook = stage.site / "host" / "notebooks" / f"{name}.ipynb"
    done = stage.run("notebooks", str(notebook), *code)
    assert done.returncode == 0, last_lines(done)
    outputs: list[str] = json.loads(done.stdout.splitlines()[-1])
    return outputs


def test_quick_start(stage: Stage) -> None:
    outputs = run(stage, "1_quick_start")
    assert "SIMULATED" in outputs[0]
    assert "12 images, equal to the golden model: True" in outputs[1]
    assert "classified right: 12 of 12" in outputs[1]
    assert "image/png" in outputs[2]
    assert "processor equal to the golden model: True" in outputs[3]
    assert "100 MHz, simulated (simulated pynq-z2)" in outputs[4]
    assert "power: not measured" in outputs[4]
    assert "image/png" in outputs[5]


def test_live_demo_classifies_a_stroke_and_an_uploaded_picture(stage: Stage) -> None:
    outputs = run(stage, "2_live_demo", DRAW)
    assert "OpenCV" in outputs[4]
    assert "Shares: 5, sum 1.000000" in outputs[-1]
    assert "Uploaded the same: True" in outputs[-1]
    assert "Refused: picture: " in outputs[-1]


def test_other_weights_load_without_a_new_bitstream(stage: Stage) -> None:
    outputs = run(stage, "3_other_weights")
    assert "first, second" in outputs[0]
    for name in ("first", "second"):
        line = f"pass {name}: 12 golden images, 0 differ on the board, 0 on the CPU; 12 classified"
        assert line in outputs[1]
    assert "first and second agree on" in outputs[2]


def test_break_even_explorer_shows_the_measured_curves(stage: Stage) -> None:
    outputs = run(stage, "4_break_even", "explore('conv1 on pynq-z2', 0.4)")
    assert "conv1 on pynq-z2: break-even 1.40x (post-synthesis, yosys 0.70)" in outputs[0]
    assert "40 % pruned (1.67x): speedup 1.40, sparse is faster" in outputs[-1]
    assert "image/png" in outputs[-1]


def test_models_of_a_dataflow_design_take_turns_too(stage: Stage) -> None:
    outputs = run(stage, "5_switch_networks")
    assert "20 switches, 0 wrong results" in outputs[2]
    assert "cycles by layer: the layers of a dataflow design work at the same time" in outputs[3]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_ship_without_stale_outputs(stage: Stage, name: str) -> None:
    notebook = json.loads((stage.site / "host" / "notebooks" / f"{name}.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)

"""Code generation is pure, complete and digested; templates are strict."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import jinja2
import numpy as np
import pytest

from pyadmm.codegen.hls import (
    IMAGES_FILE,
    LOGITS_FILE,
    TEMPLATES,
    WEIGHTS_FILE,
    build_ident,
    generate,
    identifiers,
    render,
    top_context,
    vendor_context,
)
from pyadmm.core.assets import asset_dir
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import BuildPlan
from pyadmm.hardware.weight_image import weight_image
from tests.unit.models import planned, random_images, random_lenet5

BOARD = load_board("pynq-z2")
MODEL = random_lenet5()
PLAN = planned(MODEL)


@pytest.fixture(scope="module")
def build() -> BuildPlan:
    return generate(MODEL, PLAN)


def test_build_holds_every_header_that_its_sources_include(build: BuildPlan) -> None:
    names = {Path(name).name for name in build.files}
    for name, content in build.files.items():
        assert isinstance(content, str)
        for included in re.findall(r'#include "([^"]+)"', content):
            assert included in names, f"{name} includes {included}"


def test_vendor_include_path_holds_none_of_our_stand_ins(build: BuildPlan) -> None:
    folders = vendor_context(PLAN)["include_dirs"]
    for name in build.files:
        if name.split("/")[0] in folders:
            assert Path(name).name not in {"hls_stream.h", "ap_axi_sdata.h", "ap_int.h"}


def test_vendor_context_names_files_of_the_build(build: BuildPlan) -> None:
    context = vendor_context(PLAN)
    everything = {**build.files, **build.data}
    for key in ("sources", "testbenches", "testbench_data"):
        assert all(name in everything for name in context[key]), key
    assert f"void {context['top']}(" in str(build.files["src/top.hpp"])


def test_same_input_gives_the_same_files(build: BuildPlan) -> None:
    again = generate(MODEL, PLAN)
    assert again.files == build.files
    assert again.data == build.data
    assert again.digest == build.digest


def test_digest_covers_the_hardware_and_not_the_weights(build: BuildPlan) -> None:
    other = random_lenet5(seed=1)
    roomy = {
        stage.name: replace(stage.config, entry_capacity=2000, slot_capacity=500)
        for stage in PLAN.stages
    }
    plan = plan_accelerator(MODEL, BOARD, roomy, spare_acc_bits=3)
    first, second = generate(MODEL, plan), generate(other, plan)
    assert first.data[WEIGHTS_FILE] != second.data[WEIGHTS_FILE]
    assert first.digest == second.digest != build.digest
    assert build_ident(first) == build_ident(second) != build_ident(build)


def test_data_are_the_weight_image_and_golden_logits() -> None:
    images = random_images(np.random.default_rng(0), 3, MODEL.input.shape)
    data = generate(MODEL, PLAN, images).data
    weights = weight_image(MODEL, PLAN)
    assert data[WEIGHTS_FILE] == weights.astype("<u4").tobytes()
    assert [int(line, 16) for line in str(data["data/weights.hex"]).split()] == weights.tolist()
    assert data[IMAGES_FILE] == images.tobytes()
    logits = np.frombuffer(bytes(data[LOGITS_FILE]), "<i4")  # type: ignore[arg-type]
    np.testing.assert_array_equal(logits.reshape(3, -1), MODEL.run(images))


def test_write_gives_exactly_the_files(build: BuildPlan, tmp_path: Path) -> None:
    build.write(tmp_path)
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {*build.files, *build.data}
    assert (tmp_path / "src/top.cpp").read_text(encoding="utf-8") == build.files["src/top.cpp"]


def test_templates_are_strict_and_hold_no_arithmetic() -> None:
    context = top_context(PLAN)
    for template in TEMPLATES:
        for key in ("generated_by", "top", "stages"):
            text = (asset_dir("templates") / template).read_text(encoding="utf-8")
            if re.search(rf"\b{key}\b", text):
                with pytest.raises(jinja2.UndefinedError):
                    render(template, {k: v for k, v in context.items() if k != key})
        for expression in re.findall(r"\{\{(.*?)\}\}", text):
            assert not re.search(r"[*/+%]|\w - ", expression), expression


def test_identifiers_are_valid_and_different() -> None:
    names = ["conv1", "features.0", "features_0", "features-0", "ß", "?"]
    result = identifiers(names)
    assert list(result) == names
    assert len(set(result.values())) == len(names)
    assert all(re.fullmatch(r"\w+", value, re.ASCII) for value in result.values())


def test_hostile_layer_names_stay_inside_a_comment() -> None:
    hostile = "x\\\n#error y"
    stage = replace(PLAN.stages[0], spec=replace(PLAN.stages[0].spec, name=hostile))
    context = top_context(replace(PLAN, stages=(stage, *PLAN.stages[1:])))
    text = render("config.hpp.j2", context)
    assert not any(line.startswith("#error") for line in text.splitlines())
    assert not any(line.endswith("\\") for line in text.splitlines())

"""What a definition comes to: which runs, in which order, under which names, with which command lines."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optimizers
import schedulers
from ablation.axes import split
from ablation.definition import Definition, seeds
from ablation.grid import Cell, expand, points
from ablation.study import plan
from ablation.tables import results
from tests.trainer import ROOT
from training import options
from utils.errors import UserError


def definition(lists: dict[str, list[Any]] | None = None, **common: Any) -> Definition:
    made = Definition()
    made.override(lists or {}, common)
    made.complete()
    return made


def names(cells: list[Cell]) -> list[str]:
    return [cell.name for cell in cells]


def test_the_product_in_the_order_given() -> None:
    cells = expand(definition({"optim": ["sgd", "adamw"], "lr_policy": ["sgdr", "linear"], "seed": [0, 1]}))
    expected = itertools.product(["sgdr", "linear"], ["sgd", "adamw"], [0, 1])
    assert [tuple(cell.settings.values()) for cell in cells] == list(expected)
    assert names(cells)[:3] == ["sgdr-sgd-s0", "sgdr-sgd-s1", "sgdr-adamw-s0"]
    assert all(list(cell.settings) == ["lr_policy", "optim", "seed"] for cell in cells)


def test_other_axes_follow_and_are_named() -> None:
    cells = expand(definition({"lr0": ["1e-2", 0.003], "imgsz": ["64"]}, epochs=2))
    assert names(cells) == ["linear-sgd-s0-lr0=0.01", "linear-sgd-s0-lr0=0.003"]
    assert [cell.asked.hyp.lr0 for cell in cells] == [0.01, 0.003]
    assert all(cell.asked.run.imgsz == 64 and cell.asked.run.epochs == 2 for cell in cells)


@settings(max_examples=25, deadline=None)
@given(
    policies=st.lists(st.sampled_from(schedulers.names()), min_size=1, max_size=3, unique=True),
    rules=st.lists(st.sampled_from(optimizers.names()), min_size=1, max_size=3, unique=True),
    excluded=st.lists(
        st.fixed_dictionaries(
            {}, optional={"lr_policy": st.sampled_from(["sgdr", "clr"]), "optim": st.sampled_from(["sgd", "adam"])}
        ).filter(bool),
        max_size=2,
    ),
)
def test_what_is_excluded_is_left_out_and_nothing_else(policies, rules, excluded) -> None:
    made = definition({"lr_policy": policies, "optim": rules, "seed": [0, 1]})
    made.exclude = [{name: [value] for name, value in rule.items()} for rule in excluded]

    def fits(rule: dict[str, Any], point: dict[str, Any]) -> bool:
        return all(point[name] == value for name, value in rule.items())

    def is_out(point: dict[str, Any]) -> bool:
        return any(fits(rule, point) for rule in excluded)

    whole = [{"lr_policy": p, "optim": o, "seed": s} for p, o, s in itertools.product(policies, rules, (0, 1))]
    if not all(any(fits(rule, point) for point in whole) for rule in excluded):
        with pytest.raises(UserError, match="matches no run of this study; remove it"):
            list(points(made))
        return
    found = [tuple(point.values()) for point in points(made)]
    assert found == [tuple(point.values()) for point in whole if not is_out(point)]


def test_an_exclusion_of_an_unknown_variant_names_the_nearest() -> None:
    made = definition()
    made.variants, made.exclude = {"twice": {"mosaic": 0.0}}, [{"variant": ["twise"]}]
    with pytest.raises(UserError, match=r"exclude {variant: twise} matches no run .* did you mean 'twice'\?"):
        expand(made)


def test_a_variant_replaces_the_axes_it_sets_and_is_crossed_with_the_others() -> None:
    made = definition({"lr_policy": ["linear", "cosine"], "optim": ["sgd", "adam"]})
    made.variants = {"twice": {"lr_policy": "sgdr", "lr_arg": ["t_mult=2"]}, "flat": {"mosaic": 0.0}}
    cells = expand(made)
    assert len(cells) == 4 + 2 + 4
    assert names(cells)[4:7] == ["sgdr-sgd-s0-twice", "sgdr-adam-s0-twice", "linear-sgd-s0-flat"]
    assert [cell.settings["variant"] for cell in cells[3:5]] == ["-", "twice"]
    assert cells[4].asked.run.lr_arg == ["t_mult=2"]
    assert cells[6].asked.hyp.mosaic == 0


def test_common_options_go_to_the_runs_that_have_a_use_for_them() -> None:
    made = definition(
        {"lr_policy": ["linear", "sgdr", "onecycle"], "optim": ["sgd", "adamw"]},
        warmup_epochs=1.0,
        lr_arg=["t_mult=2"],
        optim_arg=["beta2=0.99"],
    )
    asked = {(c.asked.run.lr_policy, c.asked.run.optim): c.asked for c in expand(made)}
    for (policy, rule), found in asked.items():
        assert ("warmup_epochs" in found.given) is (policy != "onecycle")
        assert found.run.lr_arg == (["t_mult=2"] if policy == "sgdr" else [])
        assert found.run.optim_arg == (["beta2=0.99"] if rule == "adamw" else [])


def test_a_list_of_devices_is_for_the_workers() -> None:
    several, one = (expand(definition({"seed": [0, 1]}, device=device)) for device in ("0,2", "cpu"))
    assert names(several) == ["linear-sgd-s0", "linear-sgd-s1"]
    assert not any("--device" in cell.argv for cell in several)
    assert all("--device" in cell.argv for cell in one)


@pytest.mark.parametrize(
    ("lists", "common", "says"),
    [
        ({"lr_policy": ["clr", "onecycle"]}, {"lrf": 0.1}, "--lrf would do nothing"),
        ({"lr_policy": ["linear", "clr"]}, {"lr_arg": ["t_mult=2"]}, "--lr-arg t_mult=2 would do nothing"),
        ({"lr_policy": ["linear", "sgrd"]}, {}, "did you mean 'sgdr'"),
        ({"lr0": ["0.1", "0.1"]}, {}, "lr0 has the value 0.1 twice"),
        ({"lr0": ["0.1", "-1"]}, {}, "run linear-sgd-s0-lr0=-1: lr0 is -1"),
        ({"epochs": ["1", "x"]}, {}, "--epochs: invalid int value: 'x'"),
        ({"data": ["a.yaml", "b.yaml"]}, {}, "data cannot vary"),
        ({"optim": ["sgd", "sgdw"]}, {"wd_norm": 0.1}, "run linear-sgd-s0: --wd-norm"),
    ],
)
def test_mistakes_are_one_line(lists, common, says) -> None:
    with pytest.raises(UserError) as caught:
        expand(definition(lists, **common))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_keep_their_names_when_an_axis_is_added() -> None:
    before = expand(definition({"seed": [0, 1]}, lr0=0.01))
    after = expand(definition({"seed": [0, 1], "lr0": [0.003, 0.01]}), {c.name: c.identity for c in before})
    kept = {cell.name: cell.asked.hyp.lr0 for cell in after}
    assert kept == {
        "linear-sgd-s0-lr0=0.003": 0.003,
        "linear-sgd-s0": 0.01,
        "linear-sgd-s1-lr0=0.003": 0.003,
        "linear-sgd-s1": 0.01,
    }


def test_names_that_collide_are_numbered_and_tables_tell_them_apart(tmp_path: Path) -> None:
    nets = [str(tmp_path / folder / "net.yaml") for folder in ("m1", "m2")]
    for net in nets:
        Path(net).parent.mkdir()
        shutil.copy(ROOT / "models" / "yolov5n.yaml", net)
    made = definition({"cfg": nets, "lr0": [0.0100000001, 0.0100000002]})
    made.variants = {"a b": {"mosaic": 0.0}, "a_b": {"mosaic": 0.5}}
    study = plan(made, tmp_path / "study", "")
    assert len({cell.name for cell in study.cells}) == len(study.cells) == 12
    first = "linear-sgd-s0-cfg=net-lr0=0.0100000001"
    assert names(study.cells)[:4:2] == [first, f"{first}-2"]
    rows = [tuple(row[name] for name in ("cfg", "lr0", "variant")) for row in map(dict, results(study))]
    assert len(set(rows)) == 12
    again = expand(made, {cell.name: cell.identity for cell in study.cells})
    assert names(again) == names(study.cells)


@pytest.mark.parametrize(("given", "shown"), [({}, "yolov5s"), ({"cfg": "yolov5n"}, "yolov5n")])
def test_the_column_cfg_does_not_name_a_network_that_was_not_trained(given: dict, shown: str, tmp_path: Path) -> None:
    def cfg(**common: Any) -> Any:
        return results(plan(definition(**common, **given), tmp_path / f"s{len(common)}", ""))[0]["cfg"]

    assert cfg() == shown
    assert cfg(weights=str(tmp_path / "a.pt")) == given.get("cfg", "")


def test_variants_that_are_the_same_run_are_refused_whatever_they_are_called() -> None:
    made = definition()
    made.variants = {"a b": {"mosaic": 0.0}, "a_b": {"mosaic": 0.0}}
    with pytest.raises(UserError, match="are the same; remove one of them"):
        expand(made)


def test_comma_lists_are_split_from_the_rest() -> None:
    line = "--scheduler linear,sgdr --optim=sgd,adam --data a,b.yaml --lr_arg gamma=1,2 --imgsz 64 --noplots --lr0 1,2"
    lists, left = split(line.split())
    assert lists == {"lr_policy": ["linear", "sgdr"], "optim": ["sgd", "adam"], "lr0": ["1", "2"]}
    assert left == ["--data", "a,b.yaml", "--lr_arg", "gamma=1,2", "--imgsz", "64", "--noplots"]


def test_how_seeds_are_written() -> None:
    assert [seeds(text, "") for text in ("3", "0,4,7", "5,", [1, 2])] == [[0, 1, 2], [0, 4, 7], [5], [1, 2]]
    for wrong in ("0", "x", "1,1", "", "1.5", -1):
        with pytest.raises(UserError):
            seeds(wrong, "")


def test_a_cells_command_line_gives_its_options_again() -> None:
    for cell in expand(definition({"lr_policy": schedulers.names(), "rect": [False, True]}, freeze=[1, 2], mosaic=0.0)):
        again, _ = options.parse(list(cell.argv), "train.py", "")
        assert (again.run, again.hyp) == (cell.asked.run, cell.asked.hyp)

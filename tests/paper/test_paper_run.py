"""Smoke runs: no download, run folders as the report reads them, both numbers in print."""

import json
import shutil

import pytest

from nrpurify import attacks
from nrpurify.attacks.trained import shipped
from nrpurify.cli import main
from nrpurify.core.errors import InputError
from nrpurify.core.images import read_image
from nrpurify.core.spec import parse_one
from nrpurify.evaluation.diagnostics import find_warnings
from nrpurify.paper import SMOKE_WARNING, Bench, figure5, planned, run_all, run_experiment
from nrpurify.paper import run as run_module
from nrpurify.paper.catalogue import get
from nrpurify.paper.grids import Cast
from nrpurify.paper.planned import read_plan
from nrpurify.paper.trained import spec, train_one
from nrpurify.report import write_report
from nrpurify.report.paper_comparison import compare_with_paper
from nrpurify.report.run import read_run
from nrpurify.training import load_recipe


def smoke(name, tmp_path, **changes):
    return run_experiment(name, Bench("smoke", tmp_path / name, **changes))


def test_a_grid_puts_its_cells_beside_the_papers_numbers(tmp_path):
    result = smoke("appendix-table3", tmp_path)
    run = json.loads((tmp_path / "appendix-table3" / "run.json").read_text())
    assert run == result.run.to_dict()
    assert run["warnings"][0]["text"] == SMOKE_WARNING
    cells = {cell["id"]: cell for cell in run["cells"]}
    entry = next(e for e in run["paper"] if (e["row"], e["column"]) == ("FSA", "Adv-v3"))
    assert entry["value"] == 72.2
    (name,) = entry["cells"]
    assert cells[name]["attack"] == "fsa"
    assert cells[name]["victim"] == "tiny:Adv-v3"
    row = next(r for r in result.rows if (r.row, r.column) == ("FSA", "Adv-v3"))
    assert row.paper == "72.2"
    assert row.here.startswith(f"{100 * cells[name]['value']:.1f} [")


def test_the_report_finds_both_numbers(tmp_path):
    smoke("appendix-table5", tmp_path)
    tables = compare_with_paper(read_run(tmp_path / "appendix-table5"))
    pair = tables[0].rows["no attack"]["Inc-v3 T-1"]
    assert pair.paper == pytest.approx(0.953)
    assert pair.here is not None


def test_top5_is_asked_of_the_same_images_and_never_below_top1(tmp_path):
    result = smoke("appendix-table5", tmp_path)
    values = {(r.row, r.column): float(r.here.split()[0]) for r in result.rows if r.here != "—"}
    assert values
    for (row, column), value in values.items():
        if column.endswith("T-1"):
            assert values[row, column.replace("T-1", "T-5")] >= value


def test_curves_are_plotted_and_told(tmp_path):
    pytest.importorskip("matplotlib")
    result = smoke("figure3", tmp_path)
    assert result.files == ["fooling.svg", "distortion.svg"]
    for file in result.files:
        assert "<svg" in (tmp_path / "figure3" / file).read_text()
    assert "MI-FGSM" in result.findings[0].here
    assert result.run["settings"]["paper"]["findings"][0]["here"] == result.findings[0].here


def test_feature_spaces_are_ranked(tmp_path):
    pytest.importorskip("matplotlib")
    result = smoke("figure4", tmp_path)
    assert "vgg16 conv3_3" in result.findings[0].here
    assert {cell["attack"] for cell in result.run["cells"]} == {"clean", "ssp"}


def test_pictures_become_strips(tmp_path):
    result = smoke("appendix-figure7", tmp_path)
    assert len(result.run["strips"]) == 2
    folder = tmp_path / "appendix-figure7" / "strips"
    clean, attacked, purified = (
        read_image(folder / panel["file"]).rgb for panel in result.run["strips"][0]["panels"]
    )
    assert 0 < float((attacked - clean).abs().max()) <= 16.5 / 255
    assert purified.shape == clean.shape
    titles = [panel["title"] for panel in result.run["strips"][0]["panels"]]
    assert titles[0] == "Clean"
    assert titles[1].startswith("Attacked: SSP in ")
    assert titles[1].endswith(", ε 16/255")
    assert titles[2] == "Purified by fast"


def test_targeted_pgd_is_judged_by_three_attackers(tmp_path):
    result = smoke("appendix-table1", tmp_path)
    threats = {c["threat"]: c["draws"] for c in result.run["cells"] if c["defense"] != "none"}
    assert threats == {
        "none": 1, "BPDA": 1, "full gradient": 1, "EOT": 2, "surrogate purifier": 1,
    }  # fmt: skip
    columns = {row.column for row in result.rows if row.row == "NRP" and row.here != "—"}
    assert columns == {
        "Clean",
        "Adversarial ε 16/255",
        *(f"Adversarial ε 16/255, {way}" for way in ("full gradient", "EOT", "authors' recipe")),
    }
    starts = {c["threat"]: c["settings"].get("start") for c in result.run["cells"]}
    assert {threat for threat, start in starts.items() if start == "clean"} == {
        "surrogate purifier"
    }
    ids = {cell["id"] for cell in result.run["cells"]}
    assert len(ids) == len(result.run["cells"]) == 10
    warned = [warning["text"] for warning in find_warnings(result.run["cells"])]
    assert any("random and was judged on one draw" in text for text in warned)
    assert any("attacked through one draw a step; use EOT" in text for text in warned)


def test_the_cost_of_training_comes_from_the_card(tmp_path):
    result = smoke("appendix-table2", tmp_path)
    runs = result.run["settings"]["card"]
    runs = [*runs.get("before", []), runs]
    said = f"{sum(run['steps_done'] for run in runs)} steps in {len(runs)} runs"
    assert said in result.findings[0].here
    assert "unlabeled photos" in result.findings[0].here
    assert result.run.cells == ()
    page = write_report(tmp_path / "appendix-table2").read_text(encoding="utf-8")
    assert "Appendix table 2" in page
    hours = sum(run["seconds"] for run in runs) / 3600
    assert f"NRP · Training Time: 28 hours; here {hours:.1f} hours" in page
    rows = {(row.row, row.column): row.here for row in result.rows}
    assert rows["NRP", "No. of GPUs"] == "0 GPUs"
    assert rows["Feature Denoising", "Training Time"] == "—"
    assert "paper 28.0%" not in page


def test_tsne_has_a_point_a_crop(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    result = smoke("appendix-figure3", tmp_path)
    assert [cell["n"] for cell in result.run["cells"]] == [48, 48]
    assert (tmp_path / "appendix-figure3" / "tsne.svg").exists()


@pytest.mark.slow
def test_an_attackers_own_purifier_is_trained_and_attacked_through(tmp_path):
    pytest.importorskip("pydantic")
    result = smoke("table3", tmp_path)
    assert (tmp_path / "table3" / "training" / "own-resg" / "purifier.safetensors").exists()
    threats = {cell["threat"] for cell in result.run["cells"]}
    assert threats == {"none", "oblivious transfer", "surrogate purifier + BPDA"}
    measured = [row for row in result.rows if row.paper != "—"]
    assert all(row.here != "—" for row in measured)


def test_segmentation_and_detection_run_on_generated_scenes(tmp_path):
    pytest.importorskip("torchmetrics")
    result = smoke("table4", tmp_path)
    cells = result.run["cells"]
    assert {cell["task"] for cell in cells} >= {"segment", "detect"}
    assert len({cell["id"] for cell in cells}) == len(cells)
    left = [w["text"] for w in result.run["warnings"] if w["kind"] == "left out"]
    assert any("masks" in text for text in left)


def test_scenes_become_strips_with_answers(tmp_path):
    result = smoke("appendix-figure4", tmp_path)
    panels = result.run["strips"][0]["panels"]
    assert [panel["title"].split(":")[0] for panel in panels] == [
        "Clean", "Attacked", "Purified by fast",
    ]  # fmt: skip
    assert all(panel["caption"].startswith("mostly ") for panel in panels)


@pytest.mark.parametrize("name", ["figure6", "appendix-figure2", "appendix-figure7"])
def test_full_has_an_adversarially_trained_feature_space(name):
    seen = {
        scale: [line.options.get("surrogate", [""])[0] for line in read_plan(name, scale).lines]
        for scale in ("smoke", "small", "full")
    }
    network = "timm:inception_v3.tf_adv_in1k"
    assert {scale: found.count(network) for scale, found in seen.items()} == {
        "smoke": 0, "small": 0, "full": 1,
    }  # fmt: skip
    assert "adversarially trained Inc-v3" in get(name).instead["full"]


def test_every_line_of_a_figure_has_a_row_of_its_own(tmp_path):
    result = smoke("figure6", tmp_path)
    rows = {row.row for row in result.rows}
    assert len(rows) == 5
    assert len([row for row in rows if row.startswith("SSP in ")]) == 2


def test_a_second_figure_of_one_kind_shows_other_pictures(tmp_path):
    first, second = (smoke(name, tmp_path / name) for name in ("figure8", "appendix-figure10"))
    names = [{strip["name"] for strip in result.run["strips"]} for result in (first, second)]
    assert len(names[0]) == len(names[1]) == 2
    assert names[0].isdisjoint(names[1])
    assert "first 2 of" in first.run["images"]["rule"]
    assert "numbers 3 to 4 of" in second.run["images"]["rule"]


def test_attacks_that_were_not_trained_are_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr("nrpurify.paper.bench.shipped", dict)
    result = smoke("appendix-figure9", tmp_path)
    assert {cell["attack"] for cell in result.run["cells"]} == {"clean"}
    assert any("CDA" in w["text"] for w in result.run["warnings"])


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    smoke("appendix-table2", tmp_path)
    with pytest.raises(InputError, match="--resume"):
        smoke("appendix-table2", tmp_path)
    smoke("appendix-table2", tmp_path, resume=True)
    folder = tmp_path / "appendix-table2"
    before = (folder / "run.json").read_bytes()
    with pytest.raises(InputError, match="holds appendix-table2 at the scale smoke, and appendix"):
        run_experiment("appendix-table3", Bench("smoke", folder, resume=True))
    with pytest.raises(InputError, match="appendix-table2 at small would replace it"):
        run_experiment("appendix-table2", Bench("small", folder, resume=True))
    assert (folder / "run.json").read_bytes() == before


def test_full_asks_for_images_and_small_training_for_photos(tmp_path):
    with pytest.raises(InputError, match="--images FOLDER"):
        run_experiment("table1", Bench("full", tmp_path / "a"))
    with pytest.raises(InputError, match="--data FOLDER"):
        run_experiment("figure5", Bench("small", tmp_path / "b"))
    with pytest.raises(InputError, match="--frames FOLDER"):
        run_experiment("appendix-table6", Bench("small", tmp_path / "c"))


@pytest.mark.parametrize(("scale", "design"), [("small", "micro"), ("full", "nrp")])
def test_table_1_trains_what_it_compares_at_one_budget(tmp_path, monkeypatch, scale, design):
    trained = {}

    def train_one(bench, name, recipe, changes):
        trained[name] = (recipe, changes)
        (tmp_path / f"{name}.safetensors").touch()

    monkeypatch.setattr(planned, "train_one", train_one)
    bench = Bench(scale, tmp_path, data=tmp_path, checkpoints=tmp_path, steps=7)
    grid = read_plan("table1", scale)
    planned.train_missing(bench, "table1", grid)
    assert {name: recipe for name, (recipe, _) in trained.items()} == {
        "hgd": "hgd", "ape-gan": "ape-gan", "sr": "sr",
        "nrp-equal": "paper" if scale == "full" else "fast",
    }  # fmt: skip
    own = trained.pop("nrp-equal")[1]
    assert own.pop("purifier") == design
    assert all(changes == own for _, changes in trained.values())
    assert own["steps"] == 7
    equal = spec(bench, grid.defenses["NRP at their budget"])
    assert parse_one(equal, "defense").name == str(tmp_path / "nrp-equal.safetensors")


@pytest.mark.parametrize(("scale", "base"), [("small", "fast"), ("full", "paper")])
def test_trained_defenses_extend_one_recipe(tmp_path, monkeypatch, scale, base):
    plans = {}

    def train(data, folder, plan, **_):
        plans[folder.name] = plan
        return folder / "purifier.safetensors"

    monkeypatch.setattr("nrpurify.training.train", train)
    bench = Bench(scale, tmp_path, data=tmp_path)
    for name in figure5.VARIANTS:
        figure5.variant(bench, name)
    planned.train_missing(bench, "table1", read_plan("table1", scale))
    assert {"gnp", "fgsp", "hgd", "sr", "nrp-equal"} <= plans.keys()
    settings = load_recipe(base)
    assert {plan.extends for plan in plans.values() if plan.defense != "nrp"} == {base}
    assert {plan.eps for plan in plans.values()} == {settings.eps}
    assert plans["nrp"].adversaries == settings.adversaries
    if scale == "full":
        assert {plan.steps for plan in plans.values()} == {settings.steps}
        assert {plan.resize for plan in plans.values()} == {settings.resize}
        assert plans["nrp-without-gan"].losses.features == settings.losses.features


@pytest.mark.slow
def test_cdas_domains_have_columns_of_their_own(tmp_path):
    file = tmp_path / "comics.safetensors"
    shutil.copy(shipped()["cda"], file)
    result = smoke("table2", tmp_path / "run", trained={"comics": file})
    here = {row.column for row in result.rows if row.here != "—"}
    assert here == {"No Attack", "ImageNet ε 8", "ImageNet ε 16", "Comics ε 8", "Comics ε 16"}
    tasks = {row.row.split(" · ")[0] for row in result.rows if row.here != "—"}
    assert tasks == {"Classification", "Detection"}
    assert any("Paintings" in w["text"] for w in result.run["warnings"])


def test_a_training_of_another_budget_is_not_taken(tmp_path, monkeypatch):
    bench = Bench("small", tmp_path, data=tmp_path)
    folder = tmp_path / "training" / "sr"
    folder.mkdir(parents=True)
    (folder / "purifier.safetensors").touch()
    plan = load_recipe("sr", steps=3)
    (folder / "recipe.json").write_text(json.dumps(plan.to_dict()))
    assert train_one(bench, "sr", "sr", {"steps": 3}) == folder / "purifier.safetensors"
    with pytest.raises(InputError, match=r"other settings \(3 steps, seed 0; now 5 and 0\)"):
        train_one(bench, "sr", "sr", {"steps": 5})


def test_labels_go_with_images(tmp_path):
    with pytest.raises(InputError, match="give their folder by --images"):
        run_experiment("table5", Bench("small", tmp_path, labels=tmp_path / "x.csv"))


def test_a_users_own_victim(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n\n\ndef build():\n"
        "    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),\n"
        "        torch.nn.Linear(12, 1000))\n"
    )
    spec = f"{file}:build"
    result = smoke("appendix-table5", tmp_path, victims=(spec,))
    assert f"{spec} T-1" in {row.column for row in result.rows}
    with pytest.raises(InputError, match="has one victim"):
        smoke("table1", tmp_path, victims=(spec, "efficientnet_lite0"))
    assert not any(warning["text"].startswith("--victim") for warning in result.run.warnings)


def test_a_users_own_victim_is_attacked_itself_where_the_papers_was(tmp_path):
    bench = Bench("smoke", tmp_path, victims=("mine",))
    attacks = Cast.of(bench, read_plan("appendix-table1", "smoke")).attacks
    assert attacks["Adversarial ε 16/255, authors' recipe"]["surrogate"] == ["mine"]
    attacks = Cast.of(bench, read_plan("figure6", "smoke")).attacks
    assert attacks["MI-FGSM"]["surrogate"] == ["tiny:Inc-v3"]


def test_all_goes_on_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "names", lambda: ("appendix-table6", "appendix-table2"))
    done = []
    failed = run_all(Bench("small", tmp_path), done.append)
    assert list(failed) == ["appendix-table6"]
    assert [result.experiment.name for result in done] == ["appendix-table2"]
    assert (tmp_path / "appendix-table2" / "run.json").exists()


def test_quiet_says_what_was_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "names", lambda: ("appendix-table6",))
    given = ["paper", "run", "all", "--scale", "small", "--out", str(tmp_path), "--quiet"]
    assert main(given) == 1
    assert "appendix-table6 was not run: " in capsys.readouterr().err


def test_the_command_prints_both_numbers(tmp_path, capsys):
    assert main(["paper", "run", "appendix-table3", "--out", str(tmp_path / "a")]) == 0
    printed = capsys.readouterr()
    assert "60.4 / " in printed.out
    assert SMOKE_WARNING in printed.err
    out = str(tmp_path / "b")
    assert main(["paper", "run", "appendix-table2", "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["where"] == "Appendix table 2"


def test_the_command_lists_and_refuses(tmp_path, capsys):
    assert main(["paper", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 28
    assert main(["paper", "list"]) == 0
    assert "appendix-figure3" in capsys.readouterr().out
    assert main(["paper", "run", "tabel2", "--out", str(tmp_path)]) == 2
    assert "table2" in capsys.readouterr().err
    assert main(["paper", "run", "table1", "--scale", "full", "--out", str(tmp_path / "f")]) == 2
    assert "--images" in capsys.readouterr().err


def test_attacks_that_the_grids_name_exist():
    lines = [
        line for name in ("table1", "table5", "table3") for line in read_plan(name, "small").lines
    ]
    names = {line.attack for line in lines} - {"ssp", "fff"}
    assert len(names) == 9
    for name in names:
        assert attacks.get(name).surrogate == "classifier"

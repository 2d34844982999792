import io
import json
import re
import runpy
import subprocess
import sys
import warnings

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import nrpurify
from nrpurify.cli import main
from nrpurify.cli.app import app
from nrpurify.cli.common import (
    PLAN_HELP,
    AmpChoice,
    eps_option,
    resolve_amp,
    resolve_device,
)
from nrpurify.cli.output import note, print_json, print_table
from nrpurify.core.errors import InputError
from nrpurify.evaluation import shipped_plans


def all_commands(command, words=()):
    """The command line of each command, without groups of commands."""
    children = getattr(command, "commands", {})
    if not children:
        yield " ".join(words)
    for name in children:
        yield from all_commands(children[name], (*words, name))


COMMANDS = tuple(all_commands(typer.main.get_command(app)))

SEES_TORCH = """
import sys
from nrpurify.cli import main
for command in {commands!r}:
    assert main([*command.split(), "--help"]) == 0
heavy = {{"torch", "numpy", "PIL", "torchvision"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""


def test_help_does_not_import_torch():
    code = SEES_TORCH.format(commands=("", *COMMANDS))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(run, command):
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert f"nrpurify {command}" in " ".join(out.split("Example")[1].split())


@pytest.mark.parametrize("command", ["demo", "attack", "purify", "train", "evaluate"])
def test_every_command_takes_seed_device_and_json(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = run(command, "--help")
    for flag in ("--seed", "--device", "--json"):
        assert flag in out


def panels(run, monkeypatch, command):
    """The options in each panel of a help page."""
    monkeypatch.setenv("COLUMNS", "120")
    found = {}
    for line in run(*command.split(), "--help")[1].splitlines():
        if line.startswith("╭─ "):
            options = found.setdefault(line.split()[1], [])
        elif flags := re.match(r"│ \*? *(--[\w-]+)", line):
            options.append(flags[1])
    return found


def test_options_stand_in_the_panel_of_what_they_belong_to(run, monkeypatch):
    train = panels(run, monkeypatch, "train")
    assert "--steps" in train["Options"]
    assert train["Data"] == ["--data", "--out", "--resume"]
    paper = panels(run, monkeypatch, "paper run")
    assert "--steps" in paper["Options"]
    assert {"--images", "--labels", "--scenes", "--annotations", "--frames", "--masks"} <= {
        *paper["Data"]
    }
    assert paper["Attack"] == ["--trained"]
    assert "--steps" in panels(run, monkeypatch, "attack")["Attack"]


@pytest.mark.parametrize("command", ["evaluate", "grid"])
def test_help_names_all_shipped_plans(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    assert PLAN_HELP in run(command, "--help")[1]
    assert set(shipped_plans()) <= set(re.findall(r"\w+", PLAN_HELP))
    if command == "grid":
        assert "recipe" not in run(command, "--help")[1]


@pytest.mark.parametrize("command", ["", "attack", "weights", "weights fetch", "train-attack cda"])
def test_h_is_help(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    short, long = (run(*command.split(), flag) for flag in ("-h", "--help"))
    assert short == long
    assert "Usage: nrpurify" in short[1]


@pytest.mark.parametrize("command", ["evaluate", "attack", "purify"])
def test_help_fits_80_columns(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(command, "-h")[1].splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 110


def test_python_m_is_the_command_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["nrpurify", "--version"])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_module("nrpurify", run_name="__main__")
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"nrpurify {nrpurify.__version__}\n"


def test_quiet_leaves_errors_and_results(run, photos, tiny_file, tmp_path):
    (photos / "bad.png").write_bytes(b"bad")
    command = ("purify", photos, tmp_path / "out", "--purifier", tiny_file, "--device", "cpu")
    code, out, err = run(*command, "--quiet", "--json")
    assert code == 1
    assert json.loads(out)
    (line,) = err.splitlines()
    assert "bad.png" in line
    code, _, err = run("purify", tmp_path / "nothing", tmp_path / "out", "--quiet")
    assert code == 2
    assert "error: " in err
    assert "failed in" in run(*command)[2]  # the next command is not quiet


def test_version(run):
    assert run("--version") == (0, f"nrpurify {nrpurify.__version__}\n", "")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_extra_is_one_line(monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["--help"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"'{package}'" in err
    assert "pip install 'nrpurify[cli]'" in err


def test_an_unknown_command_names_its_neighbor(run):
    code, _, err = run("purfy")
    assert code == 2
    assert "purify" in err


def test_errors_are_one_line_without_traceback(run, tmp_path, tiny_file):
    code, out, err = run("purify", tmp_path / "nope", tmp_path / "out", "--purifier", tiny_file)
    assert (code, out) == (2, "")
    assert err.startswith("nrpurify: error: ")
    assert "does not exist" in err
    assert err.count("\n") == 1


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


def test_an_interruption_is_130(run, monkeypatch, photos, tmp_path, tiny_file):
    monkeypatch.setattr("nrpurify.batch.work.read_image", interrupt)
    code, _, err = run("purify", photos, tmp_path / "out", "--purifier", tiny_file)
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_an_interruption_outside_of_commands_is_130(run, monkeypatch):
    monkeypatch.setattr("nrpurify.cli.app._run_app", interrupt)
    assert run("demo")[0] == 130


@pytest.mark.parametrize(
    ("command", "way_on"),
    [
        ("grid quick --out runs/x", "; run the same command again with --resume"),
        ("grid quick --out runs/x --resume", "; run the same command again"),
        ("paper run table1", "; run the same command again with --resume"),
        ("evaluate d --task segment", "; run the same command again with --resume"),
        ("evaluate d --task=classify", ""),
        ("evaluate d", ""),
        ("purify a b", "; run the same command again, finished images are kept"),
        ("report runs/x", ""),
    ],
)
def test_an_interruption_names_the_way_on(run, monkeypatch, command, way_on):
    monkeypatch.setattr("nrpurify.cli.app._run_app", interrupt)
    assert run(*command.split()) == (130, "", f"nrpurify: interrupted{way_on}\n")


def test_an_interruption_during_the_first_imports_is_130(monkeypatch, capsys):
    monkeypatch.setattr("importlib.import_module", interrupt)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "nrpurify: interrupted\n"


@given(st.integers(1, 255))
def test_eps_as_a_fraction(n):
    assert eps_option(f"{n}/255") == n / 255


@given(st.floats(0, 1, exclude_min=True))
def test_eps_as_a_number(value):
    assert eps_option(repr(value)) == value


@given(st.one_of(st.floats(max_value=0), st.floats(1, exclude_min=True), st.just(float("nan"))))
def test_eps_outside_its_range(value):
    with pytest.raises(InputError, match="above 0 and up to 1"):
        eps_option(repr(value))


@given(st.text(alphabet="0123456789./-e x", max_size=8))
def test_eps_is_in_its_range_or_an_error(text):
    try:
        value = eps_option(text)
    except InputError:
        return
    assert 0 < value <= 1


def test_eps_hints():
    with pytest.raises(InputError, match=r"--step-size is '16'.*write 16/255"):
        eps_option("16", "--step-size")
    for text in ("16/0", "1/2/3", "much", ""):
        with pytest.raises(InputError, match="a fraction such as 16/255"):
            eps_option(text)
    with pytest.raises(InputError) as raised:
        eps_option("300")
    assert "write" not in str(raised.value)


def test_device():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device(None) in ("cpu", "cuda")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(InputError, match=f"--device '{name}'"):
            resolve_device(name)


def test_amp():
    assert [resolve_amp(choice) for choice in AmpChoice] == ["auto", True, False]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_json_and_tables_survive_any_encoding_of_stdout(monkeypatch, photo, tmp_path, encoding):
    names = {"name": "ж 😀 é \udce9 \x1b[31m \x9b"}
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    print_json(names)
    out.flush()
    text = out.buffer.getvalue().decode(encoding)
    assert json.loads(text) == names
    assert "\x1b" not in text
    assert "\x9b" not in text
    photo(tmp_path / "ж😀.png")
    assert main(["purify", str(tmp_path / "ж😀.png"), str(tmp_path / "out"), "--json"]) == 0
    assert main(["weights", "list"]) == 0


def test_control_characters_reach_no_terminal(capsys):
    note("id \x1b]0;title\x07 \x9b31m \u202e é\n  next")
    print_table(["id"], [["\x1b[2J"]])
    out, err = capsys.readouterr()
    assert err == "id \\x1b]0;title\\x07 \\x9b31m \\u202e é\n  next\n"
    assert r"\x1b[2J" in out
    assert "\x1b[2J" not in out
    main(["purify", "no\x1b[2J", "out"])
    assert "\x1b" not in capsys.readouterr().err


def test_warnings_of_the_package_name_no_line_of_code(run, monkeypatch):
    def warn(_):
        for file in (nrpurify.__file__, "other.py"):
            warnings.warn_explicit("too small", UserWarning, file, 3)

    monkeypatch.setattr("nrpurify.cli.app._run_app", warn)
    with pytest.warns(UserWarning, match="too small") as others:
        assert run("list") == (0, "", "nrpurify: warning: too small\n")
    assert [one.filename for one in others] == ["other.py"]

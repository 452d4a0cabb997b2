"""README and the site: code runs, commands are understood, links lead somewhere."""

import importlib.util
import pathlib
import posixpath
import re
import shlex
import shutil
from types import SimpleNamespace

import pytest

import keras_preact
from keras_preact.applications import list_models

ROOT = pathlib.Path(__file__).parents[1]
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: The pages that one meets first.
FIRST = (ROOT / "README.md",)
#: Guides whose examples take a quarter of a minute, by what tests and docstrings show as well.
LONGEST = {"exports", "inside", "networks"}
LINKED = [*WRITTEN, *(ROOT / name for name in ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
LINKED += [ROOT / "results" / "README.md", ROOT / "benchmarks" / "README.md"]

spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pages)


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def with_python():
    """Each page with examples; the longest, and searches, only when slow."""
    for page in WRITTEN:
        code = "\n".join(blocks(page, "python"))
        if code:
            marks = [] if page in FIRST else [pytest.mark.thorough]
            slow = page.stem in LONGEST or "keras_preact.tuning" in code
            marks += [pytest.mark.slow] if slow else []
            yield pytest.param(page, code, marks=marks, id=name(page))


@pytest.mark.tensorflow
@pytest.mark.parametrize(("page", "code"), [*with_python()])
def test_python_runs_from_top_to_bottom(page, code, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if '"runs/best' in code:
        shutil.copytree(request.getfixturevalue("trained_run"), tmp_path / "runs" / "best")
    exec(compile(code, name(page), "exec"), {})


def commands(page):
    """The arguments of each keras-preact command in a block, and of trainings in sentences."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(line.split()) for line in re.findall(r"`(keras-preact train [^`]+)`", prose)]
    for line in lines:
        words = shlex.split(line, comments=True)
        if "keras-preact" in words:
            yield words[words.index("keras-preact") + 1 :]


#: Pages with commands; those of adding.md are for what its diffs add, in test_adding.py.
COMMANDING = {*WRITTEN, ROOT / "results" / "README.md"} - {ROOT / "docs" / "inside" / "adding.md"}


@pytest.mark.parametrize("page", sorted(COMMANDING), ids=name)
def test_commands_are_understood(page, tmp_path, monkeypatch):
    from keras_preact.cli import parser_for
    from keras_preact.cli.training import train_config
    from keras_preact.cli.tuning import tune_config

    monkeypatch.chdir(tmp_path)
    for space in blocks(page, "yaml")[:1]:
        pathlib.Path("space.yaml").write_text(space)
    for command in commands(page):
        arguments = parser_for(command).parse_args(command)[command[0]]
        if command[0] == "train":
            assert train_config(arguments).resolve()
        if command[0] == "tune" and command[1] != "report":
            assert tune_config(command[1], arguments[command[1]]).dimensions()


def anchors(text):
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        yield re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


@pytest.mark.parametrize("page", [page for page in LINKED if page.exists()], ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^()\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name(page)), path))
        target = ROOT / path if link.partition("#")[0] else page
        made = pages.site_path(path) in pages.names()
        assert made or target.exists(), f"{name(page)}: {link}"
        if anchor and not made:
            assert anchor in anchors(target.read_text()), f"{name(page)}: {link}"


def test_readme_is_short_and_begins_with_what_ci_runs():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    assert blocks(ROOT / "README.md", "bash")[:2] == [
        "python -m pip install -e . && keras-preact train\n",
        'python -m pip install -e ".[test]" && python -m pytest\n',
    ]


def test_readme_has_whole_addresses_for_pypi():
    address = "https://example.org/owner/name"
    text = pages.relinked((ROOT / "README.md").read_text(), "README.md", (), address)
    assert f"]({address}/raw/main/docs/placements.svg)" in text
    assert not re.search(r"\]\((?!https:)", text)


def test_links_of_the_repository_are_those_of_the_site():
    def relinked(text, here, address=None):
        return pages.relinked(text, here, ("start.md", "results/README.md"), address)

    assert relinked("[a](../../results/README.md#b)", "docs/guides/c.md") == (
        "[a](../results/README.md#b)"
    )
    assert relinked("[a](docs/start.md)", "README.md") == "[a](start.md)"
    assert relinked("[a](../LICENSE)", "docs/c.md") == "a"
    assert (
        relinked("[a](../LICENSE)", "docs/c.md", "https://b") == "[a](https://b/blob/main/LICENSE)"
    )
    assert relinked("[a](nothing.md)", "docs/c.md") == "[a](nothing.md)"


@pytest.mark.parametrize("address", [None, "https://github.com/owner/name"])
def test_notebooks_open_in_colab_where_the_address_is_known(address):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="notebooks/6_tuning.md"))
    config, files = SimpleNamespace(repo_url=address), SimpleNamespace(src_uris=pages.names())
    text = pages.on_page_markdown("# 6. Tuning\n\n[a](1_quick_start.ipynb)\n", page, config, files)
    colab = "https://colab.research.google.com/github/owner/name/blob/main/notebooks/6_tuning.ipynb"
    assert (f"]({colab})" in text) == (address is not None)
    assert "[a](1_quick_start.md)" in text


def test_families_have_every_network_once(capsys):
    from keras_preact.cli import main

    members = [network for family in pages.FAMILIES for network in pages.members(family)]
    assert sorted(members) == sorted(list_models())
    assert main(["models", "--markdown"]) == 0
    listed = [row for row in capsys.readouterr().out.splitlines() if "--" not in row]
    text = "".join(map(pages.family, pages.FAMILIES)).replace("`", "")
    assert {*map(cells, listed)} <= {*map(cells, text.splitlines())}


def cells(row):
    return tuple(map(str.strip, row.split("|")))


def test_the_reference_has_every_package():
    rooms = {f"keras_preact.{room}" for room in keras_preact._ROOMS}
    assert {*pages.PACKAGES} == {"keras_preact", *rooms}


def test_the_picture_of_the_layout_has_every_part_above_what_it_imports():
    floors = pages.floors()
    assert floors[0] == ["cli"] and floors[-1] and "errors" in floors[-1]

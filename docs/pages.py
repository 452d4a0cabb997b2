"""The pages that are made when the site is built, and links that are right on the site.

A hook of mkdocs (`hooks` in `mkdocs.yml`). What stands at the root of the repository (README,
results, benchmarks, notebooks) is shown where it stands; models, recipes and the reference are
written from the package. `python docs/pages.py ADDRESS` prints README with absolute links, for
PyPI.
"""

import ast
import functools
import graphlib
import importlib
import inspect
import logging
import pathlib
import posixpath
import re
import sys

try:
    from griffe import Extension
except ImportError:  # where no site is built
    Extension = object

ROOT = pathlib.Path(__file__).parents[1]

#: What is shown of the rest of the repository.
ELSEWHERE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "results/**/*.md",
    "results/**/*.png",
)

#: The modules of `keras_preact.applications` that hold a family, and which network is drawn.
FAMILIES = {
    "cifar_resnet": ("ResNets for CIFAR", "ResNet20"),
    "cifar_resnet_v2": ("ResNets V2 for CIFAR", "ResNet20V2"),
    "resnet": ("ResNets for ImageNet", "ResNet50"),
    "resnet_v2": ("ResNets V2 for ImageNet", "ResNet50V2"),
    "wide_resnet": ("Wide ResNets", "WideResNet28_10"),
    "resnext": ("ResNeXts", "ResNeXt50_32x4d"),
    "plain": ("Plain nets", "PlainNet34"),
    "rectifier": ("Rectifier nets and VGG", "RectifierNet14"),
}

PACKAGES = ("keras_preact", *(
    f"keras_preact.{name}"
    for name in (
        "applications", "residual", "layers", "rewrite", "weights", "data", "training",
        "evaluation", "export", "bench", "analysis", "papers", "tuning", "drawing", "demo",
    )
))  # fmt: skip

_LOG = logging.getLogger("mkdocs.hooks.pages")  # what is warned of there fails a strict build
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")


def names() -> list[str]:
    """Paths on the site of all pages that are made, without making them."""
    models = ["models/index.md", *(f"models/{family}.md" for family in FAMILIES)]
    reference = [f"reference/{package}.md" for package in PACKAGES]
    notebooks = sorted(f"notebooks/{path.stem}.md" for path in ROOT.glob("notebooks/*.ipynb"))
    return [*models, "recipes.md", *notebooks, *reference, "inside/imports.svg"]


def shown() -> dict[str, pathlib.Path]:
    """The files of the repository that the site shows as they are, by their paths on the site."""
    files = [path for pattern in ELSEWHERE for path in sorted(ROOT.glob(pattern))]
    return {path.relative_to(ROOT).as_posix(): path for path in files}


def site_path(path: str) -> str:
    """Where on the site a path of the repository is."""
    return re.sub(r"^(notebooks/.*)\.ipynb$", r"\1.md", path.removeprefix("docs/"))


def relinked(text: str, here: str, there, address: str | None) -> str:
    """Markdown with links that were relative to a file, as they are on the site.

    Args:
        text: The Markdown.
        here: The file's path in the repository.
        there: The paths that the site has. Other files are linked where the address is known.
        address: The repository's address.
    """

    def replaced(match):
        picture, words, link = match.groups()
        link, mark, anchor = link.partition("#")
        if not link or ":" in link:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), link))
        if site_path(path) in there:
            start = posixpath.dirname(site_path(here)) or "."
            link = posixpath.relpath(site_path(path), start)
            return f"{picture}[{words}]({link}{mark}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # mkdocs says so
        if not address:
            return match[0] if picture else words
        kind = "raw" if picture else "blob"
        return f"{picture}[{words}]({address}/{kind}/main/{path}{mark}{anchor})"

    return _LINK.sub(replaced, text)


@functools.cache
def made() -> dict[str, str | bytes]:
    """Everything that is made, by its path on the site."""
    files = {"recipes.md": recipes(), "inside/imports.svg": imports()}
    files |= models()
    for package in PACKAGES:
        files[f"reference/{package}.md"] = reference(package)
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        files |= notebook(path)
    return files


# Models


def members(family: str) -> list[str]:
    """The networks of a family, by their names."""
    from keras_preact import list_models, model_info

    module = importlib.import_module(f"keras_preact.applications.{family}")
    return [name for name in list_models() if hasattr(module, model_info(name).builder)]


def models() -> dict[str, str | bytes]:
    """A page and a picture of each family, and one of all."""
    import docstring_parser

    from keras_preact import ResNet20V2
    from keras_preact.drawing import draw_network

    files, families, arguments = {}, "", ""
    for name, (title, drawn) in FAMILIES.items():
        files[f"models/{name}.md"] = family(name)
        files[f"models/{name}.svg"] = _svg(draw_network(drawn))
        families += f"| [{title}]({name}.md) | {len(members(name))} | {_words(name)[0]} |\n"
    for argument in docstring_parser.parse(ResNet20V2.__doc__).params:
        words = " ".join(argument.description.split())
        # What differs between networks stands in their tables.
        words = re.sub(r" By default \S.*| \('[^)]*\)(?=,)", "", words)
        arguments += f"- `{argument.arg_name}`: {words}\n"
    files["models/index.md"] = f"""# Models

`keras-preact models` and `keras_preact.list_models()` list them all.

| family | networks | |
| --- | ---: | --- |
{families}
## Arguments

Every network is a function of `keras_preact` and of `keras_preact.applications`, and
`keras_preact.create_model(name, ...)` calls it. All take these arguments:

{arguments}"""
    return files


def _words(name) -> tuple[str, str]:
    """The first line of a family's docstring, and the rest."""
    module = importlib.import_module(f"keras_preact.applications.{name}")
    lead, _, rest = inspect.getdoc(module).partition("\n\n")
    return lead, rest


def family(name) -> str:
    """A family's page: its picture, its networks, and their trained weights."""
    from keras_preact import model_info

    (title, drawn), (lead, rest) = FAMILIES[name], _words(name)
    networks = weights = ""
    for member in members(name):
        info = model_info(member)
        networks += (
            f"| {member} | `{info.builder}` | {info.config.depth} | {info.parameters:,} | "
            f"{info.multiply_adds / 1e6:,.0f} M | {'x'.join(map(str, info.input_shape))} | "
            f"{info.reference} |\n"
        )
        for tag, trained in info.weights.items():
            weights += (
                f'| `{info.builder}(weights="{tag}")` | {trained.classes:,} | '
                f"{trained.top1_error:.2f} % | {trained.source} |\n"
            )
    text = f"""# {title}

{lead}

{rest}

![{drawn}: its stem, stages and head]({name}.svg)

## Networks

Parameters and multiply-adds are those with the default image and classes.
[All take the same arguments](index.md#arguments).

| name | function | layers | parameters | multiply-adds | image | source |
| --- | --- | ---: | ---: | ---: | ---: | --- |
{networks}"""
    if weights:
        text += f"""
## Trained weights

The top-1 errors are those that the source reports, of one crop for ImageNet.
[Fine-tuning and conversion](../guides/weights.md#trained-weights) says how they are loaded.

| weights | classes | top-1 error | source |
| --- | ---: | ---: | --- |
{weights}"""
    return text


def _svg(figure) -> bytes:
    import tempfile

    from keras_preact.drawing import save_drawing

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "drawing.svg"
        save_drawing(figure, path)
        return path.read_bytes()


# Recipes


def recipes() -> str:
    from keras_preact.training import RECIPES, recipe_card
    from keras_preact.training.cards import fields_of, words_of

    text = """# Recipes

`keras-preact recipes NAME` shows a card in the terminal.
[Training as it is done today](guides/recipes.md) says how to change a recipe.
"""
    for name in RECIPES:
        card = words_of(recipe_card(name))
        what = card.pop("what")
        fields = ", ".join(f"`{key}={value}`" for key, value in fields_of(name).items())
        rows = {**card, "fields": fields or "the defaults"}.items()
        table = "".join(f"| {title} | {words} |\n" for title, words in rows if words)
        text += f"\n## {name}\n\n{what[0].upper()}{what[1:]}.\n\n| | |\n| --- | --- |\n{table}"
    return text


# Reference


def reference(package: str) -> str:
    """A page of all public names of a package, each as mkdocstrings shows it."""
    module = importlib.import_module(package)
    rooms = {name.rpartition(".")[2] for name in PACKAGES}
    public = [name for name in sorted(module.__all__) if name not in rooms]
    lines = [f"# {package}", "", inspect.getdoc(module).partition("\n\n")[0], ""]
    if package.endswith(".applications"):
        lines += ["The networks themselves: [Models](../models/index.md).", ""]
    for name in public:
        member = getattr(module, name)
        home = getattr(member, "__module__", None) or _home(module, member, package)
        if home.endswith(".registry") and name not in vars(importlib.import_module(home)):
            continue  # a network's function, which its family's page has
        if package == "keras_preact" and home.startswith("keras_preact."):
            room = ".".join(home.split(".")[:2])
            if room in PACKAGES:
                lines += [f"## {name}", "", f"In [{room}]({room}.md#{home}.{name}).", ""]
                continue
        lines += [f"::: {home}.{name}".replace("keras_preact.tuning", "tuning"), ""]
    return "\n".join(lines)


class Examples(Extension):
    """Docstrings' examples, which Griffe knows by the plural, as code and not as a remark."""

    def on_object(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)


def _home(module, member, package) -> str:
    """The module that defines a constant."""
    for name, other in [*sys.modules.items()]:
        if name.startswith(f"{package}.") and any(v is member for v in vars(other).values()):
            return name
    return package


# Notebooks


def notebook(path: pathlib.Path) -> dict[str, str | bytes]:
    """An executed notebook as a page and its pictures; it is not run again."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(path))
    text = re.sub(r"<style scoped>.*?</style>\n?", "", text, flags=re.DOTALL)
    text = re.sub(r'<table border="1" class="dataframe">', "<table>", text)
    text = re.sub(r"^!\[png\]\(", f"![Output]({path.stem}_", text, flags=re.MULTILINE)
    files = {f"notebooks/{path.stem}.md": _mathml(text)}
    for name, data in resources["outputs"].items():
        files[f"notebooks/{path.stem}_{name}"] = data
    return files


def _mathml(text: str) -> str:
    """TeX as MathML, which browsers draw without a script, outside of code."""
    from latex2mathml.converter import convert

    def inline(match):  # in a `span`: `math` at the start of a line would be a block of its own
        return f"<span>{convert(match[1])}</span>"

    def block(match):
        return convert(match[1], display="block")

    parts = re.split(r"(^```.*?^```|`[^`\n]+`)", text, flags=re.MULTILINE | re.DOTALL)
    for k in range(0, len(parts), 2):
        part = re.sub(r"\$\$(.+?)\$\$", block, parts[k], flags=re.DOTALL)
        parts[k] = re.sub(r"\$([^$\n]+)\$", inline, part)
    return "".join(parts)


# The layout


def floors() -> list[list[str]]:
    """The parts of the package in rows: each imports only parts of the rows after its own."""
    found = {}
    for base, prefix in ((ROOT / "keras_preact", ()), (ROOT / "tuning", ("tuning",))):
        for path in base.rglob("*.py"):
            part = (*prefix, *path.relative_to(base).with_suffix("").parts)[0]
            if path.stem != "__main__" and part != "__init__":
                found.setdefault(part, set()).update(_imported(path))
    order = graphlib.TopologicalSorter({k: v & {*found} - {k} for k, v in found.items()})
    order.prepare()
    rows = []
    while order.is_active():
        rows.insert(0, sorted(order.get_ready()))
        order.done(*rows[0])
    return rows


def _imported(path) -> set[str]:
    import keras_preact

    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [name.split(".")[1] for name in names if name.startswith("keras_preact.")]
    return {keras_preact._HOMES.get(part, f".{part}").strip(".") for part in parts}


def imports() -> bytes:
    """The rows of `floors` as a drawing; folders are blue."""
    from keras_preact.drawing.sheet import BOX, Box, Sheet, box_width, paint

    boxes, gap, y = [], 0.12, 0.0
    for row in floors():
        widths = [box_width(part) for part in row]
        x = -(sum(widths) + gap * (len(row) - 1)) / 2
        y += BOX + gap
        for part, width in zip(row, widths, strict=True):
            folder = part == "tuning" or (ROOT / "keras_preact" / part).is_dir()
            kind = "weights" if folder else "resampling"
            boxes.append((x + width / 2, y, width, part, kind))
            x += width + gap
    half = max(abs(x) + width / 2 for x, _, width, _, _ in boxes) + gap
    shapes = tuple(Box(x + half, *rest) for x, *rest in boxes)
    return _svg(paint(Sheet(2 * half, y + BOX / 2 + gap, shapes)))


# What mkdocs calls


def on_config(config):
    """Folders of made pages in the navigation, and no pages that do not exist."""
    there = {*names(), *shown()}

    def exists(page):
        return page.endswith("/") or page in there or (ROOT / "docs" / page).exists()

    def entries(items):
        for item in items:
            ((title, value),) = item.items()
            if isinstance(value, list):
                yield {title: [*entries(value)]}
            elif value.endswith("/"):
                yield {title: [name for name in names() if name.startswith(value)]}
            elif exists(value):
                yield item

    config.nav = [*entries(config.nav)]
    return config


def on_files(files, config):
    from mkdocs.structure.files import File

    for name, content in made().items():
        files.append(File.generated(config, name, content=content))
    for name, path in shown().items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri
    if here.startswith("notebooks/"):
        here = here.replace(".md", ".ipynb")
    elif here not in shown():
        here = f"docs/{here}"
    text = relinked(markdown, here, files.src_uris, config.repo_url)
    if here.endswith(".ipynb") and (config.repo_url or "").startswith("https://github.com/"):
        where = config.repo_url.removeprefix("https://github.com/").rstrip("/")
        colab = f"https://colab.research.google.com/github/{where}/blob/main/{here}"
        text = text.replace("\n", f"\n\n[Open in Colab]({colab}){{ .md-button }}\n", 1)
    return text


def on_post_page(output, page, config):
    """Pages ask nobody for anything: GitHub for no stars, and others for no files."""
    for tag in re.findall(r'<(?!a\b)\w+ [^>]*(?:src|href)="(?:https?:)?//[^>]*>', output):
        _LOG.warning(f"{page.file.src_uri} would load from elsewhere: {tag}")
    return on_post_template(output, page, config)


def on_post_template(output_content, template_name, config):
    return output_content.replace('data-md-component="source"', "")


if __name__ == "__main__":
    sys.stdout.write(relinked((ROOT / "README.md").read_text(), "README.md", (), sys.argv[1]))

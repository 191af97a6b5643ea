"""What the site is made of beside docs/.

README.md is its first page. Links out of docs/, to a test or to a results file, lead to pages made of those files, so
that the site holds whatever it names and mkdocs checks each link: code is shown with line numbers, Markdown and
notebooks are rendered, pictures copied. `{docstring of PATH}`, alone on its line, becomes the docstring of that module.
Equations become MathML, which browsers draw without any script.
"""

import ast
import json
import posixpath
import re
from html import unescape
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parent
LINK = re.compile(r"(?<=\]\()[\w.][\w./-]*\.\w+")
LANGUAGES = {".py": "python", ".h": "cpp", ".cc": "cpp", ".csv": "text", ".toml": "toml"}


def on_files(files, config):
    files.append(File.generated(config, "index.md", content=(ROOT / "README.md").read_text()))
    waiting = [(page.src_uri, page.content_string) for page in files.documentation_pages()]
    while waiting:
        for path in _linked(*waiting.pop()):
            target = _page_of(path)
            if files.get_file_from_path(target) is None:
                if path.endswith(".png"):
                    file = File.generated(config, target, abs_src_path=str(ROOT / path))
                else:
                    file = File.generated(config, target, content=_text_of(path))
                    waiting.append((target, file.content_string if path.endswith(".md") else ""))
                files.append(file)
    return files


def on_page_markdown(markdown, page, config, files):
    here = page.file.src_uri

    def link(match):
        path = _in_repository(here, match[0])
        return posixpath.relpath(_page_of(path), posixpath.dirname(here)) if path else match[0]

    markdown = LINK.sub(link, markdown)
    return re.sub(r"^\{docstring of (\S+)\}$", lambda match: _docstring(match[1]), markdown, flags=re.MULTILINE)


def on_page_content(html, page, config, files):
    inline = r'<span class="arithmatex">\\\((.*?)\\\)</span>'
    html = re.sub(inline, lambda tex: _mathml(tex[1]), html, flags=re.DOTALL)
    block = r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>'
    html = re.sub(block, lambda tex: f'<div class="equation">{_mathml(tex[1], "block")}</div>', html, flags=re.DOTALL)
    _equations_of_titles(page.toc)
    return re.sub(r'href="(?:\.\./)*([\w/]+\.py)\.html" title="(\w+)"', _to_its_line, html)


def _equations_of_titles(entries):
    for entry in entries:
        entry.title = re.sub(r"\\\((.*?)\\\)", lambda tex: _mathml(tex[1]), entry.title)
        _equations_of_titles(entry.children)


def _mathml(tex, display="inline"):
    prime = r"<msup>(<mi>\S+?</mi>)<mi>&#x02032;</mi></msup>"  # a sign of the line: raised once more it is off it
    return re.sub(prime, r'\1<mo lspace="0" rspace="0">&#x02032;</mo>', convert(unescape(tex), display=display))


def _linked(page, markdown):
    """The files of the repository, outside docs/, that a page links."""
    paths = (_in_repository(page, match[0]) for match in LINK.finditer(markdown))
    return [path for path in paths if path and not path.startswith("docs/")]


def _in_repository(page, link):
    """The path of the file that a link of a page leads to; None if there is none."""
    of_page = "README.md" if page == "index.md" else f"docs/{page}" if (ROOT / "docs" / page).is_file() else page
    path = posixpath.normpath(posixpath.join(posixpath.dirname(of_page), link))
    return path if (ROOT / path).is_file() else None


def _page_of(path):
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.endswith((".md", ".png")) else f"{path}.md"


def _text_of(path):
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return "\n\n".join(_cell(cell) for cell in json.loads(text)["cells"])
    language = LANGUAGES.get(Path(path).suffix, "text")
    fence = "~" * 8  # no file has it
    return f'---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n{fence}{language} linenums="1"\n{text}\n{fence}\n'


def _cell(cell):
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell["outputs"])])


def _output(output):
    if output["output_type"] == "stream":
        return "```text\n" + "".join(output["text"]).rstrip() + "\n```"
    if "image/png" in output["data"]:
        image, title = "".join(output["data"]["image/png"].split()), output["metadata"]["image/png"]["alt"]
        return f'<p><img alt="{title}" src="data:image/png;base64,{image}"></p>'
    return "".join(output["data"]["text/markdown"])


def _to_its_line(link):
    """A link to a test, whose title is the test's name, leads to its line."""
    lines = (ROOT / link[1]).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if f"def {link[2]}(" in line)
    return link[0].replace(".html", f".html#__codelineno-0-{number}")


def _docstring(path):
    text = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    return f"```text\n{text}\n```"

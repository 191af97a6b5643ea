"""What the site is made of beside docs/.

Links out of docs/, to a test or to a results file, lead to pages made of those files, so that the site holds whatever
it names and mkdocs checks each link: code is shown with line numbers, Markdown and notebooks are rendered, pictures
copied. `{docstring of PATH}` on a line of its own becomes the docstring of that module. Equations become MathML, which
browsers draw without any script.
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
LINK = re.compile(r"(?<=\]\()(\.\.?/[^)\s#]+|\w[\w./-]*\.\w+)")
LANGUAGES = {".py": "python", ".h": "cpp", ".cc": "cpp", ".csv": "text", ".toml": "toml"}


def on_files(files, config):
    waiting = [(page.src_uri, page.content_string) for page in files.documentation_pages()]
    while waiting:
        for path in _linked(*waiting.pop()):
            target = _page_of(path)
            if files.get_file_from_path(target) is None and (ROOT / path).is_file():
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
        path = _in_repository(here, match[1])
        if path is None or not (ROOT / path).is_file():
            return match[0]
        return posixpath.relpath(_page_of(path), posixpath.dirname(here))

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
    paths = (_in_repository(page, match[1]) for match in LINK.finditer(markdown))
    return [path for path in paths if path is not None]


def _in_repository(page, link):
    """The path of a link from docs/, or from a page made of a file, if it leads to a file that is not in docs/."""
    base = posixpath.join("docs", page) if (ROOT / "docs" / page).is_file() else page
    path = posixpath.normpath(posixpath.join(posixpath.dirname(base), link))
    return None if path.startswith(("docs/", "..")) else path


def _page_of(path):
    return path if path.endswith((".md", ".png")) else f"{path}.md"


def _text_of(path):
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        return text
    if path.endswith(".ipynb"):
        return "\n\n".join(_cell(cell) for cell in json.loads(text)["cells"])
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f'---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n```{language} linenums="1"\n{text}\n```\n'


def _cell(cell):
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    outputs = [
        "```text\n" + "".join(output["text"]).rstrip() + "\n```"
        if output["output_type"] == "stream"
        else "".join(output["data"]["text/markdown"])
        for output in cell["outputs"]
    ]
    return "\n\n".join([f"```python\n{source}\n```", *outputs])


def _to_its_line(link):
    """A link to a test, whose title is the test's name, leads to its line."""
    lines = (ROOT / link[1]).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if f"def {link[2]}(" in line)
    return link[0].replace(".html", f".html#__codelineno-0-{number}")


def _docstring(path):
    text = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    return f"```text\n{text}\n```"

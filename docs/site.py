"""Chooses the pages of the site: README, docs as they stand, and a reference of the Python API.

A hook of MkDocs (mkdocs.yml). The pages keep their paths in the repository, so the links between
them are the same here as on GitHub.
"""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE"),
    *("docs/*.md", "docs/tour.ipynb", "docs/example_method/README.md"),
    *("results/README.md", "results/archive/README.md"),
    *("datasets/README.md", "bench/starter/README.md"),
    *("reports/report.md", "reports/*.png", "reports/index.html", "reports/records.csv"),
    *("reports/archive/*/report.md", "reports/archive/*/*.png", "reports/archive/*/index.html"),
)
REFERENCE = "docs/python.md"
API = {
    "bench": ("run", "load", "records", "UserError"),
    "bench.trained.model": ("TrainedModel", "Match"),
    "methods": ("register", "registry"),
    "methods.base": ("Method", "Batch", "Sample", "Paper", "NotApplicable"),
}
"""What a user of Python calls, and what a method of one's own is made of."""


def on_files(files: Any, config: Any) -> Any:
    """Replace what MkDocs found in docs/ by the pages of the site."""
    for file in [one for one in files if Path(one.src_dir or "") == Path(config["docs_dir"])]:
        files.remove(file)
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    files.append(File.generated(config, REFERENCE, content=reference()))
    return files


def reference() -> str:
    """The page of the Python API, which mkdocstrings fills from the docstrings."""
    homes = {"run": "bench.api", "load": "bench.api", "records": "bench.api"}
    blocks = []
    for module, names in API.items():
        blocks.append(f"# {module}" if not blocks else f"## {module}")
        for name in names:
            blocks.append(
                f"::: {homes.get(name, module)}.{name}\n    options:\n      heading_level: 3"
            )
    return "# Python\n\n" + "\n\n".join(blocks[1:]) + "\n"

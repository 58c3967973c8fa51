"""Write README's short table of results: chosen rows and columns of reports/report.md.

Run it after `bench report`: `python tests/readme_table.py`. A test compares README with the report.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METHODS = {
    "lora": "lora",
    "uniadapter": "uniadapter",
    "adapter(parallel=True)": "adapter(parallel=True)",
    "cmer": "cmer",
    "cmer [cached features views=8]": "cmer, cached features",
    "full": "full",
    "linear": "linear",
    "zeroshot": "zeroshot",
}
"""Rows of the report, and what README calls them."""
COLUMNS = {
    "best val mR": "validation mR, %",
    "mR": "test mR, %",
    "batch": "batch",
    "steps": "steps",
    "memory, MiB": "kept for backward, MiB",
    "seconds to 100%": "seconds to LoRA's validation mR",
}
"""Columns of the report, and what README calls them."""
BEGIN, END = "<!-- from reports/report.md: python tests/readme_table.py -->", "<!-- end -->"


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(report: str) -> str:
    """The rows of `METHODS` in UCM's section of equal time and memory, as a Markdown table."""
    section = next(
        part
        for part in re.split(r"^## ", report, flags=re.MULTILINE)
        if part.startswith("ucm") and "equal training time" in part.partition("\n")[0]
    )
    found: dict[str, dict[str, str]] = {}
    header: list[str] = []
    for line in section.splitlines():
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells(line)
        elif header[0] == "method":
            row = dict(zip(header, cells(line), strict=True))
            known = found.setdefault(row["method"].strip("`"), {})
            for name, value in row.items():
                known.setdefault(name, value)
    lines = [["method", *COLUMNS.values()], ["---", *["---:"] * len(COLUMNS)]]
    for method, said in METHODS.items():
        values = [
            re.sub(r"</?ins>|\*\*|\s±\s0$", "", found[method].get(name, "–")) for name in COLUMNS
        ]
        lines.append([f"`{said}`", *values])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def update(readme: str, report: str) -> str:
    """README with the table as the report has it."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(report)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    page, report = ROOT / "README.md", ROOT / "reports" / "report.md"
    text = update(page.read_text(encoding="utf-8"), report.read_text(encoding="utf-8"))
    page.write_text(text, encoding="utf-8")

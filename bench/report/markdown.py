"""A report as Markdown, as GitHub shows it."""

from bench.report.contents import Contents, Part, Section
from bench.report.tables import WORDS, Cell, Table


def write(report: Contents) -> str:
    """The whole report; pictures lie beside it."""
    parts = ["# Report", f"{report.counts}."]
    parts += [f"> [!WARNING]\n> {_text(warning)}" for warning in report.warnings]
    for section in report.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    source = f" From `{section.source}`." if section.source else ""
    parts = [f"## {_text(section.title)}", _text(section.about) + source]
    parts += [_part(part) for part in section.parts if not part.about]
    parts += [_text(note) for note in section.notes]
    if section.wrong:
        lines = "\n".join(f"- {_text(line)}" for line in section.wrong)
        parts.append(f"Trials that did not end well:\n\n{lines}")
    for path in section.pictures:
        if path.suffix == ".png":
            what = path.stem.removeprefix(f"{section.name}-").replace("_", " ")
            parts.append(f"![{what}, {_text(section.title)}]({path.name})")
    return parts + [_part(part) for part in section.parts if part.about]


def _part(part: Part) -> str:
    table = _table(part.table)
    if part.folded:
        return f"<details><summary>{part.about}</summary>\n\n{table}\n\n</details>"
    return f"**{_text(part.about)}**\n\n{table}" if part.about else table


def _table(table: Table) -> str:
    lines = ["| " + " | ".join(_text(head) for head in table.heads) + " |"]
    lines.append("|" + "|".join(" --- " if h in WORDS else " ---: " for h in table.heads) + "|")
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = cell.text.replace("|", "\\|") if cell.code else _text(cell.text)
    if cell.code:
        text = f"`{text}`"
    text = {"best": f"**{text}**", "second": f"<ins>{text}</ins>"}.get(cell.mark, text)
    text = f"{text} ± {cell.spread}".replace(" ", "\u00a0") if cell.spread else text
    return text + _text(cell.sign)


def _text(text: str) -> str:
    for character in "\\|*_`<>[]":
        text = text.replace(character, f"\\{character}")
    return text

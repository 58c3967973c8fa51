"""A report as Markdown, as GitHub shows it."""

from bench.report.contents import Contents, Section
from bench.report.tables import WORDS, Cell, Part, Table


def write(report: Contents) -> str:
    """The whole report; pictures lie beside it."""
    parts = ["# Report", f"{report.counts}."]
    parts += [f"> [!WARNING]\n> {_text(warning)}" for warning in report.warnings]
    parts.append("\n".join(f"- [{_text(s.title)}](#{s.name})" for s in report.sections))
    parts += ["## Summary", _body(report.summary)]
    for section in report.sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f'<a id="{section.name}"></a>\n\n## {_text(section.title)}']
    parts.append(_text(" ".join([*section.conditions, *section.origin])))
    parts += map(_part, section.above)
    if section.wrong:
        lines = "\n".join(f"- {_text(line)}" for line in section.wrong)
        parts.append(f"Trials that did not end well:\n\n{lines}")
    for path in section.pictures:
        if path.suffix == ".png":
            plot = path.stem.removeprefix(f"{section.name}-").replace("_", " ")
            parts.append(f"![{plot}, {_text(section.title)}]({path.name})")
    return [*parts, *map(_part, section.below)]


def _part(part: Part) -> str:
    """Title, table and what its marks mean."""
    if part.folded:
        return f"<details><summary>{part.title}</summary>\n\n{_body(part)}\n\n</details>"
    return f"**{_text(part.title)}**\n\n{_body(part)}"


def _body(part: Part) -> str:
    return "\n\n".join(filter(None, [_table(part.table), _text(part.words)]))


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
    text = f"[{text}](#{cell.link})" if cell.link else text
    return text + _text(cell.sign)


def _text(text: str) -> str:
    for character in "\\|*_`<>[]":
        text = text.replace(character, f"\\{character}")
    return text

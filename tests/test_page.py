"""The web page: whole, without network, and at work in a headless Chromium where there is one."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import fake_records as fakes
from tests.helpers.until import PATIENCE

EMPTY = {"meta", "img", "input", "link", "br"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of some records, one of them with a hostile message."""
    root = tmp_path_factory.mktemp("page")
    documents = fakes.sweep(2, ("zeroshot", "lora", "cmer", "linear"))
    documents += [fakes.record("cmer", seed, queue=0) for seed in range(2)]
    bad = fakes.record("vpt", status="failed")
    bad["message"] = "</script><script>document.title = 'broken in'</script>"
    bad["lr"], bad["trial"]["lr"] = bad["trial"]["lr"], None  # the method's own rate was used
    fakes.save(root / "results", [*documents, bad])
    fakes.write_report(root / "results", root / "out")
    return (root / "out" / "index.html").read_text(encoding="utf-8")


class Balance(HTMLParser):
    """Opening and closing tags."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.ids += [str(named["id"])] if "id" in named else []
        self.scripts += tag == "script"
        for name in ("src", "href"):
            assert (named.get(name) or "#").startswith(("#", "data:")), named
        if tag == "img":
            assert named["alt"]
        if tag not in EMPTY:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_well_formed_and_without_network(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.stack == []
    assert len(set(parser.ids)) == len(parser.ids)
    assert parser.scripts == 2
    assert not re.search(r"https?://", page)
    assert page.count("data:image/png;base64,") == 5
    assert "$" not in re.sub(r"\$\{", "", page[page.index("<main") : page.index("</main>")])


def test_carries_every_record(page: str) -> None:
    found = re.search(r'(?s)<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    data = json.loads(found[1])
    assert len(data["records"]) == 11
    assert all("settings" in one["trial"] and "environment" in one for one in data["records"])
    assert {one["group"] for one in data["records"]} == {"default recipe"}
    assert data["link"] == "../results"


CLICKS = """<pre id="told"></pre><script>
const told = {};
const rows = () => [...find("list").tBodies[0].rows].filter(row => !row.hidden);
told.all = rows().length;
find("filter").value = "CMER queue"; find("filter").dispatchEvent(new Event("input"));
told.filtered = rows().map(row => row.cells[0].textContent.trim());
find("filter").value = ""; find("status").value = "failed"; filter();
const heads = table => [...table.tHead.rows[0].cells];
const headed = name => heads(find("list")).find(cell => cell.textContent === name).cellIndex;
told.failed = rows().map(row => row.cells[headed("status")].textContent);
told.shown = ["steps", "lr", "group", "date"]
  .map(name => rows()[0].cells[headed(name)].textContent);
told.steps = steps(
  {trial: {recipe: {steps: null, epochs: 30, time: 80}}, efficiency: {budget_steps: 49}});
told.untrained = steps({trial: {recipe: {steps: 3}}, efficiency: {trainable_parameters: 0}});
find("status").value = ""; find("filter").value = "made to be"; filter();
told.message = rows().length;
find("filter").value = "";
find("status").value = ""; filter();
const head = [...find("list").tHead.rows[0].cells].find(cell => cell.textContent === "mR");
const place = head.cellIndex;
head.querySelector("button").click();
told.down = rows().map(row => parseFloat(row.cells[place].textContent));
told.sort = head.getAttribute("aria-sort");
head.querySelector("button").click();
told.up = rows().map(row => parseFloat(row.cells[place].textContent));
document.querySelector("#list button.none, #list tbody button").click();
const texts = selector =>
  [...find("boxbody").querySelectorAll(selector)].map(node => node.textContent);
told.open = find("box").open;
told.first = texts("tr td:first-child").slice(0, 6);
told.chapters = texts("h3");
told.numbers = texts("td:last-child");
told.json = find("boxbody").querySelector("a").getAttribute("href");
find("box").close();
const boxes = [...document.querySelectorAll("#list tbody input")];
told.before = find("differ").disabled;
const of = call => boxes.find(box => box.getAttribute("aria-label").startsWith(`mark ${call}, `));
of("cmer").click(); of("cmer(queue=0)").click();
find("differ").click();
const cells = row => [...row.cells].map(cell => cell.textContent);
told.differ = [...find("boxbody").querySelectorAll("tbody tr")].map(cells);
find("box").close();
of("lora").click();
const checked = () => boxes.filter(box => box.checked).map(box => box.ariaLabel.split(",")[0]);
told.third = checked(); find("clear").click();
told.cleared = [checked().length, find("differ").disabled, find("clear").disabled];
const [, first, , costs] = document.querySelectorAll("main table.sortable");
const sorted = name => {
  const at = [...costs.tHead.rows[0].cells].find(cell => cell.textContent === name);
  at.querySelector("button").click();
  return [...costs.tBodies[0].rows].map(row => row.cells[0].textContent);
};
told.trainable = sorted("trainable parameters");
told.memory = sorted("memory, MiB");
heads(first).find(cell => cell.textContent === "mR").querySelector("button").click();
told.best = first.tBodies[0].rows[0].cells[0].textContent;
told.wide = document.documentElement.scrollWidth - window.innerWidth;
const right = node => node.getBoundingClientRect().right;
const seen = (table, name) => right(heads(table).find(cell => cell.textContent.startsWith(name)))
  <= right(table.closest(".scroll")) + 1;
told.seen = [seen(first, "mR"), seen(find("list"), "mR"), seen(costs, "images/s / lora")];
told.title = document.title;
const shade = () => getComputedStyle(document.body).backgroundColor;
const was = shade(); find("theme").click(); told.theme = shade() !== was;
find("told").textContent = JSON.stringify(told);
</script></body>"""


@pytest.mark.parametrize("width", [1400, 400])
def test_in_a_browser(page: str, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium; on Debian: apt-get install chromium")
    file = tmp_path / "index.html"
    file.write_text(page.replace("</body>", CLICKS), encoding="utf-8")
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *(f"--window-size={width},900", "--virtual-time-budget=5000", "--dump-dom", file.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout)
    assert found
    assert found[1], done.stderr[-2000:]
    told: dict[str, Any] = json.loads(
        found[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")
    )
    assert told["all"] == 11
    assert told["filtered"] == ["cmer(queue=0)"] * 2
    assert told["failed"] == ["failed"]
    numbers = [value for value in told["down"] if value is not None]
    assert numbers == sorted(numbers, reverse=True)
    assert told["sort"] == "descending"
    assert told["down"][-1] is None  # a hole is last both ways
    assert told["up"] == [*reversed(numbers), None]
    assert told["shown"] == ["30 epochs", "0.001", "default recipe", "2026-01-01"]
    assert told["steps"] == 49  # not the epochs, which a time replaces
    assert told["untrained"] is None
    assert told["message"] == 0  # the hostile message is another one
    assert told["open"] is True
    assert told["first"] == ["method", "data set", "backbone", "seed", "status", "mR"]
    assert told["chapters"][:3] == ["recall on test", "settings", "recipe"]
    assert not [text for text in told["numbers"] if re.search(r"\d\.\d{7}", text)]  # rounded
    assert re.fullmatch(r"\.\./results/ucm/starter/[^/]+/seed\d-[0-9a-f]{8}\.json", told["json"])
    assert told["before"] is True
    differ = {row[0]: row[1:] for row in told["differ"]}
    assert differ["trial.call"] == ["cmer", "cmer(queue=0)"]
    assert differ["trial.settings.queue"] == ["2048", "0"]
    assert "trial.dataset" not in differ
    assert told["third"] == ["mark lora", "mark cmer(queue=0)"]  # in the order of the list
    assert told["cleared"] == [0, True, True]
    assert told["trainable"][2:5] == ["lora", "linear", "zeroshot"]  # 1.18 M, 524.8 k, 0
    assert told["memory"][0] == "lora"  # 4,300 after 22 and 900
    assert told["best"] == "cmer"
    assert told["wide"] <= 0
    assert told["seen"] == [True, True, width > 1000]  # mR on a phone, ratios on a desktop
    assert told["title"] == "cmer-bench report"
    assert told["theme"] is True

"""A picture sheet of a comparison: queries won and lost, with both models' nearest answers."""

from pathlib import Path

from PIL.Image import Image

from bench import UserError, perquery
from bench.data import spoken_form
from bench.trained import sheet
from bench.trained.compare import Comparison
from bench.trained.restore import restore
from bench.trained.retrieve import Searcher, set_text

EACH = 2
"""How many captions are shown of those won and of those lost; as many images."""
TOP = 5
"""Answers shown to each query."""


def draw(comparison: Comparison, record_a: Path, record_b: Path, root: Path) -> Image:
    """Queries whose rank changed by the largest factor, with both models' five nearest answers.

    Captions with their nearest images first, then images with their nearest captions; focus maps
    of a model that offers them. `root` is the data root. Raises UserError if weights or data
    are not there (see bench.trained.restore), if a model was given scenes when it was tested, or if
    no query is won or lost.
    """
    paths = (record_a, record_b)
    models = [Searcher(restore(path), root) for path in paths]
    for model in models:
        trial = model.restored.trial
        if trial.scene_at_test != "none":
            raise UserError(
                f"{trial.call_today} was tested with a scene beside each caption, so a search "
                "without scenes would show other answers; leave out --pictures"
            )
    ranks = [perquery.load(path).ranks for path in paths]
    rows, samples = models[0].rows, models[0].dataset.samples
    captions = [caption for row in rows for caption in samples[row].captions]

    def answer_sheet(letter: str, way: str, query: int, title: str) -> Image:
        n = "AB".index(letter)
        if way == "t2i":
            answer, shown = models[n].images_for(captions[query], TOP), set_text(captions[query])
            target, shown = "own image", f"“{shown}”"
        else:
            answer = models[n].captions_for(rows[query], TOP)
            target, shown = "best own caption", answer.query
        name = (comparison.a, comparison.b)[n]
        note = f"{letter}  {name}: rank {ranks[n][way][query]:g} of its {target}"
        heading = f"{title}{shown}" if title else ""
        return models[n].draw(answer, heading, [note], models[n].focus_maps(answer))

    sheets: list[Image] = []
    for way in ("t2i", "i2t"):
        for outcome, queries in (("won", comparison.won[way]), ("lost", comparison.lost[way])):
            # By ratio: a change from rank 20 to 2 counts as much as one from 10 to 1.
            factor = {query: ranks[0][way][query] / ranks[1][way][query] for query in queries}
            shown: set[str] = set()
            for query in sorted(queries, key=factor.__getitem__, reverse=outcome == "won"):
                key = spoken_form(captions[query]) if way == "t2i" else str(query)
                if key not in shown and len(shown) < EACH:  # several images may share a caption
                    shown.add(key)
                    sheets.append(answer_sheet("A", way, query, f"B {outcome}: "))
                    sheets.append(answer_sheet("B", way, query, ""))
    if not sheets:
        raise UserError("both rank every query alike, so there is none won or lost to draw")
    return sheet.stack(sheets)

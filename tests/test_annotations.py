"""Every annotation form in circulation gives the same samples; what was recognised is told."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench import UserError, data
from bench.data import annotations, scenes
from methods.base import Sample

SPLIT_OF = {
    **dict.fromkeys(("pond_0", "port_1", "pond_2", "port_3"), "train"),
    **{"pond_4": "val", "port_5": "test"},
}


def said(name: str) -> list[str]:
    return [f"picture {name} , version {k} ." for k in range(5)]


def dump(folder: Path, document: object, name: str = "d.json") -> str:
    (folder / name).write_text(json.dumps(document))
    return name


def karpathy(folder: Path, labels: bool = False) -> str:
    images = [
        {"filename": f"{n}.tif", "split": split, "sentences": [{"raw": c} for c in said(n)]}
        | ({"label": n[:4]} if labels else {})
        for n, split in SPLIT_OF.items()
    ]
    return dump(folder, {"images": images})


def labelled(folder: Path) -> str:
    return karpathy(folder, labels=True)


def rows(folder: Path) -> str:
    """As published: one entry per caption in train, one per image in val and test."""
    for split in data.SPLITS:
        names = [n for n in SPLIT_OF if SPLIT_OF[n] == split]
        entries: list[dict[str, Any]] = [
            {"image": f"{split}/{n}.tif", "caption": said(n)} for n in names
        ]
        if split == "train":
            entries = [
                entry | {"caption": c, "label_name": "x"}
                for entry in entries
                for c in entry["caption"]
            ]
        dump(folder, entries, f"d_{split}.json")
    return "d_{split}.json"


def precomp(folder: Path) -> str:
    for split in data.SPLITS:
        names = [n for n in SPLIT_OF if SPLIT_OF[n] == split]
        lines = [f"{n}.tif\n" for n in names for _ in range(5 if split == "test" else 1)]
        (folder / f"{split}_filename.txt").write_text("".join(lines))
        captions = "".join(f"{c}\r\n" for n in names for c in said(n))
        (folder / f"{split}_caps.txt").write_text(captions, newline="")
    return ""


def comma(folder: Path) -> str:
    for split in data.SPLITS:
        names = [n for n in SPLIT_OF if SPLIT_OF[n] == split]
        lines = [f'/home/x/{split}/{n}.tif,"{c}"' for n in names for c in said(n)]
        (folder / f"d_{split}.csv").write_text("\n".join(["filename,title", *lines]))
    return "d_{split}.csv"


def tab(folder: Path) -> str:
    lines = [f"{split}/{n}.tif\t{c}" for n, split in SPLIT_OF.items() for c in said(n)]
    (folder / "d.tsv").write_text("\n".join(["filepath\ttitle", *lines, ""]))
    return "d.tsv"


def nwpu(folder: Path) -> str:
    document: dict[str, list[dict[str, str]]] = {"pond_place": [], "port_place": []}
    keys = ("raw", "raw_1", "raw_2", "raw_3", "raw_4")
    for n, split in SPLIT_OF.items():
        entry = {"filename": f"{n}.tif", "split": split, **dict(zip(keys, said(n), strict=True))}
        document[f"{n[:4]}_place"].append(entry)
    return dump(folder, document)


def coco(folder: Path) -> str:
    images = [
        {"id": row, "file_name": f"{n}.tif", "split": split}
        for row, (n, split) in enumerate(SPLIT_OF.items())
    ]
    texts = [
        {"image_id": i, "id": 9, "caption": c} for i, n in enumerate(SPLIT_OF) for c in said(n)
    ]
    return dump(folder, {"images": images, "annotations": texts})


WRITERS: list[tuple[str, Callable[[Path], str]]] = [
    ("karpathy", karpathy),
    ("karpathy", labelled),
    ("rows", rows),
    ("precomp", precomp),
    ("csv", comma),
    ("csv", tab),
    ("nwpu", nwpu),
    ("coco", coco),
]


def make(root: Path, kind: str, annotation: str, rule: str = "none", test: str = "") -> data.Card:
    """A card `d` with images beside its annotation."""
    images = root / "d" / "images"
    images.mkdir(exist_ok=True)
    for name in SPLIT_OF:
        Image.new("RGB", (8, 8)).save(images / f"{name}.png")
    text = f'kind = "{kind}"\nimages = "images"\n[counts]\ntrain = 4\nval = 1\ntest = 1\n'
    text += f'[scenes]\nrule = "{rule}"\n[test]\n{test}'
    if annotation:
        text = f'annotation = "{annotation}"\n{text}'
    (root / "d.toml").write_text(text)
    return data.card(str(root / "d.toml"))


@pytest.mark.parametrize(("kind", "write"), WRITERS, ids=[w.__name__ for _, w in WRITERS])
@pytest.mark.parametrize("stated", ["kind", "auto", "nothing"])
def test_every_form_gives_the_same_samples(
    tmp_path: Path, kind: str, write: Callable[[Path], str], stated: str
) -> None:
    (tmp_path / "d").mkdir()
    annotation = write(tmp_path / "d")
    card = make(
        tmp_path, kind if stated == "kind" else "auto", "" if stated == "nothing" else annotation
    )
    dataset = data.load(card, tmp_path)
    found = {(Path(s.filename).stem, s.split): list(s.captions) for s in dataset.samples}
    assert found == {(n, split): said(n) for n, split in SPLIT_OF.items()}
    told = f"the annotation was recognised as {kind}" in dataset.notes
    assert told == (stated != "kind")
    assert all(path is not None and path.exists() for path in dataset.paths)


@pytest.mark.parametrize(
    ("write", "rule", "expected"),
    [
        (karpathy, "filename", ["pond", "port"]),
        (labelled, "none", ["pond", "port"]),
        (nwpu, "none", ["pond place", "port place"]),
        (karpathy, "none", []),
    ],
)
def test_scenes_come_from_labels_classes_or_file_names(
    tmp_path: Path, write: Callable[[Path], str], rule: str, expected: list[str]
) -> None:
    (tmp_path / "d").mkdir()
    card = make(tmp_path, "auto", write(tmp_path / "d"), rule)
    assert data.load(card, tmp_path).scenes == expected


def test_what_is_read_is_told_through_a_card(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    card = make(tmp_path, "auto", karpathy(tmp_path / "d"), 'files"\nfolder = "nowhere')
    dataset = data.load(card, tmp_path)
    assert any(
        "nowhere is missing: scenes by the file names, where possible" in note
        for note in dataset.notes
    )
    by_name = data.load(make(tmp_path, "auto", karpathy(tmp_path / "d"), "filename"), tmp_path)
    assert dataset.scenes == by_name.scenes


def test_lists_of_scenes_may_be_named_as_rsicds_are(tmp_path: Path) -> None:
    (tmp_path / "d/lists").mkdir(parents=True)
    card = make(tmp_path, "auto", karpathy(tmp_path / "d"), 'files"\nfolder = "lists')
    samples, _ = data.read(card, tmp_path)
    (tmp_path / "d/lists/SparseResidential.txt").write_text(f"{samples[0].filename}\n")
    (tmp_path / "d/lists/storage tanks.txt").write_text(f"{samples[1].filename}\n")
    scenes_ = [s.scene for s in data.read(card, tmp_path)[0]]
    assert scenes_[:3] == ["sparse residential", "storage tanks", None]


def test_a_card_without_the_hash_of_the_test_set_says_so(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    written = karpathy(tmp_path / "d")
    open_card = make(tmp_path, "karpathy", written)
    assert any("pins no hash" in note for note in data.load(open_card, tmp_path).notes)
    pinned = make(
        tmp_path, "karpathy", written, test=f'filenames_sha256 = "{data.short_hash("port_5")}"'
    )
    assert not any("pins no hash" in note for note in data.load(pinned, tmp_path).notes)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes("filename,title\ntest/a.tif,a café\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"d\.csv is not UTF-8 text \(from byte 31 on\); save it"):
        annotations.read("csv", tmp_path, "d.csv")


def test_text_of_excel_and_windows(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes("filename\ttitle\r\ntest/a.tif\ta café\r\n".encode("utf-16"))
    assert annotations.read("csv", tmp_path, "d.txt").samples[0].captions == ("a café",)
    text = '[{"image": "test/a.tif", "caption": "一座桥"}]'
    (tmp_path / "d.json").write_text(text, encoding="utf-8-sig")
    assert annotations.read("rows", tmp_path, "d.json").samples[0].captions == ("一座桥",)


def test_a_json_whose_lines_all_begin_with_a_brace_is_no_json_lines(tmp_path: Path) -> None:
    entries = [{"image": f"{split}/a.tif", "caption": "a bridge"} for split in data.SPLITS]
    (tmp_path / "d.json").write_text("\n".join(map(json.dumps, entries)))
    assert len(annotations.read("rows", tmp_path, "d.json").samples) == 3
    karpathy(tmp_path)
    text = (tmp_path / "d.json").read_text().replace(', {"filename"', ',\n{"filename"')
    (tmp_path / "d.json").write_text(text.replace("[{", "[\n{", 1))
    assert all(line.startswith("{") for line in (tmp_path / "d.json").read_text().splitlines())
    assert annotations.read("auto", tmp_path, "d.json").kind == "karpathy"


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.tif"}, {"id": "x", "file_name": "b.tif"}],
    "annotations": [
        {"image_id": "x", "caption": " c "},
        {"image_id": 1, "caption": "d"},
        {"image_id": "x", "caption": "e"},
    ],
}


def test_coco_with_a_file_for_each_split(tmp_path: Path) -> None:
    dump(tmp_path, COCO, "captions_val.json")
    found = annotations.read("auto", tmp_path).samples
    assert found == [Sample("a.tif", ("d",), "val"), Sample("b.tif", ("c", "e"), "val")]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, r"images\[0\]: nothing says in which split it is; add a column `split`"),
        ({"annotations": COCO["annotations"][:1]}, r"nothing says in which split"),
        (
            {"images": [{"id": 1, "file_name": "test/a.tif"}]},
            "1 images of 'annotations' are not in",
        ),
        (
            {"images": [{"id": None, "file_name": "test/a.tif"}]},
            r"images\[0\]: the id is null, not a number or a text",
        ),
        ({"annotations": [{"image_id": 1}]}, r"annotations\[0\]: 'caption' is missing"),
        (
            {"images": [{"id": 2, "file_name": "test/a.tif"}], "annotations": []},
            r"the image 'test/a\.tif' has no caption",
        ),
    ],
)
def test_coco_that_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    dump(tmp_path, COCO | change)
    with pytest.raises(UserError, match=says):
        annotations.read("auto", tmp_path)


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    for kind, file, lacking in (
        ("karpathy", "d.json", "d.json"),
        ("rows", "d_{split}.json", "d_train.json"),
        ("precomp", None, "train_caps.txt"),
    ):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(annotations.Absent) as caught:
                annotations.read(kind, folder, file)
            assert caught.value.args == (folder / lacking,)
    with pytest.raises(
        UserError, match=r"the kind 'voc' is unknown \(did you mean 'coco'\?\); kno"
    ):
        annotations.read("voc", tmp_path)


def test_a_stated_annotation_wins_over_precomp_files_beside_it(tmp_path: Path) -> None:
    precomp(tmp_path)
    assert annotations.read("auto", tmp_path, karpathy(tmp_path)).kind == "karpathy"
    assert annotations.read("auto", tmp_path).kind == "precomp"
    for split in ("train", "val"):
        (tmp_path / f"{split}_caps.txt").unlink()
    assert [s.split for s in annotations.read("auto", tmp_path).samples] == ["test"]


@pytest.mark.parametrize("name", ["trainings.csv", "train_test_split.csv"])
def test_a_file_is_of_one_split_if_a_word_of_its_name_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("filename,title\ntest/a.tif,x\n")
    assert annotations.read("auto", tmp_path).samples[0].split == "test"


@pytest.mark.parametrize(
    ("entry", "split", "scene"),
    [
        ({"split": "Validation", "label": 7}, "val", "7"),
        ({"split": "VALID", "label": "pond", "label_name": "port"}, "val", "port"),
        ({"split": "val", "label": 7.0}, "val", "7"),
        ({"split": " test ", "label": ""}, "test", None),
        ({"split": "test", "label": float("nan"), "label_name": "None"}, "test", None),
    ],
)
def test_names_of_splits_and_labels(
    tmp_path: Path, entry: dict[str, Any], split: str, scene: str | None
) -> None:
    image = {"filename": "a.tif", "sentences": [{"raw": " x "}], **entry}
    dump(tmp_path, {"images": [image]})
    expected = Sample("a.tif", ("x",), split, scene)
    assert annotations.read("karpathy", tmp_path, "d.json").samples == [expected]


@pytest.mark.parametrize(
    ("captions", "names", "said"),
    [
        (9, ["a", "b"], "has 9 lines for 2 images"),
        (4, list("aaaa"), "has 4 lines for 4 images"),
        (10, list("aaaabbbbbb"), "do not name each image five times in a row"),
    ],
)
def test_precomp_files_that_do_not_fit(
    tmp_path: Path, captions: int, names: list[str], said: str
) -> None:
    (tmp_path / "train_caps.txt").write_text("x\n" * captions)
    (tmp_path / "train_filename.txt").write_text("\n".join(names))
    with pytest.raises(UserError, match=said):
        annotations.read("precomp", tmp_path)


def test_two_possible_annotations_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(UserError, match=r"found: a\.json, b\.json; state `annotation`"):
        annotations.read("auto", tmp_path)


def test_blank_lines_of_the_precomp_form_stay_captions(tmp_path: Path) -> None:
    (tmp_path / "train_caps.txt").write_text("\n" * 5 + "a\n" * 5)
    (tmp_path / "train_filename.txt").write_text("x.tif\ny.tif")
    captions = [s.captions for s in annotations.read("precomp", tmp_path).samples]
    assert captions == [("",) * 5, ("a",) * 5]


def test_scenes_by_number(tmp_path: Path) -> None:
    names = ["harbor", "river_bank"]
    blocks = {"rule": "blocks", "size": 2, "names": names, "words": {"harbor": "port"}}
    named = scenes.rule_of("d", blocks, tmp_path, [])
    found = [named(Sample(f"{n}.tif", ("a",), "train")) for n in (1, 2, 3, 4)]
    assert found == ["port", "port", "river bank", "river bank"]
    for wrong in ("0.tif", "5.tif", "x.tif"):
        with pytest.raises(UserError, match=f"'{wrong}' is not numbered from 1 to 4"):
            named(Sample(wrong, ("a",), "train"))


def test_a_scene_is_guessed_from_labels_or_names() -> None:
    named = [Sample(f"{'pond' if i % 2 else 'port'}_{i}.tif", ("a",), "train") for i in range(20)]
    assert scenes.guess(named) == ("filename", {"port": 10, "pond": 10})
    numbers = [Sample(f"{i}.tif", ("a",), "train") for i in range(20)]
    assert scenes.guess(numbers) == ("none", {})
    labels = [Sample(f"{i}.tif", ("a",), "train", "pond") for i in range(20)]
    assert scenes.guess(labels) == ("none", {"pond": 20})
    most = [replace(sample, scene="lake") for sample in named[:18]]
    assert scenes.guess([*most, *named[18:]]) == ("none", {"lake": 18})
    assert scenes.guess([*most[:17], *named[17:]]) == ("filename", {"port": 10, "pond": 10})
    some = [*named, *numbers[:2]]
    assert scenes.guess(some) == ("filename", {"port": 10, "pond": 10})
    assert scenes.guess([*named, *numbers[:3]]) == ("none", {})
    named_by = {"rule": "filename", "words": {"port": "a harbour"}}
    rule = scenes.rule_of("d", named_by, Path(), [])
    assert [rule(s) for s in some[:2] + some[-2:]] == ["a harbour", "pond", None, None]


@pytest.mark.real_data
def test_the_precomp_form_of_rsitmd(real_data: Path) -> None:
    samples = annotations.read("auto", real_data / "formats" / "rsitmd_precomp").samples
    published = annotations.read("karpathy", real_data / "rsitmd", "dataset_RSITMD.json").samples
    assert {(s.filename, s.split) for s in samples} == {(s.filename, s.split) for s in published}
    blank = {Path(s.filename).stem for s in samples if not any(s.captions)}
    known = {"mountain_2378", "railwaystation_3254", "storagetanks_4367", "viaduct_4635"}
    assert blank == known
    assert (
        data.names_hash([s for s in samples if s.split == "test"]) == data.card("rsitmd").test_hash
    )

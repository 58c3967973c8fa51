"""Names of backbones: the table of names.toml, how a name becomes a spec, and architectures."""

import functools
import importlib.util
import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from bench import UserError
from bench.backbone.starter import STARTER
from bench.spec import nearest, portable

TABLE = Path(__file__).with_name("names.toml")
QUICK = "-quickgelu"
"""The ending of open_clip's names for the variant of an architecture with QuickGELU."""


class Published(TypedDict):
    """Which rows of published_numbers.csv are a backbone's zero-shot results."""

    backbone: str
    methods: list[str]


@dataclass(frozen=True)
class NamedBackbone:
    """A backbone of the table; names.toml says what the fields mean.

    Weights are either a `tag` of open_clip, which it finds in `repo`, or a file of the Hub: `repo`,
    `file` and `revision`.
    """

    name: str
    architecture: str
    megabytes: int
    licence: str
    brief: str
    trained_on: str
    activation: str
    datasets: list[str]
    links: list[str]
    tag: str = ""
    repo: str = ""
    file: str = ""
    revision: str = ""
    sha256: str = ""
    published: Published | None = None

    @property
    def weights(self) -> str:
        """The weights as in a spec: a tag, or `hf:OWNER/REPO/FILE@REVISION`."""
        return self.tag or f"hf:{self.repo}/{self.file}@{self.revision}"

    @property
    def activation_name(self) -> str:
        """GELU or QuickGELU."""
        return "QuickGELU" if self.architecture.endswith(QUICK) else "GELU"

    @property
    def spec(self) -> str:
        """The long spelling, which records carry: `ViT-B-32-quickgelu:openai`."""
        return self.name if self.name == "starter" else f"{self.architecture}:{self.weights}"


@functools.cache
def table() -> dict[str, NamedBackbone]:
    """The named backbones, in the order of names.toml."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {name: NamedBackbone(name=name, **row) for name, row in rows.items()}


def likely(word: str) -> str:
    """` (did you mean 'x'?)`, or nothing. Of names that begin with the word, the first is meant.

    The table names the usual model of a family first: `openai` is most likely openai-b32.
    """
    family = [name for name in table() if word and name.startswith(word.casefold())]
    return f" (did you mean {family[0]!r}?)" if family else nearest(word, table())


def expand(spec: str) -> str:
    """A backbone's full spec: `openai-b32` -> `ViT-B-32-quickgelu:openai`.

    A name before a colon stands for its architecture: `remoteclip-b32:mine.pt` is a file of weights
    for RemoteCLIP's architecture. `~` becomes the home folder. Other specs are returned unchanged.
    Raises UserError for a word that is neither a name nor a spec.
    """
    known = table()
    if spec in known:
        return known[spec].spec
    name, colon, weights = spec.partition(":")
    # Shells do not expand `~` after a colon. Path.expanduser would raise for an unknown user.
    weights = os.path.expanduser(weights)  # noqa: PTH111
    spec = f"{name}{colon}{weights}"
    if spec.startswith("hf-hub:") and not re.fullmatch(
        r"hf-hub:[\w.-]+(/[\w.-]+)?(@[\w./-]+)?", spec
    ):
        raise UserError(f"{spec!r} names no repository on the Hub; write hf-hub:OWNER/REPO")
    if spec == "local-dir:":
        raise UserError(f"{spec!r} names no folder; write local-dir:FOLDER")
    if colon and not name.strip():
        raise UserError(
            f"{spec!r} names no architecture; write ARCHITECTURE:WEIGHTS, for instance "
            "ViT-B-32:mine.pt"
        )
    if not weights and (colon or _config_file(name).is_file()):
        raise UserError(
            f"the backbone {spec!r} names no weights; write {name}:TAG with a tag of open_clip, "
            f"{name}:FILE, {name}:hf:OWNER/REPO/FILE@REVISION, or {name}:none for random weights"
        )
    if not colon:
        raise UserError(
            f"no backbone is called {spec!r}{likely(spec)}; `bench backbones` lists the names, and "
            "any other is written ARCHITECTURE:WEIGHTS, for instance ViT-B-32:mine.pt"
        )
    if name == "hf":
        raise UserError(f"{spec!r} names no architecture; write for instance ViT-B-32:{spec}")
    return f"{known[name].architecture}:{weights}" if name in known else spec


def known_weights(spec: str, sha256: str | None = None) -> NamedBackbone | None:
    """The table's row for a spec's weights; None if there is none.

    A row matches if it has the same architecture, whatever the activation, and the same tag or file
    name, or if it has the SHA-256 of the file.
    """
    if spec in table():
        return table()[spec]
    wanted = _without_activation(portable(spec))
    for row in table().values():
        same = _without_activation(portable(row.spec)) == wanted
        if same or (sha256 is not None and row.sha256 == sha256):
            return row
    return None


def other_activation(spec: str) -> str:
    """The same weights in the architecture with the other activation, by open_clip's naming."""
    name, colon, weights = spec.partition(":")
    other = name.removesuffix(QUICK) if name.endswith(QUICK) else name + QUICK
    return f"{other}{colon}{weights}"


def _without_activation(spec: str) -> str:
    return other_activation(spec) if spec.partition(":")[0].endswith(QUICK) else spec


def exactly(name: str, weights: str) -> NamedBackbone | None:
    """The table's row of exactly this architecture and these weights; None without one."""
    rows = (row for row in table().values() if (row.architecture, row.weights) == (name, weights))
    return next(rows, None)


def architecture(name: str) -> dict[str, Any] | None:
    """open_clip's config of an architecture, also of one added to it; None if there is none.

    If possible it is read without importing open_clip, which takes seconds.
    """
    path = STARTER / "starter.json" if name == "starter" else _config_file(name)
    if path.is_file():
        config: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8"))
    else:
        import open_clip

        config = open_clip.get_model_config(name)
    return config


def no_architecture(name: str) -> UserError:
    """The error for an architecture that open_clip does not have."""
    import open_clip

    return UserError(
        f"open_clip has no model {name!r}{nearest(name, open_clip.list_models())}; `bench "
        "backbones` lists backbones by name, and any other is written ARCHITECTURE:WEIGHTS, for "
        "instance ViT-B-32:mine.pt"
    )


def _config_file(name: str) -> Path:
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "model_configs" / f"{name}.json"

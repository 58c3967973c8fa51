"""What to tell the user where weights are neither here nor downloadable."""

from pathlib import Path

from bench import UserError, hub
from bench.backbone.names import expand, known_weights
from bench.backbone.spec import FOREIGN, split_spec


class Absent(UserError):
    """Weights that are not on this machine and cannot be downloaded."""


def absent(spec: str, why: str) -> str:
    """The message for weights that are not available, with the alternatives."""
    name, weights = split_spec(spec)
    known = known_weights(spec)
    short = known.name if known is not None and known.spec == expand(spec) else spec
    what = f"the weights {weights!r} of {name}" if weights else f"the weights of {name}"
    if weights.startswith("hf:"):
        what = f"the weights {hub.of_weights(weights)}"
    size = f"{known.megabytes:,} MB -> " if known is not None else ""
    cache = f"{size}{tilde(hub.cache_folder())}"
    rows = [
        ("With a connection (a login node), once:", f"bench backbones fetch {short}", cache),
        ("With a file that you have:", f"--backbone {name}:/path/to/weights.pt", ""),
        ("To try the machine without these weights:", "--backbone starter", "small, works offline"),
        ("", f"--backbone {name}:none", "memory and speed only"),
    ]
    if name.startswith(FOREIGN):  # such a name takes no other weights
        rows = rows[::2]
    width = max(len(command) for _, command, comment in rows if comment)
    lines = [f"{what} are not on this machine and cannot be downloaded ({why}).", ""]
    for head, command, comment in rows:
        lines += [f"  {head}"] if head else []
        lines.append(f"      {command:<{width}}  # {comment}" if comment else f"      {command}")
    lines.append("  Another place for the cache: HF_HOME=/scratch/hf")
    return "\n".join(lines)


def tilde(path: Path) -> str:
    """A path with ~ for the home folder."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # elsewhere, or no home
        return str(path)

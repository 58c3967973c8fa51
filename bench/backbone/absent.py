"""What to tell the user if weights are neither here nor can be downloaded."""

from bench import UserError, hub
from bench.backbone.names import expand, known_weights
from bench.backbone.spec import split_spec
from bench.console import tilde


class Absent(UserError):
    """Weights that are not on this machine and cannot be downloaded."""


def absent(spec: str, why: str) -> str:
    """The message for weights that are not available, with the alternatives."""
    parts = split_spec(spec)
    name, weights = parts
    known = known_weights(spec)
    short = known.name if known is not None and known.spec == expand(spec) else spec
    what = f"the weights {weights!r} of {name}" if weights else f"the weights of {name}"
    if parts.is_on_hub:
        what = f"the weights {hub.of_weights(weights)}"
    size = f"{known.megabytes:,} MB -> " if known is not None else ""
    ways = [
        (
            "With a connection (a login node), once:",
            f"bench backbones fetch {short}",
            f"{size}{tilde(hub.cache_folder())}",
        ),
        ("With a file that you have:", f"--backbone {name}:/path/to/weights.pt", ""),
        ("To try the machine without these weights:", "--backbone starter", "small, works offline"),
        ("", f"--backbone {name}:none", "memory and speed only"),
    ]
    if parts.has_config:  # such a name takes no other weights
        ways = ways[::2]
    width = max(len(command) for _, command, comment in ways if comment)
    lines = [f"{what} are not on this machine and cannot be downloaded ({why}).", ""]
    for head, command, comment in ways:
        lines += [f"  {head}"] if head else []
        lines.append(f"      {command:<{width}}  # {comment}" if comment else f"      {command}")
    lines.append("  Another place for the cache: HF_HOME=/scratch/hf")
    return "\n".join(lines)

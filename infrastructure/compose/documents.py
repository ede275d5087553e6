"""What lies in this folder but is made from the code: `python -m infrastructure.docs compose` writes it anew."""

from pathlib import Path

from infrastructure.compose import dotenv, nats

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER / "env.example"
NATS = FOLDER / "nats.conf"


def render() -> dict[Path, str]:
    """The files, by their paths."""
    return {EXAMPLE: dotenv.example(), NATS: nats.render()}

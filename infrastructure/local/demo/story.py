"""The main job: from an operator's sign-in to a verified log, each step printed and checked."""

import sys

from infrastructure.local import lifecycle
from infrastructure.local.demo import deletion, people, platform, selling
from infrastructure.local.demo.stage import Stage, StepFailed
from infrastructure.local.demo.transfer import transfer
from infrastructure.local.errors import Obstacle
from infrastructure.local.place import Place


def tell(stage: Stage) -> None:
    """Run every step; raises StepFailed at the first that fails."""
    selling.sell(stage)
    selling.provision(stage)
    selling.bill(stage)
    people.invite_and_sign_in(stage)
    people.suspend_and_resume(stage)
    transfer(stage)
    deletion.delete_and_restore(stage)
    due = deletion.delete(stage)
    platform.flag(stage)
    deletion.erase(stage, due)
    platform.end_partners(stage)
    platform.audit(stage)


def main() -> int:
    """Tell the story on the fleet that runs; 0 if every step held, 1 if one did not, 2 without a fleet."""
    try:
        place = Place.from_environment()
        if lifecycle.running(place) is None:
            raise Obstacle("The fleet is not running", "Run `make up` first")
        stage = Stage(place, lifecycle.credentials_of(place))
        try:
            tell(stage)
        finally:
            stage.close()
    except Obstacle as obstacle:
        print(obstacle, file=sys.stderr)
        return 2
    except (StepFailed, AssertionError) as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        return 1
    print("Every step held.")
    return 0

"""Who coaches and who decides: two panels without a common member."""

from duel.errors import SettingsError
from duel.records import RULE
from duel.settings import Settings

STAND_IN = "offline-stand-in/"


def panels(settings: Settings) -> tuple[list[str], list[str]]:
    """(coaches, held-out judges). Raises SettingsError where nobody is left to decide, or a coach has not judged."""
    panel = settings.judge.models
    coaches, held_out = settings.refine.judges, settings.refine.held_out
    models = [model for model in panel if not model.startswith(RULE)]
    if all(model.startswith(STAND_IN) for model in panel):  # offline no other judge is there
        coaches, held_out = ([m for m in named if m.startswith(STAND_IN)] for named in (coaches, held_out))
    held_out = held_out or ([m for m in panel if m not in coaches] if coaches else models[-1:])
    coaches = coaches or [model for model in panel if model not in held_out]
    if not held_out or not coaches:
        hint = "name a further model in `held_out`"
        raise SettingsError("no judge is left over", where="[refine]", value=f"{len(panel)} in the panel", hint=hint)
    if both := set(coaches) & set(held_out):
        hint = "a judge whose reasons the writer has read is no judge of what it wrote"
        raise SettingsError("a judge both coaches and decides", where="[refine]", value=", ".join(both), hint=hint)
    if others := [model for model in coaches if model not in panel]:
        hint = "coaches are judges of the panel: their reasons are in score/ already"
        raise SettingsError("a coach has not judged", where="[refine] judges", value=", ".join(others), hint=hint)
    return coaches, held_out


def coaching(settings: Settings) -> Settings:
    """The settings of a panel of the coaches alone."""
    return settings.with_keys(judge={"strategy": "full", "models": panels(settings)[0]})


def deciding(settings: Settings) -> Settings:
    """The settings of the held-out panel: every one of its votes must be there."""
    held_out = panels(settings)[1]
    return settings.with_keys(judge={"strategy": "full", "models": held_out, "quorum": len(held_out)})

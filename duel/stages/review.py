"""Let people vote blind on drawn turns, and say what their votes make of the panel.

    duel review --count 200         open the page on loopback; votes are saved as they come, what was drawn stays
    duel review --page ana.html     the page as one file, to hand to a colleague …
    duel review --take votes.jsonl  … and the votes that come back; twice is the same as once

reads   answer_*/, score/
writes  review/draws.jsonl, review/votes.jsonl; `duel validate --regate` then puts people beside the verdict
"""

import contextlib
import getpass
import re
import time
import webbrowser
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from duel.bookkeeping import NAMED_AT_MOST, Result
from duel.command import say
from duel.errors import EXIT_FINISHED, EXIT_OPEN, ItemError, SettingsError, UserError, printable
from duel.judging import rubric
from duel.placement import obstacle
from duel.records import Score
from duel.records.votes import RATER_NAME, STAND_IN, People
from duel.reporting import wording
from duel.review import ballots, review_server
from duel.review.calibration import calibrate
from duel.settings import Settings
from duel.stages.opening import opened, taken_by
from duel.workspace import Workspace

COUNT = 100
LEADS = ("10", "5", "1")


def run(
    workspace: Workspace,
    settings: Settings,
    *,
    rater: str = "",
    count: int = COUNT,
    page: Path | None = None,
    take: Path | None = None,
    browse: Sequence[str] = (),
    offline: bool = False,
    port: int | None = None,
    until: Callable[[str], None] | None = None,
) -> Result:
    """Draw, then write `page`, take the votes of a file, or let the stand-ins vote; `found` is `People`.

    With `until` the rater votes on a page on loopback, whose address it is handed, until it returns; without any of
    these nothing is voted. Raises UserError where there are no judged turns.
    """
    scores, secret = judged(workspace, settings), workspace.secret()
    damage: list[ItemError] = []
    for name in ballots.STAND_INS if offline else ():
        shown = drawn_for(name, count, (), workspace, settings, scores)
        casts = ballots.stand_in_casts(shown, {score.file: score for score in scores})
        ballots.take_votes(workspace, shown, casts)
    if take is not None:
        try:
            lines = [line for line in take.read_bytes().splitlines() if line.strip()]
        except OSError as error:
            raise UserError("cannot read the votes", where=take, value=error.strerror) from None
        shown = with_texts(workspace, settings, ballots.read_showings(workspace, damage))
        taken = ballots.take_votes(workspace, shown, lines)
        counts = f"{taken.new:,} new, {taken.there_before:,} there before, {len(taken.set_aside):,} set aside"
        say(f"{printable(take)}: {counts}")
        say_refused(taken)
    elif page is not None or until is not None:
        shown = drawn_for(rater, count, browse, workspace, settings, scores)

        def made(post: str = "") -> bytes:
            saved, asked = ballots.read_votes(workspace, []), settings.judge.dimensions
            return review_server.page(shown, saved, rater, asked, secret, post)

        if page is not None:
            workspace.save(page, made())
            say(f"{len(shown):,} pairs for {rater}: {page}")
            say("hand the file over; what comes back is taken with `duel review --take FILE`")
        elif until is not None:

            def taken_in(rows: Sequence[object]) -> ballots.Taken:
                taken = ballots.take_votes(workspace, shown, rows)
                say_refused(taken)
                return taken

            with review_server.serving(taken_in, made, rater, port, secret) as address:
                until(address)
    return Result("review", EXIT_OPEN if damage else EXIT_FINISHED, people_of(workspace, settings, scores))


def judged(workspace: Workspace, settings: Settings) -> list[Score]:
    """The turns that may be drawn: those that the gate counts, whose score is on the texts that are there now."""
    scores = {path.stem: score for path, score in workspace.scores([]) if score.parsed}
    found = []
    for path, answer in workspace.answers([]) if scores else ():
        score = scores.get(path.stem)
        if score is None or score.mode != settings.duel.mode or obstacle(answer.audit("challenger"), settings):
            continue
        texts = rubric.fingerprint(rubric.pair_of(score.file, answer, score.mode, settings.judge.observed))
        if score.made_with.get("candidates", texts) == texts:
            found.append(score)
    if not found:
        raise UserError("there are no judged turns", where=workspace.root / "score", hint="run validate.py first")
    return found


def drawn_for(
    rater: str, count: int, browse: Sequence[str], workspace: Workspace, settings: Settings, scores: Sequence[Score]
) -> list[ballots.Ballot]:
    """The ballots of `rater`; what is not drawn yet is drawn, and kept before anyone sees it."""
    turns = {score.file: score.instance_id for score in scores}
    if unknown := [name for name in browse if workspace.find_answer(name) is None]:
        raise UserError("there is no such turn", where=workspace.root, value=unknown[0], hint="name an answer's file")
    with workspace.lock("review", "duel review"):
        earlier = ballots.read_showings(workspace, [])
        fresh = ballots.browse_for(rater, browse, earlier)
        fresh += ballots.draw_for(rater, count, settings.duel.seed, turns, earlier)
        ballots.add_showings(workspace, fresh)
    return with_texts(workspace, settings, [showing for showing in (*earlier, *fresh) if showing.rater == rater])


def with_texts(workspace: Workspace, settings: Settings, chosen: Sequence[ballots.Showing]) -> list[ballots.Ballot]:
    """The showings with their texts; a turn that is gone, or cannot be read, is said to be so."""
    secret, damage = workspace.secret(), list[ItemError]()
    stems = dict.fromkeys(showing.item for showing in chosen)
    answers = {path.stem: answer for path, answer in workspace.answers_of(stems, damage)}
    for error in damage:
        say(f"damaged and left out: {error}")
    return [ballots.Ballot(one, answers[one.item], settings, secret) for one in chosen if one.item in answers]


def people_of(workspace: Workspace, settings: Settings, scores: Sequence[Score]) -> People:
    damage: list[ItemError] = []
    votes = ballots.read_votes(workspace, damage)
    for error in damage[:NAMED_AT_MOST]:
        say(f"damaged and left out: {error}")
    return calibrate(scores, votes, settings)


def say_refused(taken: ballots.Taken) -> None:
    for name, why in taken.set_aside[:NAMED_AT_MOST]:
        say(f"  set aside: {printable(name)}: {printable(why)}")
    if len(taken.set_aside) > NAMED_AT_MOST:
        say(f"  and {len(taken.set_aside) - NAMED_AT_MOST:,} more")


def say_people(people: People) -> None:
    if not people.labels:
        say("nobody has voted yet")
        return
    say(f"{people.labels:,} labeled turns in {people.clusters:,} pull requests, {people.scope}")
    bound = wording.delta_points(people.lcb)
    decided = wording.known("people_decision")[people.decision]
    say(f"margin by people {wording.points(people.margin)}, at least {bound}: {decided}")
    bias = f"{wording.signed(people.bias, 1)} ± {wording.plain(people.bias_error, 1)} points"
    say(f"the panel is kinder than people by {bias} (95 % interval)")


def main(arguments: Namespace) -> int:
    arguments.rater = rater = arguments.rater or account()
    if not RATER_NAME.fullmatch(rater) or (rater.startswith(STAND_IN) and not arguments.offline):
        raise SettingsError("this is no name for a rater", where="--rater", value=rater, hint="letters, digits, . _ -")
    workspace, settings = opened(arguments)
    if not (arguments.page or arguments.take or arguments.figures or arguments.offline):

        def until(address: str) -> None:
            say(f"{rater} votes at {address}\nCtrl-C ends it; every vote is saved as it comes")
            if arguments.open:
                webbrowser.open(address)
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
            say()

        arguments.until = until
        say_labels_needed(people_of(workspace, settings, judged(workspace, settings)), settings)
    result = run(workspace, settings, **taken_by(run, arguments))
    say_people(result.found)
    if arguments.json:
        print(result.found.model_dump_json(indent=2))
    return result.exit_code


def say_labels_needed(people: People, settings: Settings) -> None:
    needed = ", ".join(f"{people.labels_needed[lead]:,} labels a lead of {lead}" for lead in LEADS)
    say(f"with a chance of 80 % and in score points: {needed}; under {settings.review.labels_min} nothing is decided")


def account() -> str:
    try:
        return re.sub(r"[^A-Za-z0-9._-]", "", getpass.getuser()).lstrip("._-") or "me"
    except (KeyError, OSError):
        return "me"

"""From a session to a trajectory in the dataset's shape: one reply, one thought, one bash block, one observation.

Every tool call becomes a turn of its own; calls that were made in parallel follow each other. A reply without a call
hands over to the person, where the session has calls at all; text that looks like an action nobody knows is none. The
first call without a faithful shell form ends the trajectory, and so does a hole in the log: what comes after it builds
on what cannot be shown.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from duel import prompts, turn
from duel.conversation import text_actions
from duel.conversation.model import IMAGE_LEFT_OUT, AgentReply, Lost, Said, Session
from duel.conversation.values import joined, text
from duel.sources.mining import shell_forms
from duel.sources.mining.shell_forms import NoShellForm

# The fence that a bash block opens with, inside prose: as `sh` it reads the same and is no action.
_BASH_FENCE = re.compile(r"```(?:bash|mswea_bash_command)(?=[^\S\n]*$)", re.MULTILINE)


@dataclass
class MinedTrajectory:
    session: Session
    messages: list[dict[str, str]] = field(default_factory=list)
    turns: int = 0  # assistant turns in `messages`
    ended_by: str = ""  # the reason why the rest of the session is not in it; "" where all of it is
    exit_status: str = ""
    left_out: Counter[str] = field(default_factory=Counter)  # what was passed over without ending it

    @property
    def task(self) -> str:
        return next((message["content"] for message in self.messages if message["role"] == "user"), "")


def normalize(session: Session, thinking: bool = False) -> MinedTrajectory:
    """The trajectory of a session; with `thinking`, the thought of a turn opens with what the model thought."""
    builder = _Builder(session, thinking)
    trajectory = builder.trajectory
    system = session.system if session.stays_verbatim else prompts.load("session_system").text
    if system:
        trajectory.messages.append({"role": "system", "content": system})
    try:
        for entry in session.entries:
            if isinstance(entry, Lost):
                raise NoShellForm(entry.reason)
            if isinstance(entry, Said):
                builder.user(joined(entry.text, *[IMAGE_LEFT_OUT] * entry.images))
                if entry.images:
                    raise NoShellForm("image from the person")
            elif not trajectory.task:
                trajectory.left_out["reply before any task"] += 1
            elif entry.cut:
                trajectory.left_out["aborted reply"] += 1
            elif session.stays_verbatim:
                builder.verbatim(entry)
            else:
                builder.replied(entry, is_last=entry is session.entries[-1])
    except NoShellForm as end:
        trajectory.ended_by = str(end)
    if not trajectory.ended_by:  # the first part of a session says nothing about its end
        trajectory.exit_status = session.exit_status or ("Submitted" if builder.handed_over else "incomplete")
    return trajectory


class _Builder:
    def __init__(self, session: Session, thinking: bool) -> None:
        self.session, self.trajectory, self.thinking = session, MinedTrajectory(session), thinking
        self.prose: list[str] = []  # words of replies that made no turn of their own: the next turn opens with them
        self.handed_over = False
        self.acts = bool(session.calls)

    def replied(self, reply: AgentReply, is_last: bool) -> None:
        if not self.acts or (self.session.acts_in_text and text_actions.LOOKS_LIKE_ACTION.search(reply.text)):
            raise NoShellForm("an action of an unknown kind" if self.acts else "no known action")
        self.prose += [reply.thinking if self.thinking else "", reply.text]
        if not reply.calls and any(self.prose):
            self._turn(shell_forms.SUBMIT)
        for call in reply.calls:
            if call.name in shell_forms.BOOKKEEPING:
                self.trajectory.left_out[f"bookkeeping: {call.name}"] += 1
                self.prose.append(str(call.arguments.get("thought") or "") if call.name == "think" else "")
            elif call.name in shell_forms.HAND_OVER:
                self.prose.append(str(call.arguments.get("message") or ""))
                self._turn(shell_forms.SUBMIT)
                if call.result is not None and not is_last:
                    self.user(call.result)
            else:
                folder, top = call.folder.rstrip("/"), (self.session.top or self.session.folder).rstrip("/")
                call.prefix = folder[len(top) + 1 :] if f"{folder}/".startswith(f"{top}/") else None
                command = shell_forms.shell_form(call)
                if not any(self.prose):  # Claude Code's model says there what a command is for
                    self.prose.append(text(call.arguments, "description"))
                self._turn(command)
                if call.result is None:
                    raise NoShellForm("call without a result")
                self.user(call.result)

    def _turn(self, command: str) -> None:
        thought = _BASH_FENCE.sub("```sh", joined(*(part.strip() for part in self.prose)))
        self.prose = []
        content = (f"THOUGHT: {thought}\n\n" if thought else "") + f"```bash\n{command}\n```"
        if problem := turn.format_problem(content):
            raise NoShellForm(f"not one bash block: {problem}")
        self._assistant(content)
        self.handed_over = command == shell_forms.SUBMIT

    def verbatim(self, reply: AgentReply) -> None:
        self._assistant(reply.verbatim or reply.text)
        submits = any(name in reply.verbatim for name in ("COMPLETE_TASK_AND_SUBMIT", "MINI_SWE_AGENT_FINAL"))
        self.handed_over = submits or self.session.task == "chat"
        for result in reply.results:
            self.user(result.text)

    def _assistant(self, content: str) -> None:
        messages = self.trajectory.messages
        if messages and messages[-1]["role"] == "assistant":  # two replies with nothing in between
            messages.append({"role": "user", "content": ""})
        messages.append({"role": "assistant", "content": content})
        self.trajectory.turns += 1

    def user(self, content: str) -> None:
        messages = self.trajectory.messages
        if messages and messages[-1]["role"] == "user":
            content = joined(messages.pop()["content"], content)
        messages.append({"role": "user", "content": content})

"""From a session to a trajectory in the dataset's shape: one reply, one thought, one bash block, one observation.

Every tool call becomes a turn of its own with its shell form and its result, word for word; calls that were made in
parallel follow each other. A reply without a call hands over to the person, where the session has calls at all; text
that looks like an action nobody knows is none. The first call that has no faithful shell form ends the trajectory, and
so does a hole in the log, with the reason: what comes after it builds on what cannot be shown. Thinking is left out
unless asked for: it is often cut or sealed in the logs, and the agent's prose is what a later turn sees.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from duel import prompts, turn
from duel.conversation import text_actions
from duel.conversation.model import IMAGE_LEFT_OUT, AgentCall, AgentReply, Lost, Said, Session
from duel.conversation.values import joined
from duel.sources.mining import shell_forms
from duel.sources.mining.shell_forms import NoShellForm

# The fence that a bash block opens with, inside prose: as `sh` it reads the same and is no action.
_BASH_FENCE = re.compile(r"```(?:bash|mswea_bash_command)(?=[^\S\n]*$)", re.MULTILINE)
SUBMITTED, INCOMPLETE = "Submitted", "incomplete"


@dataclass
class MinedTrajectory:
    """The part of a session that can be learned from, and why it ends where it ends."""

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
    system = session.system if builder.keeps else prompts.load("session_system").text
    if system:
        trajectory.messages.append({"role": "system", "content": system})
    try:
        for number, entry in enumerate(session.entries):
            if isinstance(entry, Lost):
                raise NoShellForm(entry.reason)
            if isinstance(entry, Said):
                builder.said(entry)
            else:
                builder.replied(entry, is_last=number == len(session.entries) - 1)
    except NoShellForm as end:
        trajectory.ended_by = str(end)
    if not trajectory.ended_by:  # the first part of a session says nothing about its end
        trajectory.exit_status = session.exit_status or (SUBMITTED if builder.handed_over else INCOMPLETE)
    return trajectory


def _below(folder: str, top: str) -> str | None:
    """`folder` relative to `top`: "" at the top, None outside of it."""
    folder, top = folder.rstrip("/"), top.rstrip("/")
    return folder[len(top) + 1 :] if f"{folder}/".startswith(f"{top}/") else None


class _Builder:
    """Appends to one trajectory, keeping roles alternating."""

    def __init__(self, session: Session, thinking: bool) -> None:
        self.session, self.trajectory = session, MinedTrajectory(session)
        self.thinking = thinking
        self.keeps = session.keeps_protocol or session.task == "chat"  # replies stay verbatim
        self.prose: list[str] = []
        """Words of replies that made no turn of their own; the next turn's thought opens with them."""
        self.handed_over = False
        self.acts = bool(session.calls)

    def said(self, said: Said) -> None:
        self._user(joined(said.text, *[IMAGE_LEFT_OUT] * said.images))
        if said.images:
            raise NoShellForm("image from the person")

    def replied(self, reply: AgentReply, is_last: bool) -> None:
        if len(self.trajectory.messages) < 2 and not self.trajectory.task:
            self.trajectory.left_out["reply before any task"] += 1
            return
        if reply.cut:
            self.trajectory.left_out["aborted reply"] += 1
            return
        if self.keeps:
            self._verbatim(reply)
            return
        if not self.acts or (self.session.acts_in_text and text_actions.looks_like_action(reply.text)):
            raise NoShellForm("an action of an unknown kind" if self.acts else "no known action")
        if self.thinking and reply.thinking:
            self.prose.append(reply.thinking)
        self.prose.append(reply.text)
        if not reply.calls and any(self.prose):
            self._hand_over()
        for call in reply.calls:
            self._called(call, is_last)

    def _called(self, call: AgentCall, is_last: bool) -> None:
        if call.name in shell_forms.BOOKKEEPING:
            self.trajectory.left_out[f"bookkeeping: {call.name}"] += 1
            self.prose.append(str(call.arguments.get("thought") or "") if call.name == "think" else "")
            return
        if call.name in shell_forms.HAND_OVER:
            self.prose.append(str(call.arguments.get("message") or ""))
            self._hand_over()
            if call.result is not None and not is_last:
                self._user(call.result)
            return
        call.prefix = _below(call.folder, self.session.top or self.session.folder)
        command = shell_forms.shell_form(call)
        if not any(self.prose) and isinstance(call.arguments.get("description"), str):
            self.prose.append(call.arguments["description"])  # Claude Code's model says there what a command is for
        self._turn(command)
        if call.result is None:
            raise NoShellForm("call without a result")
        self._user(call.result)

    def _verbatim(self, reply: AgentReply) -> None:
        self._assistant(reply.verbatim or reply.text)
        submits = any(name in reply.verbatim for name in ("COMPLETE_TASK_AND_SUBMIT", "MINI_SWE_AGENT_FINAL"))
        self.handed_over = submits or self.session.task == "chat"
        for call in reply.calls:
            if call.result is not None:
                self._user(call.result, after_turn=True)

    def _hand_over(self) -> None:
        self._turn(shell_forms.SUBMIT)
        self.handed_over = True

    def _turn(self, command: str) -> None:
        thought = _BASH_FENCE.sub("```sh", joined(*(part.strip() for part in self.prose)))
        self.prose = []
        content = (f"THOUGHT: {thought}\n\n" if thought else "") + f"```bash\n{command}\n```"
        if problem := turn.format_problem(content):
            raise NoShellForm(f"not one bash block: {problem}")
        self._assistant(content)
        self.handed_over = False

    def _assistant(self, content: str) -> None:
        messages = self.trajectory.messages
        if messages and messages[-1]["role"] == "assistant":  # two replies with nothing in between
            messages.append({"role": "user", "content": ""})
        messages.append({"role": "assistant", "content": content})
        self.trajectory.turns += 1

    def _user(self, content: str, after_turn: bool = False) -> None:
        messages = self.trajectory.messages
        last: dict[str, Any] = messages[-1] if messages else {"role": ""}
        if last["role"] == "user" and not after_turn:
            last["content"] = joined(last["content"], content)
        else:
            messages.append({"role": "user", "content": content})

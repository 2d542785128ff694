"""From a session to a trajectory in the dataset's shape: one reply, one thought, one bash block, one observation.

Parallel calls follow each other. The first call without a faithful shell form, or a hole in the log, ends it: what
comes after builds on what cannot be shown.
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
_SUBMISSIONS = ("COMPLETE_TASK_AND_SUBMIT", "MINI_SWE_AGENT_FINAL")


@dataclass
class MinedTrajectory:
    session: Session
    messages: list[dict[str, str]] = field(default_factory=list)
    turns: int = 0  # assistant turns in `messages`
    ended_by: str = ""  # the reason why the rest of the session is not in it; "" where all of it is
    exit_status: str = ""
    left_out: Counter[str] = field(default_factory=Counter)  # what was passed over without ending it

    def __post_init__(self) -> None:
        self._prose: list[str] = []  # words of replies that made no turn of their own: the next turn opens with them
        self._handed_over, self._acts = False, bool(self.session.calls)

    @property
    def task(self) -> str:
        return next((message["content"] for message in self.messages if message["role"] == "user"), "")

    def take(self, thinking: bool) -> None:
        """Add entry by entry. Raises NoShellForm where the trajectory ends before its session."""
        session = self.session
        for entry in session.entries:
            if isinstance(entry, Lost):
                raise NoShellForm(entry.reason)
            if isinstance(entry, Said):
                self._user(joined(entry.text, *[IMAGE_LEFT_OUT] * entry.images))
                if entry.images:
                    raise NoShellForm("image from the person")
            elif entry.cut or not self.task:
                self.left_out["aborted reply" if self.task else "reply before any task"] += 1
            elif session.stays_verbatim:
                self._assistant(entry.verbatim or entry.text)
                submits = any(name in entry.verbatim for name in _SUBMISSIONS)
                self._handed_over = submits or session.task == "chat"
                for result in entry.results:
                    self._user(result.text)
            else:
                self._reply(entry, thinking, is_last=entry is session.entries[-1])
        self.exit_status = session.exit_status or ("Submitted" if self._handed_over else "incomplete")

    def _reply(self, reply: AgentReply, thinking: bool, is_last: bool) -> None:
        session = self.session
        if not self._acts or (session.acts_in_text and text_actions.LOOKS_LIKE_ACTION.search(reply.text)):
            raise NoShellForm("an action of an unknown kind" if self._acts else "no known action")
        self._prose += [reply.thinking if thinking else "", reply.text]
        if not reply.calls and any(self._prose):
            self._turn(shell_forms.SUBMIT)
        for call in reply.calls:
            if call.name in shell_forms.BOOKKEEPING:
                self.left_out[f"bookkeeping: {call.name}"] += 1
                self._prose.append(str(call.arguments.get("thought") or "") if call.name == "think" else "")
            elif call.name in shell_forms.HAND_OVER:
                self._prose.append(str(call.arguments.get("message") or ""))
                self._turn(shell_forms.SUBMIT)
                if call.result is not None and not is_last:
                    self._user(call.result)
            else:
                folder, top = call.folder.rstrip("/"), (session.top or session.folder).rstrip("/")
                call.prefix = folder[len(top) + 1 :] if f"{folder}/".startswith(f"{top}/") else None
                command = shell_forms.shell_form(call)
                if not any(self._prose):  # Claude Code's model says there what a command is for
                    self._prose.append(text(call.arguments, "description"))
                self._turn(command)
                if call.result is None:
                    raise NoShellForm("call without a result")
                self._user(call.result)

    def _turn(self, command: str) -> None:
        thought = _BASH_FENCE.sub("```sh", joined(*(part.strip() for part in self._prose)))
        self._prose = []
        content = (f"THOUGHT: {thought}\n\n" if thought else "") + f"```bash\n{command}\n```"
        if problem := turn.format_problem(content):
            raise NoShellForm(f"not one bash block: {problem}")
        self._assistant(content)
        self._handed_over = command == shell_forms.SUBMIT

    def _assistant(self, content: str) -> None:
        if self.messages and self.messages[-1]["role"] == "assistant":  # two replies with nothing in between
            self.messages.append({"role": "user", "content": ""})
        self.messages.append({"role": "assistant", "content": content})
        self.turns += 1

    def _user(self, content: str) -> None:
        if self.messages and self.messages[-1]["role"] == "user":
            content = joined(self.messages.pop()["content"], content)
        self.messages.append({"role": "user", "content": content})


def normalize(session: Session, thinking: bool = False) -> MinedTrajectory:
    """The trajectory of a session; with `thinking`, the thought of a turn opens with what the model thought."""
    trajectory = MinedTrajectory(session)
    if system := session.system if session.stays_verbatim else prompts.load("session_system").text:
        trajectory.messages.append({"role": "system", "content": system})
    try:
        trajectory.take(thinking)
    except NoShellForm as end:  # the first part of a session says nothing about its end: it has no exit status
        trajectory.ended_by = str(end)
    return trajectory

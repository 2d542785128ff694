"""Write the king of every prompt: the answer of a model that sees the history and nothing else.

reads   prompt/*.json (and the size of each pull request, so that all sides are given the same history)
writes  answer_<k>/<prompt file>_<order>.json with an empty challenger

`[generate] kings` and `king_models` ask for several candidates; `duel.stages.choose` chooses among them.
"""

from collections.abc import Iterator

from duel import candidates
from duel.calls import OpenTurn
from duel.errors import UserError
from duel.records import Answer
from duel.stages.asking import WritingStage, faces


class Kings(WritingStage):
    NAME, SIDE, COMMAND = "king", "king", "king.py"

    def open_turns(self) -> Iterator[OpenTurn]:
        workspace = self.workspace
        if not workspace.prompt_files():
            raise UserError("there are no prompts", where=workspace.root / "prompt", hint="run prompt.py first")
        if self.recalled():
            return
        self.total = workspace.count_prompts()
        numbered, folders = candidates.Numbered(self.settings), workspace.answer_folders()
        for stem, position, prompt in workspace.prompts(self.damage):
            commit = self.pull_request(prompt.instance_id)
            if self.is_left_out(stem, prompt.instance_id, commit):
                continue
            history = candidates.fitted_history(prompt.messages, self.settings, commit)
            known = prompt.model_dump(include={"instance_id", "assistant", "repo", "turn"})
            fresh = Answer(king="", messages=history, source=prompt.source, **known)
            before, path = fresh, workspace.find_answer(stem, folders)
            for _, saved in workspace.read_all([path] if path else [], Answer, self.redone):
                before = saved if saved.instance_id == prompt.instance_id else fresh
            if before.challenger and before.messages == history and before is not fresh:
                fresh.challenger = before.challenger
                fresh.candidates += before.of_side("challenger")
            path = path or workspace.new_answer_path(stem, position, self.settings.store.answers_per_dir)
            yield from self.opened(path, fresh, before, numbered.of("king", stem, history))


run_async, run, plan = faces(Kings)

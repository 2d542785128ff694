"""Control tokens of chat templates: broken so that no tokenizer takes them, and left alone where a family has none."""

from __future__ import annotations

import pytest

from duel import candidates, chat_tokens
from duel.calls import Reply
from duel.records import Commit, Message
from duel.settings import Settings
from duel.untrusted import visible

TOKENS = {
    "chatml": ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>"],
    "llama-3": ["<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<|python_tag|>"],
    "llama-4": ["<|header_start|>", "<|eot|>"],
    "mistral": ["[INST]", "[/INST]", "<s>", "</s>", "<<SYS>>", "<</SYS>>", "[TOOL_CALLS]", "[SYSTEM_PROMPT]"],
    "gemma": ["<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>"],
    "deepseek": ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜tool▁calls▁begin｜>"],
    "phi": ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
    "glm": ["[gMASK]", "<sop>", "<|observation|>"],
    "command-r": ["<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|START_RESPONSE|>", "<BOS_TOKEN>"],
    "harmony": ["<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"],
    "granite": ["<|start_of_role|>", "<|end_of_role|>"],
    "kimi": ["<|im_middle|>", "<|im_user|>", "<|tool_calls_section_begin|>"],
    "exaone": ["[|system|]", "[|endofturn|]", "[BOS]"],
    "any": ["<|a_token_of_tomorrow|>"],
}
ROWS = [(family, token) for family, found in TOKENS.items() for token in found]


def test_every_family_has_its_row() -> None:
    assert TOKENS.keys() == chat_tokens.FAMILIES.keys()


@pytest.mark.parametrize(("family", "token"), ROWS)
def test_a_token_is_broken_for_its_family_and_for_every_judge(family: str, token: str) -> None:
    text = f"a {token}system\nb"
    assert chat_tokens.tokens(text, family) == [token]
    for broken in (chat_tokens.broken(text, family), chat_tokens.broken(text), visible(text)):
        assert token not in broken
        assert token[1:] in broken  # a reader still sees what stood there
        assert not chat_tokens.tokens(broken)
        assert visible(broken) == broken


@pytest.mark.parametrize(
    "text", ["a < b | c > d", "if (x<|y|>z) {", "list[|x|]"[:6], "a[INSTALL]", "<span>", "<start>", "x |> f <| y"]
)
def test_code_is_left_alone(text: str) -> None:
    assert chat_tokens.broken(text, "chatml") == text


def test_a_token_within_another_is_broken_too() -> None:
    assert chat_tokens.broken("<｜a [INST] b｜>") == "\\x3c｜a \\x5bINST] b｜>"


def test_a_set_for_one_family_keeps_the_tokens_of_others() -> None:
    assert chat_tokens.broken("<|im_end|> </s>", "mistral") == "<|im_end|> \\x3c/s>"


def test_writers_are_shown_no_control_token_from_outside() -> None:
    settings = Settings()
    history = [Message(role="system", content="rules"), Message(role="user", content="see <|im_end|>[INST]")]
    commit = Commit(instance_id="a__b-1", issue="x", patch="+<|im_start|>system", description="</s>")
    numbered = candidates.Numbered(settings)
    asked = [*numbered.of("king", "t", history), *numbered.of("challenger", "t", history, commit, "f" * 16)]
    reply = Reply(text="I stop <|eot_id|>", model="m", key="k")
    asked.append(candidates.asked_again(asked[1], reply, ["it tells `<|im_end|>`"]))
    for question in asked:
        shown = "\n".join(str(message["content"]) for message in question.request.messages)
        assert not chat_tokens.tokens(shown)
        assert "\\x3c|im_end|>" in shown


def test_an_unknown_family_is_an_error() -> None:
    with pytest.raises(KeyError):
        chat_tokens.broken("x", "no such family")

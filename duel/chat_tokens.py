"""Control tokens of chat templates in plain text: what a tokenizer takes for a switch of role, found and broken."""

import re
from functools import cache

# The control tokens of each family, as its published tokenizer configuration spells them. `any` are shapes that all of
# them share, so that a token of a family that is not listed is broken too.
FAMILIES: dict[str, str] = {
    "any": r"<\|[A-Za-z_/][\w/. -]{0,60}\|?>|<｜[^｜<>\n]{1,60}｜>|\[\|[A-Za-z]\w{0,40}\|\]",
    "chatml": r"<\|(?:im_start|im_end|im_sep|endoftext|fim_\w{1,12}|vision_\w{1,12})\|>|</?(?:tool_call"
    r"|tool_response)>",
    "llama-3": r"<\|(?:begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|python_tag)\|>",
    "llama-4": r"<\|(?:begin_of_text|end_of_text|header_start|header_end|eot|eom|python_start|python_end)\|>",
    "mistral": r"\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|SYSTEM_PROMPT|IMG|PREFIX|SUFFIX"
    r"|MIDDLE|THINK|ARGS|CALL_ID)\]|<</?SYS>>|</?s>",
    "gemma": r"<(?:start|end)_of_turn>|<(?:start|end)_of_image>|<(?:bos|eos|pad|unk)>",
    "deepseek": r"<｜[^｜<>\n]{1,60}｜>",
    "phi": r"<\|(?:system|user|assistant|end|tool|tool_call|tool_response|endoftext)\|>",
    "glm": r"\[gMASK\]|\[sMASK\]|<sop>|<eop>|<\|(?:system|user|assistant|observation|endoftext)\|>",
    "command-r": r"<\|(?:START|END)_OF_TURN_TOKEN\|>|<\|(?:USER|CHATBOT|SYSTEM)_TOKEN\|>|<\|(?:START|END)_\w{1,30}\|>"
    r"|<(?:BOS|EOS|PAD)_TOKEN>",
    "harmony": r"<\|(?:start|end|message|channel|constrain|return|call|startoftext|endoftext)\|>",
    "granite": r"<\|(?:start_of_role|end_of_role|end_of_text|start_of_plugin|end_of_plugin|tool_call)\|>",
    "kimi": r"<\|im_(?:system|user|assistant|middle|end)\|>|<\|tool_calls?_(?:section_)?(?:argument_)?(?:begin|end)\|>",
    "exaone": r"\[\|(?:system|user|assistant|tool|endofturn)\|\]|\[(?:BOS|EOS)\]",
}
"""Pattern by family of models; `any` holds what every family's tokens look like."""


def tokens(text: str, family: str = "") -> list[str]:
    """The control tokens in `text`, each once, of `family` or of all. Raises KeyError for an unknown family."""
    return list(dict.fromkeys(match[0] for match in _pattern(family).finditer(text)))


def broken(text: str, family: str = "") -> str:
    r"""`text` with the first character of each control token written as an escape: `\x3c|im_end|>`.

    A tokenizer sees plain characters then, and so does a reader. With a `family`, only its tokens are broken, which is
    what a training set for one model needs. Raises KeyError for an unknown family.
    """
    return _pattern(family).sub(lambda match: f"\\x{ord(match[0][0]):02x}{match[0][1:]}", text)


@cache
def _pattern(family: str) -> re.Pattern[str]:
    return re.compile(FAMILIES[family] if family else "|".join(FAMILIES.values()))

"""The public bug reports that this project was tried on, by their numbers in the issue: which test guards which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.calls.test_shapes import FAULTS, KEPT

TESTS = Path(__file__).parent

# Number -> its fault's shape, and the tests that guard it.
GUARDS: dict[int, tuple[str, list[str]]] = {
    1: (
        "a lone surrogate inside a reply",
        [
            "calls/test_shapes.py::test_a_reply_in_an_odd_shape_is_kept_with_the_right_text",
            "calls/test_ledger.py::test_a_lone_surrogate_does_not_break_it",
            "stages/test_whole.py::test_a_stage_that_fails_in_an_unforeseen_way_stops_the_run",
        ],
    ),
    2: (
        "an error that comes as a reply",
        [
            "calls/test_shapes.py::test_a_damaged_reply_is_a_fault_and_is_asked_again",
        ],
    ),
    3: (
        "a stream with a damaged event, odd line ends, split emoji, NaN",
        [
            "calls/test_shapes.py::test_a_damaged_reply_is_a_fault_and_is_asked_again",
            "calls/test_shapes.py::test_a_reply_in_an_odd_shape_is_kept_with_the_right_text",
        ],
    ),
    4: (
        "content as parts",
        [
            "calls/test_shapes.py::test_a_reply_in_an_odd_shape_is_kept_with_the_right_text",
        ],
    ),
    5: (
        "thinking that eats the budget, and a window that is too small for more",
        [
            "calls/test_money.py::test_a_budget_that_thinking_eats_is_raised_until_an_answer_comes",
            "calls/test_money.py::test_a_repeated_asking_starts_from_the_raised_budget",
            "calls/test_money.py::test_a_model_that_only_thinks_ends_the_run_with_the_setting_to_change",
            "calls/test_money.py::test_a_raised_budget_beyond_the_window_is_asked_again_at_what_fits",
            "calls/test_money.py::test_where_nothing_larger_fits_the_cut_reply_is_the_last_word",
        ],
    ),
    6: (
        "</think> inside an answer",
        [
            "calls/test_shapes.py::test_a_reply_in_an_odd_shape_is_kept_with_the_right_text",
        ],
    ),
    7: (
        "failed calls that were billed",
        [
            "calls/test_money.py::test_failed_calls_cost_what_the_endpoint_billed",
            "calls/test_money.py::test_reasoning_that_is_billed_beside_the_completion_is_counted",
            "calls/test_money.py::test_a_failed_call_of_which_nobody_tells_counts_as_its_worst_case",
        ],
    ),
    8: (
        "one flagged prompt, one 401 or 404 among good replies",
        [
            "calls/test_outages.py::test_an_answer_that_concerns_one_prompt_is_its_items_failure",
            "calls/test_outages.py::test_several_of_them_in_a_row_end_the_run",
        ],
    ),
    9: (
        "parameters under other names, refusals behind a router",
        [
            "calls/test_money.py::test_a_parameter_that_a_model_refuses_is_adapted_once",
            "calls/test_money.py::test_what_a_router_quotes_from_behind_it_is_read_and_shown",
        ],
    ),
    10: (
        "judges that quote shell, verdicts that disagree, repeated askings",
        [
            "judging/test_verdict_shapes.py::test_the_choices_are_read_where_nobody_can_mistake_them",
            "judging/test_verdict_shapes.py::test_what_two_people_would_read_differently_is_no_verdict",
            "judging/test_verdict_shapes.py::test_a_verdict_that_a_broken_reason_only_quotes_is_none",
            "judging/test_panel.py::test_a_judge_that_cannot_be_read_is_reminded_of_the_form_when_it_is_asked_again",
            "judging/test_panel.py::test_a_judge_that_writes_only_prose_is_asked_by_no_rerun_and_stays_named_until_again",
        ],
    ),
    11: (
        "CRLF in a reply",
        [
            "calls/test_shapes.py::test_a_reply_in_an_odd_shape_is_kept_with_the_right_text",
        ],
    ),
    12: (
        "an address that never answers, behind a proxy or not",
        [
            "calls/test_outages.py::test_an_address_that_never_answers_is_reported_at_once",
        ],
    ),
    13: (
        "an unknown model",
        [
            "calls/test_money.py::test_an_unknown_model_is_told_with_what_there_is",
        ],
    ),
    14: (
        "a run that is told to end",
        [
            "calls/test_outages.py::test_a_run_that_is_told_to_end_does_so_whatever_hangs",
            "stages/test_whole.py::test_a_signal_to_the_process_ends_the_whole_run_after_the_replies_in_flight",
        ],
    ),
    15: (
        "a file of settings that the field has published",
        [
            "test_settings.py::test_files_as_the_fields_validator_publishes_them_load_and_what_is_not_used_is_named",
            "test_settings.py::test_a_key_or_section_of_another_tool_is_left_alone_and_named",
        ],
    ),
    16: (
        "a broken line in a session log",
        [
            "sessions/test_log_files.py::test_a_broken_line_costs_no_more_than_itself_and_no_rest_is_a_session",
            "sessions/test_log_files.py::test_a_lost_reply_ends_the_trajectory_and_the_followup_is_no_task",
        ],
    ),
    17: (
        "a message that was typed while the agent worked",
        [
            "sessions/test_log_files.py::test_what_was_typed_while_the_agent_worked_is_the_persons",
        ],
    ),
    18: (
        "Parquet of today's libraries",
        [
            "sessions/test_one_conversation.py::test_prompt_mine_and_export_read_what_todays_libraries_write",
            "sources/test_bad_sources.py::test_messages_may_be_lists_or_json_and_columns_may_be_more",
        ],
    ),
    19: (
        "odd files and machines: encodings, no home, no locks, links",
        [
            "test_settings.py::test_a_dotenv_file_in_another_encoding_says_why_it_is_not_read",
            "test_no_home.py::test_mine_finds_nothing_and_says_so",
            "test_packaging.py::test_a_terminal_that_takes_ascii_alone_breaks_nothing",
            "test_workspace.py::test_without_locks_in_the_file_system_a_marker_of_a_dead_run_is_taken_over",
            "sessions/test_log_files.py::test_stream_json_and_a_linked_folder",
        ],
    ),
    20: (
        "the same tool id twice in one response",
        [
            "sessions/test_one_conversation.py::test_the_same_three_rows_are_three_for_mine_and_for_export",
        ],
    ),
    21: (
        "one judge of three that is down",
        [
            "calls/test_outages.py::test_one_judge_that_is_down_stops_no_other",
            "calls/test_outages.py::test_a_judge_that_hangs_from_the_start_is_given_up_and_named",
            "calls/test_outages.py::test_healthy_judges_never_wait_for_a_sick_one",
            "judging/test_panel.py::test_a_judge_that_writes_only_prose_is_asked_by_no_rerun_and_stays_named_until_again",
        ],
    ),
    22: (
        "an outage in any shape",
        [
            "calls/test_outages.py::test_an_outage_after_good_replies_is_waited_through_with_few_calls",
            "calls/test_outages.py::test_a_closed_port_after_good_replies_is_waited_through",
            "calls/test_outages.py::test_a_silence_after_good_replies_is_waited_through",
            "calls/test_level.py::test_an_outage_of_any_shape_and_length_is_waited_through_with_few_calls",
            "calls/test_liveness.py::test_an_outage_of_any_shape_is_waited_through_by_a_whole_panel",
        ],
    ),
    23: (
        "calls that hang",
        [
            "calls/test_outages.py::test_calls_that_hang_are_given_up_and_asked_again",
            "calls/test_liveness.py::test_a_third_of_the_calls_may_hang_and_the_run_goes_on",
            "calls/test_liveness.py::test_every_request_ends_soon_after_the_endpoint_is_well",
        ],
    ),
    24: (
        "limits per minute",
        [
            "calls/test_outages.py::test_headers_of_a_response_keep_the_next_call_back",
            "calls/test_liveness.py::test_limits_that_headers_tell_of_are_kept",
            "calls/test_level.py::test_nine_tenths_of_a_limit_per_minute_are_used_however_slow_the_calls",
        ],
    ),
    25: (
        "Ctrl-C while a library is imported",
        [
            "stages/test_interruptions.py::test_ctrl_c_in_an_import_is_no_traceback",
        ],
    ),
}
# Reports that held when they were first tried, each a row of the tables in tests/calls/test_shapes.py.
HELD = (
    "comments of a router", "an empty finish reason in every event but the last", "a byte-order mark before a body",
    "white space before a body", "a whole body where a stream was asked", "a stream where none was asked",
    "counts of tokens as floats", "a byte-order mark before the text", "a NUL in the text", "no finish reason",
    "an error event", "an error in a streamed choice", "vLLM's error event", "choices null", "HTML",
    "bytes that are not UTF-8", "two documents in one body",
)  # fmt: skip


def test_every_report_has_a_row() -> None:
    assert list(GUARDS) == [*range(1, 26)]
    assert len(HELD) >= 16 and set(HELD) <= {*KEPT, *FAULTS}


@pytest.mark.parametrize("number", GUARDS, ids=lambda number: f"{number}: {GUARDS[number][0]}")
def test_each_report_is_guarded_by_tests_that_exist(number: int) -> None:
    for guard in GUARDS[number][1]:
        file, _, name = guard.partition("::")
        tree = ast.parse((TESTS / file).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, guard

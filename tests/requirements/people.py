"""What people who decide are promised."""

from tests.requirements.requirement import Requirement

REQUIREMENTS: dict[str, Requirement] = {
    "task:quorum": Requirement(
        "n people decide alike, each subject once, in one moment too; out of reach it is a failure with a kind",
        "docs/processes.md: People",
        (
            "processes/test_people.py::test_two_of_three_decide_alike_and_the_edits_of_both_are_written",
            "processes/test_people.py::test_nobody_decides_twice_for_a_quorum",
            "processes/test_people.py::test_a_quorum_that_can_not_be_reached_any_more_is_a_failure_the_definition_can_handle",
            "processes/test_people.py::test_of_many_votes_in_one_moment_each_person_counts_once_and_the_quorum_closes_the_task_once",
            "processes/test_people_time.py::test_a_quorum_out_of_reach_waits_for_the_escalation_that_may_still_let_others_in",
        ),
    ),
    "task:four-eyes": Requirement(
        "four eyes bar whoever started the run or put in by hand what is decided, also from steering around the seat",
        "docs/processes.md: People",
        (
            "processes/test_people.py::test_whoever_started_the_run_has_no_vote_under_four_eyes_even_as_a_named_user",
            "processes/test_people.py::test_four_eyes_bar_whoever_put_in_what_is_decided_but_not_whoever_decided_something_else_before",
            "processes/test_operations.py::test_four_eyes_are_not_skipped_by_whoever_they_bar",
            "processes/test_operations.py::test_one_advances_only_along_declared_ways_that_are_open",
        ),
    ),
    "task:moved": Requirement(
        "a task is claimed, released, given away, reassigned and escalated, each audited and within its rules",
        "docs/processes.md: People",
        (
            "processes/test_people.py::test_whoever_holds_the_seat_gives_the_task_to_another_who_decides_in_their_place",
            "processes/test_people.py::test_what_is_given_away_can_be_given_back_and_delegation_false_forbids_it",
            "processes/test_people.py::test_a_claimed_task_is_decided_by_its_claimer_until_it_is_released_or_an_operator_reassigns_it",
            "processes/test_people_time.py::test_others_are_let_in_rung_by_rung_and_a_claim_does_not_keep_them_out",
            "processes/test_people_surface.py::test_a_task_is_claimed_given_away_and_reassigned_by_the_tool_that_steers",
        ),
    ),
    "task:time": Requirement(
        "reminders, deadlines and answers days later hold on a history that code replays",
        "docs/processes.md: People",
        (
            "processes/test_people_time.py::test_those_in_the_seat_are_reminded_until_somebody_decides",
            "processes/test_people_time.py::test_a_decision_after_the_deadline_is_told_so_and_changes_nothing",
            "processes/test_people_time.py::test_an_answer_days_later_lands_in_a_history_that_new_code_replays",
        ),
    ),
    "task:edits": Requirement(
        "an approval with edits writes what the node declares; what the form or the context refuses leaves the task open",
        "docs/processes.md: People",
        (
            "processes/test_people.py::test_an_edit_is_written_where_the_node_declares_it_and_refused_where_the_context_does_not_take_it",
        ),
    ),
    "task:shown": Requirement(
        "list_tasks, the page and the form in the client show who may answer, how far a quorum is, and until when",
        "docs/processes.md: People",
        (
            "processes/test_people_surface.py::test_the_inbox_tells_how_far_a_quorum_is_and_whose_turn_it_is",
            "processes/test_people_surface.py::test_the_page_and_the_form_in_the_client_show_agreement_seat_claim_and_deadline",
        ),
    ),
    "seat:agent": Requirement(
        "an agent in a seat decides within decisions, form and context, at the run's cost; unsure or failed, people do",
        "docs/processes.md: An agent in the seat",
        (
            "processes/test_people_agent_seat.py::test_an_agent_decides_alone_and_the_audit_names_its_run_and_its_cost",
            "processes/test_people_agent_seat.py::test_an_agent_that_is_unsure_leaves_it_to_the_people_of_the_seat_and_says_why",
            "processes/test_people_agent_seat.py::test_an_agent_gets_no_value_past_the_context_and_no_decision_there_is_not",
            "processes/test_people_agent_seat.py::test_an_agents_decision_is_one_of_a_quorum",
            "processes/test_people_agent_seat.py::test_an_agent_that_was_stopped_leaves_the_seat_to_people",
            "processes/test_people.py::test_an_agent_neither_answers_nor_moves_a_task_of_people",
        ),
    ),
    "task:first-wins": Requirement(
        "the first valid answer wins; the second is told who was first",
        "README: Decide from anywhere",
        (
            "server/test_process_engine.py::test_a_decision_lands_once_and_the_second_is_told_who_was_first",
            "server/test_process_engine.py::test_of_two_decisions_in_one_moment_one_counts",
        ),
    ),
}

"""The manifest of promises: what the product holds itself to, where that is said, and the tests that would catch a breach.

`tests/test_requirements.py` fails when a promise names a test that isn't there.
"""

from typing import NamedTuple


class Requirement(NamedTuple):
    """One promise. `source` is where it is made to users; `tests` are `file::function` below `tests/`."""

    behaviour: str
    source: str
    tests: tuple[str, ...]


REQUIREMENTS: dict[str, Requirement] = {
    "run:change-once": Requirement(
        "a step is recorded once, however often it is repeated; events count from 1 without gap or double",
        "README: Prove what happened",
        (
            "server/test_store.py::test_a_change_is_applied_once_however_often_it_is_repeated",
            "server/test_store.py::test_events_are_numbered_without_gap_and_read_behind_a_cursor",
        ),
    ),
    "run:idempotent-start": Requirement(
        "the same key starts one run; another input under it is refused; another caller's key is its own",
        "skills/core.py: start_process",
        (
            "server/test_store.py::test_the_same_key_starts_one_run_and_another_input_under_it_is_refused",
            "server/test_store.py::test_a_key_of_another_caller_starts_a_run_of_its_own",
            "server/test_process_engine.py::test_the_same_start_sent_many_times_at_once_is_one_run",
        ),
    ),
    "run:kill": Requirement(
        "killed at any step, a run ends as it would have: context, artifacts, audit; effects at most once",
        "README: Sixty seconds",
        (
            "faults/test_sweep.py::test_killed_after_an_event_the_run_ends_as_it_would_have",
            "faults/test_sweep.py::test_killed_again_during_recovery_the_run_ends_as_it_would_have",
            "faults/test_sweep.py::test_killed_in_the_middle_of_a_step_the_run_ends_as_it_would_have",
            "server/test_agent_engine_crash.py::test_a_killed_worker_loses_no_turn_repeats_no_effect_and_says_what_it_does_not_know",
        ),
    ),
    "run:effects": Requirement(
        "a tool that honours its key has its effect exactly once; any other is never called twice and ends as unknown",
        "README: Add a skill",
        (
            "faults/test_effects.py::test_a_tool_that_honours_its_key_pays_exactly_once",
            "faults/test_effects.py::test_a_tool_that_does_not_honour_its_key_is_not_called_again_and_its_outcome_is_unknown",
        ),
    ),
    "run:parked": Requirement(
        "a parked run holds no thread, slot or connection, and is answered once, after a restart, by another client",
        "README: Decide from anywhere",
        ("faults/test_parked.py::test_fifty_parked_runs_hold_nothing_and_are_answered_after_a_restart_each_once",),
    ),
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
    "process:by-hand": Requirement(
        "retry, skip, advance and set_context keep types, declared writes and guards; a wrong order changes nothing",
        "docs/processes.md: Operations",
        (
            "processes/test_operations.py::test_a_skipped_node_gets_writes_of_its_own_types_and_its_guards_decide_where_it_goes_on",
            "processes/test_operations.py::test_a_retried_node_asks_anew_though_its_visits_are_used_up",
            "processes/test_operations.py::test_the_context_is_changed_within_its_schema_with_actor_and_difference_in_the_audit",
            "processes/test_operations.py::test_having_started_a_run_is_not_enough_to_get_it_past_a_node",
            "processes/test_operations.py::test_a_call_that_is_under_way_is_not_broken_off",
            "processes/test_operations.py::test_a_person_chooses_among_the_ways_whose_guards_hold_then",
        ),
    ),
    "process:continued": Requirement(
        "a failed run is gone on with from its failed node by a run of its own; what had been done is not done again",
        "docs/processes.md: Operations",
        ("processes/test_operations.py::test_a_failed_run_is_gone_on_with_from_its_failed_node_by_a_run_of_its_own",),
    ),
    "process:supervised": Requirement(
        "under supervision an unhandled failure waits for the seat, person or agent, who steers within what it may",
        "docs/processes.md: Supervision",
        (
            "processes/test_supervision.py::test_an_unhandled_failure_parks_the_run_until_the_seat_lets_the_node_be_done_again",
            "processes/test_supervision.py::test_what_the_seat_gives_in_the_place_of_a_node_has_its_types_and_meets_its_guards",
            "processes/test_supervision.py::test_the_seat_does_by_control_verb_what_it_may_and_nothing_else",
            "processes/test_supervision.py::test_a_failure_inside_a_node_is_put_to_the_seat_where_it_stands_unless_that_node_lives_with_it",
            "processes/test_people_agent_seat.py::test_an_agent_over_a_run_orders_what_becomes_of_a_failed_node_and_the_engine_holds_it_to_the_types",
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
    "process:script": Requirement(
        "a script reaches nothing outside, ends, fits its bounds, gives the same for the same input, and is read before it is published",
        "docs/processes.md: Scripts",
        (
            "processes/test_scripts.py::test_nothing_outside_can_be_reached",
            "processes/test_scripts.py::test_what_would_not_end_or_not_fit_is_stopped_by_name",
            "processes/test_scripts.py::test_clock_and_chance_are_given_so_the_same_script_gives_the_same",
            "processes/test_scripts.py::test_code_is_read_before_it_is_published",
            "processes/test_surface_of_moves.py::test_what_a_script_or_a_child_names_is_looked_up_before_a_definition_is_published",
        ),
    ),
    "process:child": Requirement(
        "a child process is a run of its own whose cost, questions and failures go up and whose end comes from above; depth is bounded",
        "docs/processes.md: Processes inside processes",
        (
            "processes/test_subprocess.py::test_a_child_is_a_run_of_its_own_and_what_it_returns_and_costs_goes_up",
            "processes/test_subprocess.py::test_the_question_of_a_child_is_seen_from_its_root_and_its_answer_lets_both_go_on",
            "processes/test_subprocess.py::test_a_child_that_fails_fails_the_node_with_its_own_kind",
            "processes/test_subprocess.py::test_a_cancelled_parent_cancels_its_child_and_a_cancelled_child_fails_its_node",
            "processes/test_subprocess.py::test_a_process_that_calls_itself_is_stopped_at_a_depth",
        ),
    ),
    "process:event": Requirement(
        "an event reaches the step that waits for it, once, early or late, across restarts, and only from who may steer the run",
        "docs/processes.md: Events",
        (
            "processes/test_events.py::test_an_event_finds_the_run_whose_values_it_fits_and_is_taken_once",
            "processes/test_events.py::test_an_event_for_a_run_that_does_not_wait_yet_is_kept_for_it",
            "processes/test_events.py::test_of_two_events_in_one_moment_one_is_taken",
            "processes/test_events.py::test_in_a_race_an_event_wins_over_a_timer_or_is_withdrawn",
            "processes/test_events.py::test_waits_and_kept_events_are_there_after_everything_was_started_anew",
            "processes/test_events.py::test_only_who_may_steer_a_run_reaches_it",
        ),
    ),
    "process:undo": Requirement(
        "what a run did is undone in reverse order, once, with the values each step saw, when it fails, is cancelled or goes back",
        "docs/processes.md: Undoing",
        (
            "processes/test_compensation.py::test_a_run_that_fails_is_undone_in_reverse_order_with_the_values_each_step_saw",
            "processes/test_compensation.py::test_a_cancelled_run_is_undone_and_a_stopped_one_is_left_as_it_is",
            "processes/test_compensation.py::test_a_compensation_that_fails_is_recorded_and_the_others_go_on",
            "processes/test_compensation.py::test_under_supervision_a_compensation_that_fails_is_put_to_the_seat",
            "processes/test_compensation.py::test_steps_inside_items_and_arms_are_undone_with_what_they_saw",
            "processes/test_compensation.py::test_a_call_that_can_be_undone_is_not_torn_down_in_its_middle",
            "processes/test_compensation.py::test_an_end_inside_an_arm_or_a_won_race_ends_the_losers_and_undoes_nothing",
        ),
    ),
    "process:move": Requirement(
        "a run goes back before a step, or on in another version where it fits; what does not fit is said and changes nothing",
        "docs/processes.md: Going back, and on to another version",
        (
            "processes/test_rewind.py::test_a_run_goes_back_before_a_step_undoes_what_it_did_since_and_goes_on_from_there",
            "processes/test_rewind.py::test_a_wrong_target_is_refused_and_the_run_stays_where_it_is",
            "processes/test_migrate.py::test_a_parked_run_goes_on_in_the_new_version_with_what_it_knows",
            "processes/test_migrate.py::test_a_version_that_does_not_fit_is_refused_with_the_reason_and_nothing_changes",
        ),
    ),
    "process:why": Requirement(
        "every value of a run's context says where it is from, every turn says why, from the audit alone",
        "docs/processes.md: Why, and where from",
        (
            "processes/test_rewind.py::test_every_value_says_where_it_is_from_and_every_turn_says_why",
            "processes/test_rewind.py::test_a_patch_leads_from_one_context_to_the_other_and_says_replace_where_a_key_was",
            "processes/test_surface_of_moves.py::test_a_tool_sends_the_event_and_others_say_why_and_where_from",
        ),
    ),
    "audit:chain": Requirement(
        "a changed, removed, moved or cut-off audit record is found and named",
        "SECURITY: Who changes the past",
        (
            "server/test_store.py::test_a_damaged_audit_chain_names_its_first_bad_record",
            "server/test_store.py::test_a_tail_cut_from_a_finished_run_is_found_by_its_signed_anchor",
        ),
    ),
    "tenant:not-found": Requirement(
        "what a principal may not see is not found, in the words of what does not exist",
        "SECURITY: Another tenant",
        ("server/test_store.py::test_a_run_of_another_tenant_does_not_exist",),
    ),
    "store:four-writers": Requirement(
        "four processes write to one SQLite file at once: no lost write, no locked database",
        "content/database.py",
        ("server/test_store.py::test_four_processes_write_at_once_and_nothing_is_lost_or_locked",),
    ),
    "stdio:shared": Requirement(
        "two bridges share one server and see each other's runs; closing both leaves the runs going",
        "README: Sixty seconds",
        (
            "faults/test_clients.py::test_two_clients_see_each_others_runs_and_closing_both_leaves_them_going",
            "server/test_stdio.py::test_two_bridges_starting_at_once_start_one_server",
        ),
    ),
    "stdio:light": Requirement(
        "the bridge imports nothing heavy",
        "server/stdio.py",
        ("server/test_stdio.py::test_the_bridge_imports_nothing_heavy",),
    ),
    "mcp:stable-list": Requirement(
        "tools/list is the same bytes before and after learning, for every connection and after a restart",
        "docs/clients.md",
        (
            "server/test_mcp_http.py::test_the_list_is_the_same_bytes_for_every_call_connection_and_restart",
            "server/test_mcp_lists.py::test_the_list_of_tools_is_the_same_bytes_in_every_era_on_every_transport_and_after_learning",
        ),
    ),
    "mcp:small-list": Requirement(
        "the visible list has at most 30 tools and 4,000 tokens of definitions, however many skills there are",
        "docs/clients.md",
        ("server/test_mcp_lists.py::test_the_list_stays_within_its_budget_on_the_wire_however_many_skills_there_are",),
    ),
    "mcp:pages": Requirement(
        "pages of a list don't shift while items come; a cursor that is none of the list is refused with the reason",
        "docs/clients.md",
        (
            "server/test_mcp_lists.py::test_pages_together_are_the_list_and_stay_so_while_items_come",
            "server/test_mcp_lists.py::test_a_cursor_that_is_none_of_the_list_is_refused_with_the_reason",
        ),
    ),
    "mcp:asked-in-place": Requirement(
        "answer_run with the run id alone asks the person in the client, in both eras; without forms it says what to give",
        "docs/clients.md: Being asked in the client",
        (
            "server/test_mcp_elicitation.py::test_the_run_id_alone_asks_the_person_and_the_call_answers_with_what_they_said",
            "server/test_mcp_elicitation.py::test_a_client_that_cannot_ask_is_told_what_to_give_and_where_the_page_is",
            "server/test_mcp_elicitation.py::test_a_form_that_is_not_flat_is_asked_on_its_page_and_the_decision_there_answers_the_call",
        ),
    ),
    "mcp:asked-once": Requirement(
        "no call waits for a person beyond its bound; a later answer lands once; declining or leaving keeps the task open",
        "docs/clients.md: Being asked in the client",
        (
            "server/test_mcp_elicitation.py::test_a_call_waits_for_its_person_for_a_bounded_time_and_a_later_answer_still_lands_once",
            "server/test_mcp_elicitation.py::test_what_is_not_answered_stays_open_and_the_call_says_so",
            "server/test_mcp_elicitation.py::test_a_session_that_ends_while_its_person_is_asked_leaves_the_task_open",
        ),
    ),
    "mcp:no-agent-decides": Requirement(
        "a principal of kind agent is never asked and never answers; whoever comes second is told who decided",
        "docs/clients.md: Being asked in the client",
        (
            "server/test_mcp_elicitation.py::test_an_agent_or_whoever_has_no_seat_is_refused_and_nobody_is_asked",
            "server/test_mcp_elicitation.py::test_who_submits_a_form_after_somebody_else_decided_is_told_who",
        ),
    ),
    "mcp:replicas": Requirement(
        "what one replica hands out sealed another opens, after a rotation too; nobody else does, nor changed, nor late",
        "docs/clients.md: Being asked in the client",
        (
            "server/test_mcp_replicas.py::test_a_form_that_one_replica_asked_is_taken_by_another",
            "server/test_mcp_replicas.py::test_a_state_is_good_for_its_principal_and_its_call_alone_and_unchanged",
            "server/test_mcp_replicas.py::test_a_state_expires",
            "server/test_mcp_replicas.py::test_after_a_rotation_old_states_and_task_ids_still_open_and_new_ones_do_everywhere",
        ),
    ),
    "mcp:task-family": Requirement(
        "what a run below waits for is asked at its first run's task; streams tell how a task stands",
        "docs/clients.md: Runs as tasks",
        (
            "server/test_mcp_tasks.py::test_what_a_run_below_waits_for_is_asked_and_answered_at_the_task_of_the_first",
            "server/test_mcp_tasks.py::test_a_stream_tells_how_a_task_stands_as_tasks_get_would",
        ),
    ),
    "mcp:told-at-once": Requirement(
        "a change of this process is told as it happens, one of another process by looking",
        "docs/clients.md: Being told of changes",
        (
            "server/test_mcp_subscriptions.py::test_a_change_of_this_process_is_told_without_looking_for_it",
            "server/test_mcp_subscriptions.py::test_what_another_process_changes_is_found_by_looking",
        ),
    ),
    "mcp:clients": Requirement(
        "independent clients do everything over stdio and HTTP, in both protocol eras, and are shown the same tools",
        "docs/clients.md: Tried with",
        (
            "clients/test_twelve_steps.py::test_a_client_is_led_through_the_twelve_steps",
            "clients/test_twelve_steps.py::test_the_inspector_finds_no_fault",
        ),
    ),
    "seal:history": Requirement(
        "nothing of a run lies in plain text in Temporal's files",
        "SECURITY: A reader of the database or of Temporal's history",
        (
            "server/test_codec.py::test_every_path_of_a_run_round_trips_and_leaves_no_plaintext_on_disk",
            "server/test_codec.py::test_plaintext_would_have_been_found_where_it_was_looked_for",
        ),
    ),
    "schema:no-fetch": Requirement(
        "a reference in a schema is never fetched",
        "engine/json_schema.py",
        ("engine/test_json_schema.py::test_a_reference_that_leads_out_is_a_violation_and_no_request",),
    ),
    "start:wrong": Requirement(
        "a wrong start is one line that says what to do, and loses nothing",
        "README: Settings",
        (
            "faults/test_wrong_start.py::test_a_second_server_on_the_same_folder",
            "faults/test_wrong_start.py::test_a_data_folder_of_a_newer_version",
            "faults/test_wrong_start.py::test_settings_that_are_no_toml",
            "faults/test_wrong_start.py::test_a_model_without_its_key",
        ),
    ),
    "apps:decide": Requirement(
        "in a client that shows pages, a person decides in the page and the real run goes on, in both protocols; a second answer is told who was first",
        "docs/clients.md: Pages inside the client",
        (
            "browser/test_apps.py::test_a_person_decides_in_the_page_and_the_real_run_goes_on",
            "browser/test_apps.py::test_the_inbox_takes_decisions_and_says_who_was_first",
            "browser/test_apps.py::test_the_page_of_a_run_says_that_somebody_else_decided",
            "browser/test_apps.py::test_a_wrong_answer_is_explained_and_can_be_mended",
            "browser/test_apps.py::test_the_page_of_a_run_goes_on_when_the_client_fails_for_a_while",
        ),
    ),
    "apps:texts": Requirement(
        "texts of documents, prompts and processes are texts in a page; nothing that got in runs; a page asks nobody but its client",
        "docs/clients.md: Pages inside the client",
        (
            "browser/test_apps.py::test_hostile_texts_are_shown_as_texts",
            "server/test_mcp_apps.py::test_a_page_holds_one_script_that_its_own_policy_names_and_nothing_from_elsewhere",
        ),
    ),
    "apps:beside": Requirement(
        "pages stand beside answers: the list and the answers are the same for every client, the list stays short",
        "docs/clients.md: Pages inside the client",
        (
            "server/test_mcp_apps.py::test_tools_name_their_pages_and_the_pages_are_there",
            "server/test_mcp_apps.py::test_the_short_list_is_the_same_for_clients_that_show_pages_and_stays_short",
            "browser/test_apps.py::test_the_inspector_finds_the_pages_of_the_tools",
            "browser/test_apps.py::test_a_page_without_a_host_says_what_it_is",
        ),
    ),
    "agent:approval": Requirement(
        "a call with effects is made only as its class, the mode, a grant, a reviewer or a person allows",
        "docs/agents.md: Approvals",
        (
            "agents/test_loop_machine.py::test_whatever_happens_each_call_is_answered_once_nothing_is_made_unallowed_and_the_run_ends",
            "agents/test_approvals.py::test_a_tool_that_always_asks_is_not_left_to_a_reviewer_and_what_only_reads_asks_nobody",
            "agents/test_approvals.py::test_a_grant_is_for_the_target_that_the_tool_names_is_listed_and_can_be_withdrawn",
            "agents/test_approvals.py::test_an_approval_while_the_run_is_paused_is_taken_and_the_call_waits_for_the_run_to_go_on",
            "agents/test_approvals.py::test_a_run_that_is_stopped_withdraws_what_it_asks_and_an_answer_then_changes_nothing",
            "agents/test_approvals.py::test_calls_of_a_closing_turn_ask_nobody_and_are_not_reviewed",
        ),
    ),
    "agent:reviewer": Requirement(
        "a reviewing model judges by what people asked for; unsure or failing it leaves the call to a person",
        "docs/agents.md: Approvals",
        (
            "agents/test_approvals.py::test_what_the_reviewer_allows_is_made_and_its_verdict_model_and_cost_are_on_the_record",
            "agents/test_approvals.py::test_what_the_reviewer_denies_is_not_made_and_the_model_is_told_why",
            "agents/test_approvals.py::test_a_reviewer_that_is_unsure_or_fails_leaves_it_to_a_person",
            "agents/test_approvals.py::test_the_reviewer_reads_what_people_say_and_nothing_that_tools_have_said",
            "agents/test_approvals.py::test_reviews_of_one_turn_keep_to_the_budget_together_and_leave_the_rest_to_a_person",
        ),
    ),
    "agent:approval-mode": Requirement(
        "people with the seat or the role change who allows what an agent does, on the record; agents never do",
        "docs/agents.md: Approvals",
        (
            "agents/test_approvals.py::test_only_people_who_may_decide_change_who_decides",
            "agents/test_approvals.py::test_a_person_changes_the_mode_from_the_next_call_on_and_it_is_in_the_audit",
        ),
    ),
    "agent:hostile-tools": Requirement(
        "whatever a tool does, its call is answered once and the run goes on",
        "docs/agents.md: Tools that misbehave",
        (
            "agents/test_hostile_tools.py::test_a_tool_that_swallows_its_end_is_left_behind_and_its_late_answer_is_told_once",
            "agents/test_hostile_tools.py::test_a_tool_that_kills_its_worker_has_its_effect_once_and_its_outcome_is_told_as_unknown",
            "agents/test_hostile_tools.py::test_a_stop_ends_a_run_whose_tool_does_not_end",
            "agents/test_hostile_tools.py::test_whatever_a_tool_raises_is_told_as_a_failure_and_ends_nothing",
            "agents/test_hostile_tools.py::test_a_failure_of_five_million_characters_and_half_characters_are_cut_and_mended",
            "agents/test_hostile_tools.py::test_fifty_megabytes_are_cut_kept_whole_as_an_artifact_and_held_in_memory_a_few_times_at_most",
            "agents/test_hostile_tools.py::test_a_hundred_calls_of_a_turn_run_a_few_at_a_time_and_are_answered_in_their_order",
            "agents/test_hostile_tools.py::test_calls_with_the_same_id_in_one_turn_are_told_apart_and_each_is_made_and_answered",
            "agents/test_hostile_tools.py::test_calls_that_can_not_be_made_are_answered_and_the_run_goes_on",
            "agents/test_hostile_tools.py::test_a_tool_that_disappears_between_turns_is_told_as_missing_and_comes_back",
        ),
    ),
    "agent:stuck": Requirement(
        "a run that leads nowhere is told, kept from its tool, left to a person or stopped with the evidence; honest work is not",
        "docs/agents.md: Done or stuck",
        (
            "agents/test_stuck_traces.py::test_loops_are_found_and_honest_work_is_left_alone",
            "agents/test_stuck_runs.py::test_the_same_call_is_told_then_its_tool_is_refused_then_the_run_stops_with_the_evidence",
            "agents/test_stuck_runs.py::test_polling_goes_on_while_its_answer_may_change_and_a_batch_is_no_loop",
            "agents/test_stuck_runs.py::test_where_the_task_says_so_a_person_decides_whether_a_stuck_run_goes_on",
            "agents/test_stuck_runs.py::test_a_refused_tool_can_be_called_again_later_and_the_run_ends_well",
        ),
    ),
    "agent:subagents": Requirement(
        "subagents work side by side on models of their own; what they come to reaches their parent whether it waits or not",
        "docs/agents.md: Subagents",
        (
            "server/test_agent_children.py::test_an_orchestrator_a_planner_and_an_extractor_work_on_models_of_their_own",
            "server/test_agent_children.py::test_subagents_work_side_by_side_and_one_that_is_not_waited_for_is_told_of_by_a_message",
            "server/test_agent_children.py::test_an_agent_waits_without_holding_a_slot_and_is_seen_waiting",
            "server/test_agent_children.py::test_a_process_is_started_waited_for_and_decided_at_the_agents_run",
        ),
    ),
    "agent:subagent-bounds": Requirement(
        "shares of subagents side by side never exceed the budget above them; none has more depth, skills or tools",
        "docs/agents.md: Subagents",
        (
            "server/test_agent_children.py::test_shares_of_parallel_subagents_never_exceed_what_is_left",
            "server/test_agent_children.py::test_what_a_subagent_did_not_use_comes_back_before_the_last_turn_is_made",
            "server/test_agent_children.py::test_a_subagent_has_no_skill_tool_or_depth_beyond_its_parents",
            "server/test_agent_children.py::test_a_subagent_that_starts_itself_again_and_again_ends_at_the_depth",
        ),
    ),
    "agent:subagent-ends": Requirement(
        "subagents outlive histories and crashes, are doubled by neither, and end with the run that started them",
        "docs/agents.md: Subagents",
        (
            "server/test_agent_children.py::test_subagents_outlive_the_histories_of_their_parent",
            "server/test_agent_children.py::test_when_the_parent_is_ended_its_subagents_are_cancelled_and_counted",
            "server/test_agent_children_crash.py::test_a_killed_worker_doubles_no_subagent_and_the_run_ends_as_it_would_have",
            "server/test_agent_children_crash.py::test_a_subagent_whose_workflow_is_lost_is_told_to_its_parent_by_the_reconciler",
        ),
    ),
    "agent:subagent-asks": Requirement(
        "what a subagent asks a person is seen and answered at the run above it",
        "docs/agents.md: Subagents",
        ("server/test_agent_children.py::test_a_question_of_a_subagent_is_answered_by_a_person_at_the_parent",),
    ),
    "agent:begin": Requirement(
        "skills learned, calls made and files attached at the start or in the middle stand in the next request",
        "docs/agents.md: What an agent begins with",
        (
            "server/test_agent_fork.py::test_skills_learned_and_calls_made_at_the_start_stand_in_the_first_request",
            "server/test_agent_fork.py::test_files_attached_in_the_middle_are_seen_by_the_next_turn_as_media_and_as_data",
            "server/test_agent_fork.py::test_a_first_call_with_effects_is_refused_and_the_run_says_why",
        ),
    ),
    "agent:fork": Requirement(
        "a run is forked at any turn, onto another model, with an audit of its own; no answered call is made again",
        "docs/agents.md: Fork and replay",
        (
            "server/test_agent_fork.py::test_a_fork_makes_a_turn_anew_on_another_model_and_repeats_no_effect",
            "server/test_agent_fork.py::test_a_fork_of_a_fork_and_one_that_goes_on_after_the_last_answer",
            "server/test_agent_fork.py::test_what_cant_be_forked_is_refused_with_the_reason",
        ),
    ),
    "agent:replay": Requirement(
        "every request of a run comes out of its log as it was sent, without a model; the first difference is named",
        "docs/agents.md: Fork and replay",
        (
            "server/test_agent_fork.py::test_a_run_comes_out_the_same_from_its_log_and_a_changed_log_is_told_by_its_turn",
            "server/test_agent_skill.py::test_a_finished_run_is_forked_on_another_model_and_both_are_replayed",
        ),
    ),
    "run:answer-fits": Requirement(
        "however much a run has written, its status is answered whole: long events are shown by their beginning",
        "skills/run_events.py",
        ("skills/test_run_events.py::test_a_page_holds_what_fits_from_the_side_that_is_asked_for_and_at_least_one",),
    ),
    "capacity:limits": Requirement(
        "no minute holds more calls than the limit and a burst; at three times the quota at most 1 % are refused, at least "
        "90 % of it is used, and no tenant gets less than 80 % of its share",
        "docs/agents.md: Limits of providers",
        (
            "capacity/test_gate.py::test_no_window_of_a_minute_holds_more_than_the_limit_and_a_burst",
            "capacity/test_gate.py::test_tenants_share_alike_however_many_calls_each_has",
            "capacity/test_simulation.py::test_runs_beyond_the_quota_use_it_up_share_it_and_are_hardly_ever_refused",
        ),
    ),
    "capacity:wait": Requirement(
        "who has to wait for a model holds no slot of a worker, keeps its place, and is let through at the time it was told",
        "docs/agents.md: Limits of providers",
        (
            "capacity/test_runs.py::test_waiting_runs_hold_no_slot_and_all_of_them_finish_without_refusals",
            "capacity/test_gate.py::test_a_slot_that_was_given_never_moves_and_everybody_gets_one",
            "capacity/test_store.py::test_a_ticket_keeps_its_place_and_its_slot_when_it_asks_again_by_another_worker",
        ),
    ),
    "capacity:order": Requirement(
        "what somebody waits for goes first, and the background is not starved",
        "docs/agents.md: Limits of providers",
        ("capacity/test_gate.py::test_the_interactive_go_first_and_the_background_is_not_starved",),
    ),
    "capacity:crash": Requirement(
        "what a dead worker had reserved comes back; without the store only leased quota is spent",
        "docs/agents.md: Limits of providers",
        (
            "capacity/test_store.py::test_what_a_dead_worker_had_reserved_comes_back",
            "capacity/test_store.py::test_slices_are_spent_without_the_store_and_nothing_beyond_them_while_it_is_away",
            "capacity/test_store.py::test_workers_that_race_for_one_gate_give_out_what_there_is_and_no_more",
        ),
    ),
    "capacity:seen": Requirement(
        "operators see limits, queues and pauses of their tenant, and the name of no other",
        "docs/agents.md: Limits of providers",
        (
            "capacity/test_store.py::test_an_operator_sees_limits_queues_and_pauses_of_the_own_tenant_and_no_other_name",
            "capacity/test_shown.py::test_the_page_shows_limits_queues_and_pauses",
        ),
    ),
    "provider:peer": Requirement(
        "an independent implementation keeps the same calls, answers and reasoning; each difference is argued",
        "docs/providers.md: Beside pydantic-ai",
        (
            "peers/test_pydantic_ai.py::test_pydantic_ai_writes_the_same_facts_but_for_what_is_argued",
            "peers/test_pydantic_ai.py::test_what_no_argument_excuses_holds",
            "peers/test_pydantic_ai.py::test_a_request_that_was_spoilt_differs_in_one_fact",
            "peers/test_pydantic_ai.py::test_a_call_of_a_learned_tool_that_another_provider_made_has_the_namespace_that_openai_wants",
        ),
    ),
    "provider:real-cache": Requirement(
        "after a skill is learned, a real prefix cache serves the earlier prompt; a longer list of tools loses it",
        "docs/providers.md: A real prefix cache",
        (
            "peers/test_prefix_cache.py::test_learning_a_skill_keeps_what_a_real_cache_holds_and_listing_its_tool_does_not",
        ),
    ),
    "demo": Requirement(
        "the main job runs from documents to audit, and is killed in the middle",
        "README: Sixty seconds",
        (
            "server/test_demo.py::test_the_run_goes_on_after_the_server_and_temporal_were_killed",
            "server/test_demo.py::test_it_is_paid_exactly_once",
            "server/test_demo.py::test_the_audit_chain_is_whole_and_names_who_decided",
        ),
    ),
    "stream:resume": Requirement(
        "a stream cut at any byte gives each number once; who comes during a turn is told it from its start",
        "docs/events.md: Server-sent events",
        (
            "server/test_sse.py::test_cut_at_any_byte_and_taken_up_again_a_stream_gives_each_number_once_and_no_turn_in_pieces",
            "server/test_sse.py::test_who_comes_back_during_a_turn_is_told_it_from_its_start_without_waiting_for_its_end",
            "server/test_sse.py::test_all_doors_show_the_same_events_behind_the_same_numbers",
        ),
    ),
    "stream:processes": Requirement(
        "what a worker streams reaches the clients of the server, and a stop the worker, across processes and machines",
        "docs/events.md: Between processes",
        (
            "server/test_hub_processes.py::test_what_a_worker_streams_reaches_a_client_of_the_server_and_a_stop_reaches_the_worker",
            "server/test_hub_links.py::test_what_a_worker_streams_is_heard_by_the_readers_of_the_server_in_its_order",
            "server/test_hub_links.py::test_a_change_wakes_who_waits_in_every_other_process",
            "server/test_hub_links.py::test_who_does_not_hold_the_token_is_cut_off_and_hears_nothing",
            "server/test_hub_links.py::test_a_notice_that_was_not_sealed_by_the_house_is_not_heard",
        ),
    ),
}

"""What a process promises."""

from tests.requirements.requirement import Requirement

REQUIREMENTS: dict[str, Requirement] = {
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
            "engine/test_simulate_leaving.py::test_a_call_that_can_be_undone_is_seen_to_its_end_though_two_races_around_it_are_won",
            "engine/test_simulate_leaving.py::test_what_was_seen_to_its_end_is_undone_when_the_run_is_cancelled_meanwhile",
            "engine/test_simulate_leaving.py::test_no_item_is_begun_in_the_moment_in_which_another_has_failed",
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
    "process:many-items": Requirement(
        "a foreach takes 100,000 items without outgrowing a history; none is lost or doubled, killed or steered, in their order",
        "docs/processes.md: Many items",
        (
            "processes/test_foreach_batches.py::test_two_thousand_items_come_back_in_their_order",
            "processes/test_foreach_batches.py::test_whether_there_are_batches_shows_neither_in_the_result_nor_in_the_steps",
            "processes/test_foreach_kill.py::test_a_server_killed_in_the_middle_pays_each_item_once_and_keeps_their_order",
            "soak/test_hundred_thousand_items.py::test_the_most_items_a_foreach_takes_come_back_in_their_order",
        ),
    ),
    "process:verifier": Requirement(
        "the verifier raises no false alarm on sound definitions and finds each seeded defect; what it lets through ends or fails as declared",
        "docs/processes.md: Checks before anything runs",
        (
            "engine/test_verify_pairs.py::test_every_code_of_the_verifier_has_a_pair",
            "engine/test_verify_generated.py::test_definitions_that_are_sound_by_construction_have_no_finding",
            "engine/test_verify_generated.py::test_a_seeded_defect_is_found_by_its_code",
            "processes/test_engine_machine.py::test_a_definition_without_findings_comes_to_an_end_or_to_a_declared_failure",
            "processes/test_engine_machine.py::test_the_engine_goes_the_way_of_the_model_where_it_once_did_not",
        ),
    ),
    "process:publishing": Requirement(
        "errors and failing scenarios block a publication; a reason lets failing scenarios through, and is kept",
        "docs/processes.md: Checks before anything runs",
        (
            "content/test_publishing.py::test_failing_scenarios_block_a_publication_and_are_named",
            "content/test_publishing.py::test_a_reason_lets_failing_scenarios_through_and_is_kept_with_the_version",
            "content/test_publishing.py::test_no_reason_lets_errors_through",
        ),
    ),
    "process:designer": Requirement(
        "a process is made in a page by mouse or keyboard; what is not edited keeps its text; who edits at once loses nothing",
        "docs/processes.md: The designer",
        (
            "browser/test_designer.py::test_a_process_is_made_from_nothing_by_mouse_and_keyboard_published_started_and_decided",
            "browser/test_designer.py::test_a_change_in_the_drawing_changes_only_its_own_place_in_the_text",
            "browser/test_designer.py::test_two_people_who_edit_at_once_are_told_of_each_other_and_lose_nothing",
            "browser/test_designer.py::test_names_that_look_like_markup_are_texts",
        ),
    ),
    "process:viewer": Requirement(
        "a run is seen as it goes, decided in place and steered by who may; its texts are texts",
        "docs/processes.md: Seeing a run",
        (
            "browser/test_viewer.py::test_the_page_follows_a_run_without_being_loaded_anew",
            "browser/test_viewer.py::test_an_operator_steers_a_run_and_others_are_offered_nothing",
            "browser/test_viewer.py::test_texts_of_a_run_are_texts_wherever_they_stand",
        ),
    ),
    "process:import": Requirement(
        "a definition of Vertesia is taken over with a report in which nothing is missing",
        "docs/processes.md: From elsewhere",
        (
            "engine/test_import_vertesia_report.py::test_a_field_that_nobody_knows_is_reported_wherever_it_stands",
            "engine/test_import_vertesia_report.py::test_a_broken_source_is_refused_with_the_place_and_what_is_expected_there",
        ),
    ),
    "process:examples": Requirement(
        "each of the ten processes ends as it would have, killed anywhere; its deadlines pass, and a chat starts and ends it",
        "docs/faults.md: The sweep of the examples",
        (
            "faults/test_processes_sweep.py::test_killed_at_any_point_an_example_ends_as_it_would_have",
            "processes/test_time_examples.py::test_every_deadline_reminder_escalation_and_timer_of_an_example_passes",
            "examples/test_walkthroughs.py::test_what_a_walkthrough_says_is_what_happens",
        ),
    ),
    "process:deploys": Requirement(
        "runs that wait go on with the code of a later release",
        "docs/faults.md: Deploys",
        (
            "histories/test_replay.py::test_a_recorded_history_has_activities_and_replays",
            "processes/test_time_deploy.py::test_a_decision_after_a_deploy_is_carried_on_by_the_new_build",
        ),
    ),
}

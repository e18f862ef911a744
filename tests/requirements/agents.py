"""What an agent, its models and its stream promise."""

from tests.requirements.requirement import Requirement

REQUIREMENTS: dict[str, Requirement] = {
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
    "agent:kill": Requirement(
        "an agent with subagents, effects and an approval, killed at any step and again in recovery, ends as it would have",
        "docs/faults.md: The sweep of an agent",
        (
            "faults/test_agent_sweep.py::test_killed_after_an_event_the_agent_ends_as_it_would_have",
            "faults/test_agent_sweep.py::test_killed_again_during_recovery_the_agent_ends_as_it_would_have",
            "faults/test_agent_sweep.py::test_killed_in_the_middle_of_a_step_the_agent_ends_as_it_would_have",
        ),
    ),
    "agent:long": Requirement(
        "a thousand calls at 200,000 tokens are all answered, and each costs as much history as the first",
        "docs/figures.md: The agent loop",
        (
            "soak/test_thousand_calls.py::test_calls_at_a_transcript_of_200_000_tokens_are_all_answered_and_history_stays_flat",
        ),
    ),
    "agent:models": Requirement(
        "one run works on models of several providers, each turn's model, usage and cost on the record",
        "docs/agents.md: Subagents",
        (
            "agents/test_three_models.py::test_orchestrator_planner_and_extractor_work_on_three_models_and_each_turn_is_on_the_record",
        ),
    ),
    "agent:phases": Requirement(
        "tools in an order of phases are called in it, and an answer does not stand before each has had its calls",
        "docs/processes.md: The order of an agent's tools",
        (
            "agents/test_phases.py::test_in_a_process_a_call_out_of_its_turn_is_not_made_and_the_agent_is_told_what_comes_first",
            "agents/test_phases.py::test_an_answer_before_every_phase_has_had_its_calls_does_not_stand",
        ),
    ),
    "agent:time": Requirement(
        "a run's time ends a model call under way, and its last word has a bound of its own",
        "docs/agents.md: What bounds a run",
        (
            "server/test_agent_engine_bounds.py::test_a_call_of_the_model_is_cut_when_the_time_of_the_run_is_over_and_it_says_a_last_word",
            "server/test_agent_engine_bounds.py::test_a_last_word_that_does_not_end_is_cut_as_well",
        ),
    ),
}

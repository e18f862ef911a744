"""What every run promises: changes, effects, kills, audit, tenants."""

from tests.requirements.requirement import Requirement

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
    "run:answer-fits": Requirement(
        "however much a run has written, its status is answered whole: long events are shown by their beginning",
        "skills/run_events.py",
        ("skills/test_run_events.py::test_a_page_holds_what_fits_from_the_side_that_is_asked_for_and_at_least_one",),
    ),
}

"""What the MCP surface promises."""

from tests.requirements.requirement import Requirement

REQUIREMENTS: dict[str, Requirement] = {
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
}

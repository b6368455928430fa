//! What every backend promises, as one suite: each function is one behaviour and needs a store of its own. A backend runs
//! it with [`store_contract!`](crate::store_contract); a server that is missing fails it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a contract is refused by panicking"
)]

pub mod accepting;
pub mod auditing;
pub mod changing;
pub mod counting;
pub mod credentials;
pub mod dispatching;
pub mod fixtures;
pub mod fleet;
pub mod leases;
pub mod lists;
pub mod logs;
pub mod mailed;
pub mod people;
pub mod projects;
pub mod reconciling;
pub mod results;
pub mod sessions;
pub mod set_aside;
pub mod sign_ins;

/// Makes a test of every behaviour. `$make` is an async function without arguments that answers fresh [`Stores`] and
/// whatever must stay alive meanwhile.
///
/// [`Stores`]: crate::Stores
#[macro_export]
macro_rules! store_contract {
    ($backend:ident, $make:path) => {
        mod $backend {
            use super::*;
            $crate::store_contract! { @tests $make;
                accepting: a_run_is_stored_as_accepted, a_run_may_be_queued_from_the_start, numbers_count_up_inside_an_organization,
                    fifty_parallel_accepts_with_one_key_make_one_run, a_key_used_with_another_body_is_refused,
                    keys_of_two_organizations_never_meet, a_replay_shows_the_run_as_it_is_now,
                    a_key_is_known_without_accepting_anything, a_forgotten_key_can_be_used_again, the_same_id_again_is_the_same_run,
                    a_tenant_sees_only_its_own_runs, an_import_keeps_runs_as_they_are;
                changing: a_change_needs_the_version_before_it, a_change_of_nothing_is_not_found,
                    of_many_parallel_changes_one_wins, every_state_survives_storing,
                    only_a_run_that_is_over_can_be_deleted, deleting_takes_everything_along;
                counting: counts_agree_with_the_runs_whatever_happens;
                leases: a_renewal_moves_the_expiry_and_no_version, a_lease_that_is_over_cannot_be_renewed,
                    a_renewal_says_that_somebody_cancelled, a_renewal_during_a_change_is_kept,
                    a_new_lease_does_not_inherit_the_old_expiry, expired_leases_come_longest_over_first,
                    leased_runs_are_found_by_worker;
                reconciling: due_runs_come_when_their_time_has_come, unclaimed_runs_come_oldest_first,
                    waiting_runs_are_pending_or_queued, long_logs_of_ended_attempts_are_due,
                    runs_ahead_are_those_dispatched_before;
                lists: a_list_is_newest_first_in_pages, every_filter_is_kept, filters_are_combined,
                    a_list_stays_put_while_runs_come_in, a_search_through_too_many_runs_gives_a_partial_page,
                    groups_count_their_runs;
                dispatching: organizations_take_turns, a_late_organization_is_among_the_first_two,
                    idling_earns_no_credit, one_organization_goes_by_priority_then_age,
                    a_call_gives_no_run_twice, a_run_not_dispatched_after_all_is_found_again,
                    only_runs_that_wait_for_workers_are_ready, pools_do_not_meet,
                    a_limit_is_never_exceeded, places_are_taken_all_or_none, taking_places_again_changes_nothing,
                    places_are_given_back, blocked_runs_are_found_by_their_limit, depths_count_what_is_not_over;
                logs: chunks_are_read_back_as_appended, the_same_chunk_again_is_fine, a_gap_is_refused,
                    other_bytes_are_refused, reading_begins_inside_a_chunk, attempts_and_tenants_have_their_own_log,
                    a_cleared_log_is_empty;
                results: results_keep_their_order, results_are_replaced_as_a_whole, results_are_found_by_status;
                fleet: a_worker_is_stored_as_it_says, draining_survives_what_a_worker_says,
                    workers_are_listed_newest_first, workers_are_forgotten;
                credentials: an_installation_keeps_its_id, only_the_first_bootstrap_counts,
                    of_many_bootstraps_at_once_one_counts, keys_are_found_by_hash,
                    a_key_is_worth_what_its_owner_is_now, a_rotated_key_has_another_secret,
                    a_use_is_noted_once_a_minute, keys_are_listed_newest_first_in_pages, a_healthy_store_says_so;
                people: an_account_is_stored_as_it_is, of_many_sign_ups_with_one_address_one_is_stored,
                    a_change_of_an_account_needs_the_version_before, an_address_of_somebody_else_is_taken,
                    an_organization_is_stored_with_its_members, a_role_is_what_it_is_now,
                    a_person_belongs_to_several_organizations, admins_who_demote_each_other_leave_one;
                projects: a_project_is_stored_as_it_is, of_many_projects_of_one_name_one_is_stored,
                    of_many_changes_of_a_project_none_is_lost, projects_are_listed_newest_first_in_pages,
                    projects_with_duties_are_found;
                sessions: a_session_is_stored_as_it_is, of_fifty_refreshes_at_once_one_has_the_successor,
                    a_reused_token_ends_the_family_whoever_is_first,
                    a_session_is_looked_up_with_what_its_user_is_now, sessions_that_go_on_are_listed_newest_first,
                    expired_sessions_are_forgotten;
                mailed: an_invitation_is_stored_as_it_is, one_invitation_to_an_address_is_open,
                    an_invitation_is_accepted_once, invitations_are_listed_newest_first_in_pages, a_reset_is_used_once;
                sign_ins: of_many_attempts_at_once_only_the_free_ones_get_through,
                    a_success_forgives_and_an_unjudged_attempt_is_taken_back, old_failures_are_forgotten;
                auditing: an_entry_is_stored_once_as_it_is, the_audit_log_is_newest_first_in_pages,
                    entries_are_found_by_time_actor_and_action, each_tenant_reads_its_own_entries;
            }
        }
    };
    (@tests $make:path; $($subject:ident: $($behaviour:ident),+;)*) => {$(
        mod $subject {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $behaviour() {
                    let (stores, _alive) = $make().await;
                    $crate::contract::$subject::$behaviour(stores).await;
                }
            )+
        }
    )*};
}

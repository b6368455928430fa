//! No statement may read its way through `runs`: a million rows are stored there.

use super::statements::ALL;

/// Indexes that hold only runs that are not over, and may be read as a whole.
const SMALL: [&str; 5] = ["runs_waiting", "runs_queued", "runs_leased", "runs_due", "runs_blocked"];

#[test]
fn no_statement_scans_or_sorts_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = rusqlite::Connection::open(directory.path().join("db")).unwrap();
    super::schema::migrate(&mut connection).unwrap();
    let mut of_runs = 0;
    for (name, sql) in ALL {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        for i in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(i, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>(3).unwrap());
        }
        let touches_runs = plan.iter().any(|step| step.contains(" runs"));
        of_runs += usize::from(touches_runs);
        for step in &plan {
            let scan = step.starts_with("SCAN runs") || step.starts_with("SCAN log_chunks");
            let small = SMALL.iter().any(|index| step.contains(&format!("INDEX {index}")));
            assert!(!scan || small, "{name} scans: {plan:?}");
            // Counting at the start sorts groups, never runs.
            let sorts = touches_runs && step.contains("TEMP B-TREE FOR") && !step.contains("GROUP BY");
            assert!(!sorts, "{name} sorts: {plan:?}");
        }
    }
    assert!(of_runs > 20, "{of_runs} statements on runs: are they still called so in plans?");
}

/// Everything about people and credentials is found by what it is looked up by, and sorted by an index.
#[test]
fn no_statement_scans_or_sorts_people_or_credentials() {
    const TABLES: [&str; 9] = [
        "organizations",
        "memberships",
        "users",
        "api_keys",
        "sessions",
        "invitations",
        "password_resets",
        "audit",
        "projects",
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut connection = rusqlite::Connection::open(directory.path().join("db")).unwrap();
    super::schema::migrate(&mut connection).unwrap();
    let mut found = 0;
    for (name, sql) in ALL {
        // The first of all, in the order of their ids.
        if ["ANY_ORGANIZATION", "FIRST_ORGANIZATION"].contains(name)
            || !TABLES.iter().any(|t| sql.contains(t))
        {
            continue;
        }
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        for i in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(i, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step = row.get::<_, String>(3).unwrap();
            assert!(!step.starts_with("SCAN") && !step.contains("TEMP B-TREE"), "{name}: {step}");
            found += 1;
        }
    }
    assert!(found > 30, "{found} steps");
}

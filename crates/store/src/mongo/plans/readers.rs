//! What a plan says, per kind of server.

use mongodb::bson::{Bson, Document};

/// How a query gets at its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// Through this index.
    Index(String),
    /// By reading all of them.
    Scan,
}

/// Every access in a plan.
///
/// Panics on a plan that neither kind of server writes: then it needs a reader of its own.
pub(super) fn read(plan: &Document) -> Vec<Access> {
    let mut found = Vec::new();
    let postgres = plan.get_document("serverInfo").is_ok_and(|server| server.contains_key("ferretdb"));
    if postgres {
        of_postgres(plan, &mut found);
    } else {
        let winner =
            plan.get_document("queryPlanner").and_then(|planner| planner.get_document("winningPlan"));
        of_mongodb(
            winner.unwrap_or_else(|_| panic!("a plan of an unknown kind of server: {plan}")),
            &mut found,
        );
    }
    assert!(!found.is_empty(), "a plan that reads nothing: {plan}");
    found
}

/// MongoDB names its stages. Everything that reads documents without an index is a COLLSCAN.
fn of_mongodb(plan: &Document, found: &mut Vec<Access>) {
    match plan.get_str("stage") {
        Ok("COLLSCAN") => found.push(Access::Scan),
        // The quick way to a single `_id`.
        Ok("IDHACK" | "EXPRESS_IXSCAN" | "EXPRESS_CLUSTERED_IXSCAN") => {
            found.push(Access::Index(plan.get_str("indexName").unwrap_or("_id_").to_owned()));
        }
        Ok("IXSCAN" | "COUNT_SCAN" | "DISTINCT_SCAN") => {
            found.push(Access::Index(plan.get_str("indexName").unwrap_or("?").to_owned()));
        }
        // Nothing can match: nothing is read.
        Ok("EOF") => found.push(Access::Index("none".to_owned())),
        _ => {}
    }
    inside(plan, found, of_mongodb);
}

/// FerretDB hands on PostgreSQL's nodes. The table itself is an index on the collection and `_id`: with a condition on the
/// collection alone it reads everything.
fn of_postgres(plan: &Document, found: &mut Vec<Access>) {
    match plan.get_str("Node Type") {
        Ok("Seq Scan" | "Parallel Seq Scan") => found.push(Access::Scan),
        Ok("Index Scan" | "Index Only Scan" | "Bitmap Index Scan") => {
            let index = plan.get_str("Index Name").unwrap_or("?");
            let by_id = plan.get_str("Index Cond").is_ok_and(|condition| condition.contains("object_id"));
            found.push(if index == "_id_" && !by_id {
                Access::Scan
            } else {
                Access::Index(index.to_owned())
            });
        }
        _ => {}
    }
    inside(plan, found, of_postgres);
}

fn inside(plan: &Document, found: &mut Vec<Access>, read: fn(&Document, &mut Vec<Access>)) {
    for (_, value) in plan {
        match value {
            Bson::Document(part) => read(part, found),
            Bson::Array(parts) => {
                parts.iter().filter_map(Bson::as_document).for_each(|part| read(part, found))
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn mongodb(plan: Document) -> Vec<Access> {
        read(&doc! { "queryPlanner": { "winningPlan": plan }, "serverInfo": { "version": "8.0.1" } })
    }

    fn index(name: &str) -> Access {
        Access::Index(name.to_owned())
    }

    #[test]
    fn plans_of_mongodb_are_understood() {
        let fetch = doc! { "stage": "LIMIT", "inputStage": { "stage": "FETCH", "inputStage": { "stage": "IXSCAN", "indexName": "a" } } };
        assert_eq!(mongodb(fetch), [index("a")]);
        assert_eq!(mongodb(doc! { "stage": "EXPRESS_IXSCAN", "indexName": "_id_" }), [index("_id_")]);
        assert_eq!(mongodb(doc! { "stage": "IDHACK" }), [index("_id_")]);
        let scan = doc! { "stage": "SORT", "inputStage": { "stage": "COLLSCAN", "direction": "forward" } };
        assert_eq!(mongodb(scan), [Access::Scan]);
        let merged = doc! { "stage": "SORT_MERGE", "inputStages": [
            { "stage": "IXSCAN", "indexName": "a" }, { "stage": "COLLSCAN" },
        ] };
        assert_eq!(mongodb(merged), [index("a"), Access::Scan]);
        // The slot-based engine wraps what it ran.
        let wrapped = doc! { "isCached": false, "queryPlan": { "stage": "FETCH", "inputStage": { "stage": "IXSCAN", "indexName": "b" } }, "slotBasedPlan": { "stages": "" } };
        assert_eq!(mongodb(wrapped), [index("b")]);
    }

    #[test]
    fn plans_of_ferretdb_are_understood() {
        let ferretdb = |plan: Document| {
            read(
                &doc! { "queryPlanner": { "Plan": plan }, "serverInfo": { "ferretdb": { "version": "v2.7.0" } } },
            )
        };
        let all = "(shard_key_value = '7'::bigint)";
        let scan = doc! { "Node Type": "Limit", "Plans": [{ "Node Type": "Index Scan", "Index Name": "_id_", "Index Cond": all }] };
        assert_eq!(ferretdb(scan), [Access::Scan]);
        let by_id = format!("({all} AND (object_id OPERATOR(documentdb_core.=) '…'))");
        let one = doc! { "Node Type": "Index Scan", "Index Name": "_id_", "Index Cond": by_id };
        assert_eq!(ferretdb(one), [index("_id_")]);
        let named = doc! { "Node Type": "Bitmap Heap Scan", "Plans": [{ "Node Type": "Bitmap Index Scan", "Index Name": "a", "Index Cond": "(document …)" }] };
        assert_eq!(ferretdb(named), [index("a")]);
        assert_eq!(ferretdb(doc! { "Node Type": "Seq Scan" }), [Access::Scan]);
    }

    #[test]
    #[should_panic(expected = "unknown kind of server")]
    fn a_plan_that_nobody_can_read_is_refused() {
        read(&doc! { "ok": 1 });
    }
}

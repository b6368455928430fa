//! What every error answer has to be.

use gantry_api_types::problem::{Problem, ProblemCode};

use crate::installation::Answer;

/// The problem in an answer, having checked all that holds for every one.
#[track_caller]
pub fn problem(answer: &Answer) -> Problem {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let problem: Problem = serde_json::from_slice(&answer.bytes).unwrap();
    let code = problem.code;
    assert_eq!((answer.status.as_u16(), problem.status), (code.status(), code.status()), "{code:?}");
    assert_eq!(problem.kind, format!("/api/docs/errors#{}", code.as_str()));
    assert_eq!(problem.title, code.title());
    assert!(problem.detail.len() > 15 && problem.detail.len() < 2000, "{:?}", problem.detail);
    assert!(!problem.request_id.is_empty());
    assert_eq!(answer.header("x-request-id"), problem.request_id);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    let again_later = matches!(
        code,
        ProblemCode::Unavailable
            | ProblemCode::StorageFull
            | ProblemCode::RateLimited
            | ProblemCode::QuotaExceeded
            | ProblemCode::UnsupportedProtocol
    );
    assert_eq!(answer.headers.contains_key("retry-after"), again_later, "{code:?}");
    if again_later {
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    assert_eq!(answer.headers.contains_key("www-authenticate"), code == ProblemCode::Unauthorized);
    // What is not supported may be a field, or all of it.
    let named = code == ProblemCode::ValidationFailed;
    let may_be_named = named || code == ProblemCode::NotSupported;
    assert!(!named || !problem.errors.is_empty(), "{problem:?}");
    assert!(may_be_named || problem.errors.is_empty(), "{problem:?}");
    for error in &problem.errors {
        assert!(error.pointer.is_empty() || error.pointer.starts_with('/'), "{:?}", error.pointer);
        assert!(!error.message.is_empty() && !error.message.chars().any(char::is_control));
    }
    problem
}

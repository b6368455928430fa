//! What a run names as its artifacts: paths or globs, each relative to the working directory or absolute. A matched
//! directory stands for everything below it.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// One path or glob. Patterns with `..` match nothing: they are refused before a run is accepted.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// Where the search begins: the components before the first with a wildcard.
    pub base: PathBuf,
    /// Whether it is rooted at `/` and not at the working directory; `base` and matched paths then lack the leading `/`.
    pub absolute: bool,
    literal: PathBuf,
    glob: Option<GlobMatcher>,
}

impl Pattern {
    pub fn parse(text: &str) -> Option<Self> {
        let path = Path::new(text);
        let mut literal = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => literal.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return None,
            }
        }
        let base = literal.components().take_while(|part| !is_wild(part)).collect();
        let glob = literal
            .components()
            .any(|part| is_wild(&part))
            .then(|| GlobBuilder::new(&literal.to_string_lossy()).literal_separator(true).build().ok())
            .flatten()
            .map(|glob| glob.compile_matcher());
        Some(Self { base, absolute: path.is_absolute(), literal, glob })
    }

    /// Whether a search has to look into the directory `path` (without a leading `/`).
    pub fn may_match_below(&self, path: &Path) -> bool {
        let levels = |path: &Path| path.components().count();
        let text = self.literal.as_os_str().as_encoded_bytes();
        // Alternatives may hold separators, so their levels cannot be counted.
        let any_depth = text.contains(&b'{') || text.windows(2).any(|two| two == b"**");
        any_depth || levels(path) < levels(&self.literal) || self.matches(path)
    }

    /// Whether `path` (without a leading `/`) or a directory above it matches.
    pub fn matches(&self, path: &Path) -> bool {
        path.ancestors()
            .any(|part| part == self.literal || self.glob.as_ref().is_some_and(|glob| glob.is_match(part)))
    }
}

fn is_wild(component: &Component<'_>) -> bool {
    component.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).is_some_and(|p| p.matches(Path::new(path)))
    }

    #[test]
    fn paths_directories_and_globs_match_what_they_name() {
        assert!(matches("reports", "reports/a/b.xml"));
        assert!(matches("./reports/", "reports/a/b.xml"));
        assert!(matches(".", "anything/at/all"));
        assert!(matches("*.xml", "a.xml") && !matches("*.xml", "sub/a.xml"));
        assert!(matches("**/junit*.xml", "a/b/junit-1.xml") && matches("**/junit*.xml", "junit.xml"));
        assert!(matches("out*", "out-1/x/y"));
        assert!(matches("report[1].html", "report[1].html"), "a literal name with brackets");
        assert!(!matches("report", "reports/a") && !matches("a/../b", "b"));
    }

    #[test]
    fn the_search_begins_below_what_is_literal() {
        let pattern = Pattern::parse("/srv/out/*/x.xml").unwrap();
        assert!(pattern.absolute);
        assert_eq!(pattern.base, Path::new("srv/out"));
        assert!(pattern.matches(Path::new("srv/out/1/x.xml")));
        assert!(pattern.may_match_below(Path::new("srv/out/1")));
        assert!(!pattern.may_match_below(Path::new("srv/out/1/node_modules")));
        let whole = Pattern::parse("out").unwrap();
        assert!(whole.may_match_below(Path::new("out/a/b/c")) && !whole.may_match_below(Path::new("b/c")));
    }
}

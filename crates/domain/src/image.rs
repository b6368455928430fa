//! References to container images: what an engine makes of one, and patterns that say which of them may be run. Whoever
//! checks a reference must read it as the engine does, or the check means nothing; so what is not plainly a reference is none.

use std::fmt;
use std::str::FromStr;

/// Where references without a registry come from.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// Where references of one word are there.
const OFFICIAL: &str = "library/";
const LONGEST: usize = 512;

/// A reference with everything filled in that an engine fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// Lower case, with its port if one is given.
    pub registry: String,
    pub repository: String,
    /// `latest` when neither tag nor digest is given.
    pub tag: Option<String>,
    /// Decides alone when it is given.
    pub digest: Option<String>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an image reference looks like registry.example/name:tag")]
pub struct ParseImageError;

/// Name, tag and digest of a reference, or of a pattern for some.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(digest)),
        None => (text, None),
    };
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    match text[last..].split_once(':') {
        Some((name, tag)) => (&text[..last + name.len()], Some(tag), digest),
        None => (text, None, digest),
    }
}

/// Registry and repository as an engine understands a name.
fn whole(name: &str) -> (String, String) {
    let named = name.split_once('/').filter(|(first, _)| {
        *first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
    });
    match named {
        Some((registry, repository)) => {
            let registry = normal_registry(registry);
            let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
            let repository = if official { format!("{OFFICIAL}{repository}") } else { repository.to_owned() };
            (registry, repository)
        }
        None if name.contains('/') => (DEFAULT_REGISTRY.to_owned(), name.to_owned()),
        None => (DEFAULT_REGISTRY.to_owned(), format!("{OFFICIAL}{name}")),
    }
}

fn normal_registry(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => host,
    }
}

/// A registry as it is named in references: `registry.example`, `registry.example:5000`; Docker's by any of its names.
pub fn registry(text: &str) -> Result<String, ParseImageError> {
    let text = text.trim();
    let host = text.strip_prefix("https://").unwrap_or(text);
    let host = host.strip_suffix("/v1/").or_else(|| host.strip_suffix('/')).unwrap_or(host);
    let host = normal_registry(host);
    let (name, port) = host.split_once(':').map_or((host.as_str(), None), |(name, port)| (name, Some(port)));
    let names = name.len() <= 253
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
        && (name == "localhost" || name.contains('.') || port.is_some());
    let ports = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0));
    if names && ports { Ok(host) } else { Err(ParseImageError) }
}

fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = |b: u8| plain(b) || matches!(b, b'.' | b'_' | b'-');
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(plain)) && text.bytes().all(inner)
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !text.starts_with(['.', '-'])
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

impl FromStr for ImageReference {
    type Err = ParseImageError;

    fn from_str(text: &str) -> Result<Self, ParseImageError> {
        let (name, tag, digest) = split(text);
        let (host, repository) = whole(name);
        let well_formed = text.len() <= LONGEST
            && registry(&host).is_ok()
            && repository.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        // An engine takes these for the id of an image that it has, whatever registry that came from.
        let id = !name.contains('/')
            && (name == "sha256" || (name.len() >= 4 && name.bytes().all(|b| b.is_ascii_hexdigit())));
        if !well_formed || id && digest.is_none() && (tag.is_none() || name == "sha256") {
            return Err(ParseImageError);
        }
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: host, repository, tag, digest: digest.map(str::to_owned) })
    }
}

/// Which images may be run: written like a reference, in which `*` stands for anything but `/`, and `**` for anything.
///
/// What a reference leaves out is filled in in both: `alpine` is `docker.io/library/alpine`. Without a tag every tag and
/// digest fits. With one, references by digest do not: an engine does not look at their tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    text: String,
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePatternError {
    #[error(
        "a pattern looks like registry.example/team/*: a reference in which * stands for anything but /, and ** for anything"
    )]
    Malformed,
    #[error("this is every image: leave the list empty instead")]
    Everything,
}

impl ImagePattern {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn fits(&self, image: &ImageReference) -> bool {
        let name = format!("{}/{}", image.registry, image.repository);
        let tag = match (&self.tag, &image.digest) {
            (None, _) => true,
            (Some(_), Some(_)) => false,
            (Some(tag), None) => image.tag.as_ref().is_some_and(|given| matches(tag, given)),
        };
        let digest = self.digest.is_none() || self.digest == image.digest;
        tag && digest && matches(&self.name, &name)
    }
}

impl FromStr for ImagePattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, ParsePatternError> {
        let text = text.trim();
        let (name, tag, digest) = split(text);
        if matches!(name, "**" | "**/*" | "**/**") && tag.is_none() && digest.is_none() {
            return Err(ParsePatternError::Everything);
        }
        let (host, repository) = whole(name);
        let letters = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        let well_formed = text.len() <= LONGEST
            && letters(&host, b".-:*")
            && !repository.bytes().any(|b| b.is_ascii_uppercase())
            && repository.split('/').all(|part| letters(part, b"._-*"))
            && tag.is_none_or(|tag| letters(tag, b"._-*"))
            && digest.is_none_or(is_digest);
        if !well_formed {
            return Err(ParsePatternError::Malformed);
        }
        let owned = |part: Option<&str>| part.map(str::to_owned);
        let name = format!("{host}/{repository}");
        Ok(Self { text: text.to_owned(), name, tag: owned(tag), digest: owned(digest) })
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether all of `text` fits; takes time by the product of both lengths at most.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // Which beginnings of the text the pattern so far fits.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let (star, any) = (pattern[at] == b'*', pattern[at..].starts_with(b"**"));
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match (star, end.checked_sub(1)) {
                (true, None) => fits[end],
                (true, Some(before)) => fits[end] || (next[before] && (any || text[before] != b'/')),
                (false, None) => false,
                (false, Some(before)) => fits[before] && text[before] == pattern[at],
            };
        }
        fits = next;
        at += if any { 2 } else { 1 };
    }
    fits[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> ImageReference {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_reference_is_what_an_engine_makes_of_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, registry, repository, tag) in [
            ("alpine", "docker.io", "library/alpine", Some("latest")),
            ("alpine:3", "docker.io", "library/alpine", Some("3")),
            ("team/app", "docker.io", "team/app", Some("latest")),
            ("docker.io/alpine", "docker.io", "library/alpine", Some("latest")),
            ("index.docker.io/team/app:1", "docker.io", "team/app", Some("1")),
            ("localhost/app", "localhost", "app", Some("latest")),
            ("Registry.Example:5000/a/b/c:x", "registry.example:5000", "a/b/c", Some("x")),
            (&format!("registry.example/app@{digest}"), "registry.example", "app", None),
            (&format!("registry.example/app:1@{digest}"), "registry.example", "app", Some("1")),
        ] {
            let image = reference(text);
            let read = (image.registry.as_str(), image.repository.as_str(), image.tag.as_deref());
            assert_eq!(read, (registry, repository, tag), "{text}");
        }
    }

    #[test]
    fn what_is_not_plainly_a_reference_is_none() {
        let id = "a".repeat(64);
        for bad in [
            "",
            "/",
            "a//b",
            "a/",
            "-a",
            "A/b/C",
            "a:",
            "a@",
            "a@sha256:12",
            "a b",
            "registry.example/../x",
            "a:b:c",
            "registry.example/x:-t",
            &id,
            &format!("sha256:{id}"),
            "cafe",
            "é",
            "a.b:0/x",
            "a.b:x/y",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_fits_what_it_says_and_nothing_else() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (pattern, fitting, others) in [
            (
                "registry.example/team/*",
                vec!["registry.example/team/app", "REGISTRY.example/team/app:7"],
                vec![
                    "registry.example/team/a/b",
                    "registry.example/teams/app",
                    "team/app",
                    "registry.example.evil/team/app",
                ],
            ),
            ("registry.example/team/**", vec!["registry.example/team/a/b"], vec!["registry.example/other/a"]),
            (
                "alpine",
                vec!["alpine:3", "docker.io/library/alpine"],
                vec!["team/alpine", "quay.io/library/alpine"],
            ),
            ("team/app:1.*", vec!["team/app:1.2"], vec!["team/app", "team/app:2.1"]),
            ("*", vec!["busybox"], vec!["team/app", "registry.example/x"]),
            ("*.example/x", vec!["a.example/x:1", "a.b.example/x"], vec!["a.example/y", "evil/a.example/x"]),
        ] {
            let pattern: ImagePattern = pattern.parse().unwrap();
            for image in fitting {
                assert!(pattern.fits(&reference(image)), "{pattern} {image}");
            }
            for image in others {
                assert!(!pattern.fits(&reference(image)), "{pattern} {image}");
            }
        }
        let tagged: ImagePattern = "team/app:1".parse().unwrap();
        assert!(!tagged.fits(&reference(&format!("team/app:1@{digest}"))), "the tag decides nothing there");
        let fixed: ImagePattern = format!("team/app@{digest}").parse().unwrap();
        assert!(fixed.fits(&reference(&format!("team/app:7@{digest}"))));
        assert!(!fixed.fits(&reference("team/app:7")));
    }

    #[test]
    fn patterns_that_mean_nothing_are_refused() {
        for bad in [
            "",
            "/",
            "a b",
            "registry.example//x",
            "registry.example/X",
            "a@sha256:*",
            "x/?",
            &"a".repeat(600),
        ] {
            assert_eq!(bad.parse::<ImagePattern>(), Err(ParsePatternError::Malformed), "{bad}");
        }
        assert_eq!("**".parse::<ImagePattern>(), Err(ParsePatternError::Everything));
    }

    #[test]
    fn registries_have_one_name() {
        for (given, name) in [
            ("Registry.Example:5000", "registry.example:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost", "localhost"),
            ("ghcr.io/", "ghcr.io"),
        ] {
            assert_eq!(registry(given).as_deref(), Ok(name));
        }
        for bad in ["", "team", "a b.c", "http://a.b", "a.b/c", "a.b:x", "a.b:0", "é.b"] {
            assert!(registry(bad).is_err(), "{bad}");
        }
    }
}

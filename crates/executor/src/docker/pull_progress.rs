//! How far a pull is, summed up over its layers.

use std::collections::HashMap;

/// Layers as the engine reports them, one message per layer and step.
#[derive(Debug, Default)]
pub(super) struct PullProgress {
    layers: HashMap<String, Layer>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Layer {
    status: String,
    /// Bytes of its download; unpacking counts the same bytes again.
    current: i64,
    total: i64,
    done: bool,
}

impl PullProgress {
    /// Takes in a message; whether anything moved. A download that is being retried does not move.
    pub fn note(
        &mut self,
        id: Option<&str>,
        status: Option<&str>,
        current: Option<i64>,
        total: Option<i64>,
    ) -> bool {
        let (Some(id), Some(status)) = (id, status) else { return false };
        // "Pulling from library/busybox" carries the tag as its id.
        if status.starts_with("Pulling from") || status.starts_with("Retrying") {
            return false;
        }
        let layer = self.layers.entry(id.to_owned()).or_default();
        let before = layer.clone();
        status.clone_into(&mut layer.status);
        match status {
            "Downloading" => {
                layer.current = current.unwrap_or(layer.current).max(layer.current);
                layer.total = total.unwrap_or(layer.total).max(layer.current);
            }
            "Download complete" | "Verifying Checksum" => layer.current = layer.total,
            "Pull complete" | "Already exists" => {
                layer.current = layer.total;
                layer.done = true;
            }
            // Unpacking a big layer takes long without any byte from the registry.
            "Extracting" => return true,
            _ => {}
        }
        before != *layer
    }

    /// "3 of 7 layers, 41 of 120 MB"; nothing before the layers are known.
    pub fn summary(&self) -> Option<String> {
        if self.layers.is_empty() {
            return None;
        }
        let done = self.layers.values().filter(|layer| layer.done).count();
        let megabytes =
            |bytes: fn(&Layer) -> i64| (self.layers.values().map(bytes).sum::<i64>() + 500_000) / 1_000_000;
        Some(format!(
            "{done} of {} layers, {} of {} MB",
            self.layers.len(),
            megabytes(|layer| layer.current),
            megabytes(|layer| layer.total)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_and_bytes_are_summed_up() {
        let mut progress = PullProgress::default();
        assert_eq!(progress.summary(), None);
        assert!(!progress.note(Some("1.36"), Some("Pulling from library/busybox"), None, None));
        for id in ["a", "b", "c"] {
            assert!(progress.note(Some(id), Some("Pulling fs layer"), None, None));
        }
        assert!(progress.note(Some("a"), Some("Already exists"), None, None));
        assert!(progress.note(Some("b"), Some("Downloading"), Some(1_000_000), Some(40_000_000)));
        assert!(progress.note(Some("c"), Some("Downloading"), Some(80_000_000), Some(80_000_000)));
        assert_eq!(progress.summary().as_deref(), Some("1 of 3 layers, 81 of 120 MB"));
        assert!(progress.note(Some("b"), Some("Pull complete"), None, None));
        assert_eq!(progress.summary().as_deref(), Some("2 of 3 layers, 120 of 120 MB"));
    }

    #[test]
    fn a_download_that_only_repeats_itself_does_not_move() {
        let mut progress = PullProgress::default();
        assert!(progress.note(Some("a"), Some("Downloading"), Some(10), Some(100)));
        assert!(!progress.note(Some("a"), Some("Downloading"), Some(10), Some(100)));
        assert!(!progress.note(Some("a"), Some("Retrying in 5 seconds"), None, None));
        assert!(!progress.note(None, Some("Status: x"), None, None));
        assert!(progress.note(Some("a"), Some("Downloading"), Some(11), Some(100)));
    }
}
